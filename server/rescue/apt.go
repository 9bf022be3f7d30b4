package rescue

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Every call of apt or dpkg-deb ends by then.
const aptPatience = 20 * time.Minute

// How long to wait before asking again for what another build has locked.
const lockPause = time.Second

// apt is the machine's apt-get with a state of our own: no package is installed there, so it names every package that is needed.
type apt struct{ dir string }

// deb is one package.
type deb struct {
	file                string // its name in the archives
	name, version, arch string
	sha256              string // as the signed index tells it
}

func openApt(dir string) (*apt, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("the rescue image is made of Debian's packages, and there is no %s here: build it on a Debian machine and copy the folder", tool)
		}
	}
	a := &apt{dir}
	if strings.ContainsAny(dir, "\"\\\n") {
		return nil, fmt.Errorf("%w: the cache folder %q has a character in its name that apt cannot take", ErrConfig, dir)
	}
	for _, sub := range []string{"lists/partial", "archives/partial", "empty/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("the cache folder cannot be made: %w", err)
		}
	}
	for name, text := range map[string]string{"status": "", "apt.conf": a.settings()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("the cache folder cannot be written to: %w", err)
		}
	}
	return a, nil
}

// settings are read after the machine's own, whose sources, keys and proxies stay. Hooks are cleared: they would touch the machine.
func (a *apt) settings() string {
	return strings.NewReplacer("DIR", a.dir).Replace(`Dir::State "DIR";
Dir::State::lists "DIR/lists";
Dir::State::status "DIR/status";
Dir::Cache "DIR";
Dir::Cache::archives "DIR/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "DIR";
#clear APT::Update;
#clear APT::Architectures;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::Contents-deb;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::ForceHash "SHA256";
`)
}

func (a *apt) archives() string { return filepath.Join(a.dir, "archives") }

// get runs apt-get. While another build uses the same cache it waits.
func (a *apt) get(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, aptPatience)
	defer cancel()
	for {
		out, err := run(ctx, "apt-get", append([]string{"-c", filepath.Join(a.dir, "apt.conf"), "-q"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "Could not get lock") {
			return out, err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("another build uses the cache folder %s: %w", a.dir, ctx.Err())
		}
	}
}

// resolve names every package that the wanted ones need. Without a network it goes by the lists of the last time.
func (a *apt) resolve(ctx context.Context, wanted []string, tell func(string)) ([]deb, error) {
	if _, err := a.get(ctx, "update"); err != nil {
		if old, _ := filepath.Glob(filepath.Join(a.dir, "lists", "*_Packages*")); len(old) == 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("apt cannot fetch the lists of packages: %w", err)
		}
		tell("apt cannot fetch the lists of packages; going on with those of the last time")
	}
	// an empty folder of archives, for apt does not name what it has already
	out, err := a.get(ctx, append([]string{"-qq", "-o", "Dir::Cache::archives=" + filepath.Join(a.dir, "empty"), "install", "--print-uris", "--"}, wanted...)...)
	if err != nil {
		return nil, fmt.Errorf("apt cannot find the packages of the rescue system: %w", err)
	}
	return parseURIs(out)
}

// parseURIs reads what `apt-get --print-uris` prints: 'URI' FILE SIZE SHA256:HEX. The order is by file name.
func parseURIs(out []byte) ([]deb, error) {
	var debs []deb
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		d := deb{file: f[1]}
		digest, ok := strings.CutPrefix(f[3], "SHA256:")
		name, isDeb := strings.CutSuffix(f[1], ".deb")
		parts := strings.Split(name, "_")
		if !ok || !isDeb || len(parts) != 3 || strings.Contains(f[1], "/") {
			return nil, fmt.Errorf("apt tells of a package in words that are not understood: %q", lines.Text())
		}
		version, err := url.PathUnescape(parts[1])
		if err != nil {
			return nil, fmt.Errorf("apt tells of a package in words that are not understood: %q", lines.Text())
		}
		d.name, d.version, d.arch, d.sha256 = parts[0], version, parts[2], strings.ToLower(digest)
		debs = append(debs, d)
	}
	if len(debs) == 0 {
		return nil, errors.New("apt names no packages for the rescue system: look at the sources in /etc/apt")
	}
	slices.SortFunc(debs, func(x, y deb) int { return strings.Compare(x.file, y.file) })
	return debs, lines.Err()
}

// download fetches what is missing and compares every package with the signed index. A damaged one is fetched again, once.
func (a *apt) download(ctx context.Context, debs []deb) error {
	for again := range 2 {
		exact := make([]string, len(debs))
		for i, d := range debs {
			exact[i] = d.name + "=" + d.version
		}
		if _, err := a.get(ctx, append([]string{"-y", "install", "--download-only", "--"}, exact...)...); err != nil {
			return fmt.Errorf("apt cannot download the packages of the rescue system: %w", err)
		}
		bad := a.damaged(debs)
		switch {
		case len(bad) == 0:
			return nil
		case again > 0:
			return fmt.Errorf("the package %s in %s is not what the signed index tells of", bad[0], a.archives())
		}
		for _, file := range bad {
			if err := os.Remove(filepath.Join(a.archives(), file)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (a *apt) damaged(debs []deb) []string {
	var bad []string
	for _, d := range debs {
		if sum, _, err := digestFile(filepath.Join(a.archives(), d.file)); err != nil || sum != d.sha256 {
			bad = append(bad, d.file)
		}
	}
	return bad
}

func digestFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// run runs a program of the machine and returns its output; the error tells what it complained of, in one sentence.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, aptPatience)
	defer cancel()
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH=0", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = &out, &words
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if said := complaint(words.String()); said != "" {
			return nil, fmt.Errorf("%s: %w: %s", name, err, said)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}

// complaint picks the line that says why: apt marks errors with E:, others end with them.
func complaint(words string) string {
	lines := strings.Split(strings.TrimSpace(words), "\n")
	for _, l := range lines {
		if said, ok := strings.CutPrefix(l, "E: "); ok {
			return said
		}
	}
	return lines[len(lines)-1]
}
