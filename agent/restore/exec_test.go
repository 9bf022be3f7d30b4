package restore

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const fakeBackupProgram = "fake-backup-program"

// This test binary is the vendor's program when it is called by its name.
func init() {
	if filepath.Base(os.Args[0]) == fakeBackupProgram {
		os.Exit(fakeBackup(os.Args[1], os.Stdin, os.Stdout))
	}
}

// fakeVault is where that program keeps its points: a folder of folders, each with taken, sum, size, perhaps held, and tree.
type fakeVault struct {
	folder   string
	password string
}

// fakeBackup keeps the contract of docs/backup-exec.md.
func fakeBackup(verb string, in io.Reader, out io.Writer) int {
	say := func(kind string, what any) { _ = json.NewEncoder(out).Encode(map[string]any{kind: what}) }
	failed := func(class, signature, detail string) int {
		say("error", map[string]any{"class": class, "signature": signature, "detail": detail})
		return 1
	}
	var r execRequest
	if err := json.NewDecoder(in).Decode(&r); err != nil || r.Contract != "blackstart-backup/1" || r.Verb != verb {
		return failed("failed", "request not understood", fmt.Sprintf("the request is not understood: %v", err))
	}
	if _, err := os.Stat(r.Repository.Location); err != nil {
		return failed("unreachable", "repository unreachable", err.Error())
	}
	given := os.Getenv("BLACKSTART_BACKUP_PASSWORD")
	if file := os.Getenv("BLACKSTART_BACKUP_PASSWORD_FILE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return failed("auth-refused", "repository password missing", err.Error())
		}
		given = strings.TrimSpace(string(text))
	}
	if want, _ := os.ReadFile(filepath.Join(r.Repository.Location, "password")); string(want) != given {
		return failed("auth-refused", "repository password refused", "the password "+given+" is not the one")
	}
	point := filepath.Join(r.Repository.Location, r.Set.Source, r.Point)
	if _, err := os.Stat(point); err != nil && r.Point != "" {
		return failed("failed", "restore point gone", "there is no point "+r.Point)
	}
	switch verb {
	case "list":
		points, _ := filepath.Glob(filepath.Join(r.Repository.Location, r.Set.Source, "*"))
		for _, p := range points {
			var taken time.Time
			text, _ := os.ReadFile(filepath.Join(p, "taken"))
			_ = taken.UnmarshalText(text)
			say("point", map[string]any{"id": filepath.Base(p), "taken_at": taken, "size": fakeSize(filepath.Join(p, "tree"))})
		}
	case "size":
		say("size", fakeSize(filepath.Join(point, "tree")))
	case "hold":
		if r.Release {
			_ = os.Remove(filepath.Join(point, "held"))
		} else if err := os.WriteFile(filepath.Join(point, "held"), []byte(r.Incident), 0o600); err != nil {
			return failed("failed", "hold failed", err.Error())
		}
	case "check":
		want, _ := os.ReadFile(filepath.Join(point, "sum"))
		if sum, err := fakeSum(filepath.Join(point, "tree", "big")); err != nil || sum != string(want) {
			return failed("failed", "restore point damaged", "a sum does not hold")
		}
		say("checked", fmt.Sprintf("sums %d/%d", max(1, r.Part), max(1, r.Parts)))
	case "restore":
		if err := fakeCopy(filepath.Join(point, "tree"), r.Into, r.Rate, func(done, total int64) { say("progress", map[string]any{"done": done, "total": total}) }); err != nil {
			return failed("failed", "restore failed", err.Error())
		}
	default:
		return 64
	}
	say("later versions", "may say more")
	say("done", true)
	return 0
}

func fakeSize(tree string) (sum int64) {
	_ = filepath.WalkDir(tree, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, _ := d.Info()
			sum += info.Size()
		}
		return err
	})
	return sum
}

func fakeSum(path string) (string, error) {
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(data)), err
}

// fakeCopy copies a tree with tar, as slowly as rate says.
func fakeCopy(from, to string, rate int64, progress func(done, total int64)) error {
	pack, unpack := exec.Command("tar", "-C", from, "-cf", "-", "."), exec.Command("tar", "-C", to, "-xpf", "-")
	packed, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	unpacked, err := unpack.StdinPipe()
	if err != nil {
		return err
	}
	if err := errors.Join(pack.Start(), unpack.Start()); err != nil {
		return err
	}
	total, done := fakeSize(from), int64(0)
	for {
		n, err := io.CopyN(unpacked, packed, 256<<10)
		done += n
		progress(min(done, total), total)
		if err != nil {
			break
		}
		if rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) //nolint:forbidigo // a rate is bytes in real time
		}
	}
	return errors.Join(unpacked.Close(), pack.Wait(), unpack.Wait())
}

// program makes this test binary a vendor's program.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), fakeBackupProgram)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecConforms(t *testing.T) {
	if runtime.GOOS == "windows" {
		wanted(t, "the vendor's program of this test wants tar and links")
	}
	secret := filepath.Join(t.TempDir(), "password")
	vault := fakeVault{folder: t.TempDir(), password: "correct horse"}
	for path, text := range map[string]string{secret: vault.password + "\n", filepath.Join(vault.folder, "password"): vault.password} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("WRONG_PASSWORD", "battery staple")
	work := SetWork{
		Set:        Set{Name: "people", Host: "db1", Kind: "files", Source: "people"},
		Repository: Repository{Name: "vault", Kind: "exec", Location: vault.folder, Password: "file:" + secret, Program: program(t)},
	}
	taken := 0
	point := func(n int) string { return filepath.Join(vault.folder, "people", fmt.Sprintf("point-%d00", n)) }
	newest := 0
	conform(t, conformWorld{
		backend: execBackend{},
		work:    work,
		secrets: []string{vault.password, "battery staple"},
		take: func(t *testing.T, tree string, at time.Time) string {
			taken++
			p := point(taken)
			stamp, _ := at.MarshalText()
			if err := os.MkdirAll(filepath.Join(p, "tree"), 0o700); err != nil {
				t.Fatal(err)
			}
			err := errors.Join(
				fakeCopy(tree, filepath.Join(p, "tree"), 0, func(int64, int64) {}),
				os.WriteFile(filepath.Join(p, "taken"), stamp, 0o600))
			if err != nil {
				t.Fatal(err)
			}
			if sum, err := fakeSum(filepath.Join(p, "tree", "big")); err == nil {
				newest = taken
				if err := os.WriteFile(filepath.Join(p, "sum"), []byte(sum), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return ""
		},
		wrong: func(*testing.T) SetWork {
			s := work
			s.Repository.Password = "env:WRONG_PASSWORD"
			return s
		},
		unreachable: func(t *testing.T) SetWork {
			s := work
			s.Repository.Location = filepath.Join(t.TempDir(), "gone")
			return s
		},
		damage: func(t *testing.T) {
			if err := os.Truncate(filepath.Join(point(newest), "tree", "big"), conformBig-1); err != nil {
				t.Fatal(err)
			}
		},
		held: func(_ *testing.T, id string) bool {
			_, err := os.Stat(filepath.Join(vault.folder, "people", id, "held"))
			return err == nil
		},
	})
}

// scripted is work whose program is a shell script.
func scripted(t *testing.T, script string) SetWork {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vendor")
	writeProgram(t, path, "#!/bin/sh\n"+script)
	return SetWork{Set: Set{Name: "people", Host: "db1", Kind: "files"}, Repository: Repository{Name: "vault", Kind: "exec", Program: path}, Point: "p1"}
}

// What programs do that do not keep their contract.
func TestExecBelievesNothing(t *testing.T) {
	t.Setenv("VAULT_PASSWORD", "correct horse")
	for _, c := range []struct {
		name, script     string
		class, signature string // none: it is believed
		detail           string // a part of it
	}{
		{"that is done", `echo '{"done":true}'`, "", "", ""},
		{"with blanks and news", `echo; echo ' '; echo '{"news":[1]}'; echo '{"done":true}'; echo '{"bye":1}'`, "", "", ""},
		{"without a line's end", `printf '{"done":true}'`, "", "", ""},
		{"that says nothing", `exit 0`, Failed, "backup program ended early", "exit status 0 and did not say"},
		{"that is not done", `echo '{"done":false}'`, Failed, "backup program ended early", ""},
		{"that goes on after its end", `echo '{"done":true}'; echo '{"progress":{"done":1}}'`, Failed, "backup program ended early", ""},
		{"that fails after its end", `echo '{"done":true}'; exit 3`, Failed, "backup program failed", "exit status 3"},
		{"that talks", `echo "Welcome to Vendor 12"; echo '{"done":true}'`, Failed, "backup program not understood", `this line is no answer: "Welcome to Vendor 12"`},
		{"that prints a list", `echo '[]'; echo '{"done":true}'`, Failed, "backup program not understood", ""},
		{"that prints wrong types", `echo '{"progress":"half"}'; echo '{"done":true}'`, Failed, "backup program not understood", ""},
		{"that prints an endless line", `head -c 3000000 /dev/zero | tr '\0' x; echo; echo '{"done":true}'`, Failed, "backup program not understood", ""},
		{"that colours", `printf '\033[31mred\033[0m\n'; echo '{"done":true}'`, Failed, "backup program not understood", `"[31mred[0m"`},
		{"that does not know the verb", `echo "usage: vendor" >&2; exit 64`, Failed, "backup program cannot do that", "does not know what to do at hold"},
		{"that fails", `echo "disk on fire" >&2; exit 7`, Failed, "backup program failed", "exit status 7 at hold; its last words are: disk on fire."},
		{"that is killed", `kill -9 $$`, Failed, "backup program killed", "killed"},
		{"with a reason", `echo '{"error":{"class":"unreachable","signature":"repository locked","detail":"somebody has it open"}}'; exit 1`, Unreachable, "repository locked", "somebody has it open."},
		{"with a reason and exit 0", `echo '{"error":{"signature":"no licence"}}'; echo '{"done":true}'`, Failed, "no licence", ""},
		{"with two reasons", `echo '{"error":{"signature":"first thing"}}'; echo '{"error":{"signature":"second thing"}}'; exit 1`, Failed, "first thing", ""},
		{"with no reason", `echo '{"error":{}}'; exit 1`, Failed, "backup program failed", ""},
		{"that claims a success", `echo '{"error":{"class":"succeeded","signature":"all is well"}}'; exit 1`, Failed, "all is well", ""},
		{"that names names", `echo '{"error":{"signature":"db1: 17 blocks \u001b[31m of /srv"}}'; exit 1`, Failed, "db blocks m of srv", ""},
		{"that tells the secret", `echo "{\"error\":{\"signature\":\"password $BLACKSTART_BACKUP_PASSWORD\",\"detail\":\"no $BLACKSTART_BACKUP_PASSWORD\"}}"; exit 1`, Failed, "password secret", "no [secret]."},
		{"that tells it in a line", `echo "login $BLACKSTART_BACKUP_PASSWORD"`, Failed, "backup program not understood", "login [secret]"},
		{"that tells it in passing", `echo "login $BLACKSTART_BACKUP_PASSWORD" >&2; exit 1`, Failed, "backup program failed", "login [secret]"},
		{"that does not listen", `exec <&-; echo '{"done":true}'`, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scripted(t, c.script)
			s.Repository.Password = "env:VAULT_PASSWORD"
			s.Set.Options = map[string]string{"long": strings.Repeat("x", 200_000)} // more than a pipe holds
			began := time.Now()
			err := execBackend{}.Hold(t.Context(), s)
			if c.class == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			isFault(t, conformWorld{secrets: []string{"correct horse"}}, err, c.class, c.signature)
			if err != nil && !strings.Contains(err.Error(), c.detail) {
				t.Errorf("it says %q; want %q in it", err, c.detail)
			}
			if time.Since(began) > time.Minute {
				t.Errorf("it took %v", time.Since(began))
			}
		})
	}
}

// A program that breaks its contract is not left to run to its end.
func TestExecEndsAProgramThatBreaksItsContract(t *testing.T) {
	s := scripted(t, `echo "Welcome"; sleep 600; echo '{"done":true}'`)
	began := time.Now()
	isFault(t, conformWorld{}, execBackend{}.Hold(t.Context(), s), Failed, "backup program not understood")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func TestExecListIsHeldAgainstTheContract(t *testing.T) {
	for _, c := range []struct{ name, script, detail string }{
		{"no id", `echo '{"point":{"taken_at":"2026-03-01T02:00:00Z"}}'`, "has no id"},
		{"an id that cannot be printed", `printf '%s\n' '{"point":{"id":"a\nb","taken_at":"2026-03-01T02:00:00Z"}}'`, "has no id"},
		{"an endless id", `echo "{\"point\":{\"id\":\"$(head -c 300 /dev/zero | tr '\0' x)\",\"taken_at\":\"2026-03-01T02:00:00Z\"}}"`, "has no id"},
		{"no time", `echo '{"point":{"id":"a"}}'`, "has no taken_at"},
		{"no known time", `echo '{"point":{"id":"a","taken_at":"1 March"}}'`, "this line is no answer"},
		{"an end before the beginning", `echo '{"point":{"id":"a","taken_at":"2026-03-01T02:00:00Z","until":"2026-02-01T02:00:00Z"}}'`, "before it was taken"},
		{"less than nothing", `echo '{"point":{"id":"a","taken_at":"2026-03-01T02:00:00Z","size":-1}}'`, "below zero"},
		{"another kind", `echo '{"point":{"id":"a","kind":"tape","taken_at":"2026-03-01T02:00:00Z"}}'`, "of kind"},
		{"the same twice", `for i in 1 2; do echo '{"point":{"id":"a","taken_at":"2026-03-01T02:00:00Z"}}'; done`, "twice"},
		{"too many", `awk 'BEGIN { for (i = 0; i < 100001; i++) printf "{\"point\":{\"id\":\"%d\",\"taken_at\":\"2026-03-01T02:00:00Z\"}}\n", i }'`, "more than 100000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			points, err := execBackend{}.List(t.Context(), scripted(t, c.script+"\necho '{\"done\":true}'"))
			isFault(t, conformWorld{}, err, Failed, "backup program not understood")
			if points != nil || err != nil && !strings.Contains(err.Error(), c.detail) {
				t.Errorf("listed %d points, and says %q; want %q in it", len(points), err, c.detail)
			}
		})
	}
	points, err := execBackend{}.List(t.Context(), scripted(t, `
		echo '{"point":{"id":"b","taken_at":"2026-03-02T02:00:00+02:00","until":"2026-03-02T03:00:00Z","size":7}}'
		echo '{"point":{"id":"a","kind":"files","taken_at":"2026-03-01T02:00:00Z"}}'
		echo '{"done":true}'`))
	want := []Point{
		{ID: "a", Kind: "files", TakenAt: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)},
		{ID: "b", Kind: "files", TakenAt: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC), Size: 7},
	}
	if err != nil || !slices.Equal(points, want) {
		t.Errorf("listed %+v, %v; want %+v", points, err, want)
	}
}

func TestExecWantsToSeeSomething(t *testing.T) {
	done := scripted(t, `echo '{"done":true}'`)
	isFault(t, conformWorld{}, execBackend{}.Restore(t.Context(), done, t.TempDir(), nil), Failed, "nothing was restored")
	_, err := execBackend{}.Check(t.Context(), done, nil)
	isFault(t, conformWorld{}, err, Failed, "nothing was checked")
	if by, err := (execBackend{}).Check(t.Context(), scripted(t, `echo '{"checked":"media 3/7"}'; echo '{"done":true}'`), nil); err != nil || by != "media 3/7" {
		t.Errorf("checked %q, %v", by, err)
	}
}

func TestExecSizeMayBeUnknown(t *testing.T) {
	for script, want := range map[string]int64{`exit 64`: 0, `echo '{"done":true}'`: 0, `echo '{"size":12}'; echo '{"done":true}'`: 12, `echo '{"size":-12}'; echo '{"done":true}'`: 0} {
		if size, err := (execBackend{}).Size(t.Context(), scripted(t, script)); err != nil || size != want {
			t.Errorf("%s: size %d, %v; want %d", script, size, err, want)
		}
	}
}

func TestExecProgressIsTidied(t *testing.T) {
	var told progressLog
	progress := execProgress(told.add)
	for _, line := range []string{`{"progress":{"done":5,"total":10}}`, `{"progress":{"done":3,"total":10}}`, `{"progress":{"done":-3,"total":-1}}`, `{"progress":{"done":30,"total":10}}`} {
		var a execAnswer
		if err := errors.Join(json.Unmarshal([]byte(line), &a), progress(a)); err != nil {
			t.Fatal(err)
		}
	}
	if want := [][2]int64{{5, 10}, {5, 10}, {5, 0}, {10, 10}}; !slices.Equal(told.told, want) {
		t.Errorf("told %v; want %v", told.told, want)
	}
}

// The program is told what it needs for the verb and nothing else, and the secret only by its environment.
func TestExecRequest(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	heard := t.TempDir()
	s := scripted(t, `cat >`+heard+`/in; echo "$# $*" >`+heard+`/args; env >`+heard+`/env; pwd >`+heard+`/pwd; echo '{"done":true}'`)
	s.Set.Options = map[string]string{"job": "nightly"}
	s.Set.Source = "people"
	s.Repository.Location, s.Repository.Password = "srv1", "file:"+secret
	s.TakenAt, s.Hold, s.Release, s.Part, s.Parts, s.Rate = time.Date(2026, 3, 1, 4, 0, 0, 0, time.FixedZone("", 7200)), "INC-1", true, 3, 7, 1000
	if err := (execBackend{}).Hold(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(heard, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	const want = `{"contract":"blackstart-backup/1","verb":"hold","repository":{"name":"vault","location":"srv1","options":{}},` +
		`"set":{"name":"people","host":"db1","kind":"files","source":"people","options":{"job":"nightly"}},"point":"p1","taken_at":"2026-03-01T02:00:00Z","rate":1000,"incident":"INC-1","release":true}`
	if got := read("in"); got != want {
		t.Errorf("it reads\n%s\nwant\n%s", got, want)
	}
	if got := read("args"); got != "1 hold" {
		t.Errorf("its arguments are %q", got)
	}
	if env := read("env"); !strings.Contains(env, "BLACKSTART_BACKUP_PASSWORD_FILE="+secret) || strings.Contains(env, "correct horse") {
		t.Errorf("its environment is %q", env)
	}
	if got := read("pwd"); got != filepath.Dir(s.Repository.Program) {
		t.Errorf("it runs in %q", got)
	}
	s.Repository.Program = "vendor"
	isFault(t, conformWorld{}, execBackend{}.Hold(t.Context(), s), Failed, "no backup program")
	s.Repository.Program = filepath.Join(heard, "missing")
	isFault(t, conformWorld{}, execBackend{}.Hold(t.Context(), s), Failed, "program cannot be started")
}

// The page of the contract has every key that a program reads, and every line that it may answer with.
func TestExecPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/backup-exec.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for i := range reflect.TypeFor[execRequest]().NumField() {
		key, _, _ := strings.Cut(reflect.TypeFor[execRequest]().Field(i).Tag.Get("json"), ",")
		if !strings.Contains(page, "`"+key+"`") {
			t.Errorf("the page does not say what %q in the request is", key)
		}
	}
	for i := range reflect.TypeFor[execAnswer]().NumField() {
		if key := reflect.TypeFor[execAnswer]().Field(i).Tag.Get("json"); !strings.Contains(page, "`{\""+key+"\":") {
			t.Errorf("the page does not say what an answer of %q is", key)
		}
	}
	for _, word := range []string{execContract, signatureGone, SignatureDamagedPoint, signatureAway, signatureLocked, signaturePassword, signatureFull, "**64**", "100,000", "10 minutes"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page does not say %q", word)
		}
	}
	_, example, _ := strings.Cut(page, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var r execRequest
	decode := json.NewDecoder(strings.NewReader(example))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&r); err != nil || r.Contract != execContract || r.Verb != "restore" || r.Into == "" {
		t.Errorf("the page's request is %+v, %v", r, err)
	}
}

func FuzzExecAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"point":{"id":"a","taken_at":"2026-03-01T02:00:00Z","until":"2026-03-02T02:00:00Z","size":3}}`, `{"progress":{"done":3,"total":9}}`, `{"checked":"media"}`, `{"size":3}`,
		`{"error":{"class":"unreachable","signature":"repository locked","detail":"x"}}`, `{"done":true}`, `null`, `{}`, `[]`, `{"point":null}`, "\xff", `{"error":{"signature":"` + strings.Repeat("a ", 50) + `"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var a execAnswer
		if json.Unmarshal(line, &a) != nil {
			return
		}
		if a.Point != nil {
			if p, err := a.Point.read("files"); err == nil && (p.ID == "" || p.Kind != "files" || p.TakenAt.IsZero() || p.Size < 0 || strings.ContainsAny(p.ID, "\n\x00\x1b")) {
				t.Errorf("%s is taken for %+v", line, p)
			}
		}
		if a.Error != nil {
			fault := a.Error.fault("/opt/vendor", "list", func(text string) string { return text })
			isFault(t, conformWorld{}, fault, fault.Class, "")
			if fault.Class == Succeeded || fault.Class == Lost || fault.Class == Cancelled {
				t.Errorf("%s is taken for %v", line, fault)
			}
		}
	})
}
