//go:build e2e

package restore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The worked example of the documentation, run against its stand-in for a vendor's program, keeps the contract of all backends.
func TestExecExampleConforms(t *testing.T) {
	world := exampleWorld(t)
	conform(t, world.conformWorld)
}

// exampleServer is the stand-in's "server".
type exampleServer struct {
	conformWorld
	folder string
}

func exampleWorld(t *testing.T) exampleServer {
	t.Helper()
	for _, program := range []string{"sh", "jq", "tar", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			wanted(t, "the worked example needs "+program)
		}
	}
	folder, err := filepath.Abs("../../docs/examples/backup-exec")
	if err != nil {
		t.Fatal(err)
	}
	server, secret, taken := t.TempDir(), filepath.Join(t.TempDir(), "secret"), 0
	job := filepath.Join(server, "nightly people")
	file := func(ending string) string { return filepath.Join(job, fmt.Sprintf("run%d00%s", taken, ending)) }
	if err := errors.Join(
		os.Mkdir(job, 0o700),
		os.WriteFile(filepath.Join(server, "password"), []byte("correct horse\n"), 0o600),
		os.WriteFile(secret, []byte("correct horse\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WRONG_PASSWORD", "battery staple")
	w := conformWorld{
		backend: execBackend{},
		work: SetWork{
			Set: Set{Name: "people", Host: "db1", Kind: "files", Source: "nightly people"},
			Repository: Repository{
				Name: "vault", Kind: "exec", Location: server, Password: "file:" + secret, Program: filepath.Join(folder, "backup-vendor"),
				Options: map[string]string{"tool": filepath.Join(folder, "fakeveeam")},
			},
		},
		secrets:           []string{"correct horse", "battery staple"},
		restoreSeesDamage: true,
	}
	newest := ""
	w.take = func(t *testing.T, tree string, at time.Time) string {
		t.Helper()
		taken++
		if said, err := exec.Command("tar", "-C", tree, "-cf", file(".tar"), ".").CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, said)
		}
		sum, err := exec.Command("sh", "-c", `sha256sum <"$0"`, file(".tar")).Output()
		if err := errors.Join(err, os.WriteFile(file(".sum"), sum, 0o600), os.WriteFile(file(".time"), []byte(at.Format(time.RFC3339)), 0o600)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file(".tar")); err == nil && info.Size() > conformBig {
			newest = file(".tar")
		}
		return ""
	}
	w.wrong = func(*testing.T) SetWork {
		s := w.work
		s.Repository.Password = "env:WRONG_PASSWORD"
		return s
	}
	w.unreachable = func(t *testing.T) SetWork {
		s := w.work
		s.Repository.Location = filepath.Join(t.TempDir(), "gone")
		return s
	}
	w.damage = func(t *testing.T) {
		t.Helper()
		f, err := os.OpenFile(newest, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("rot"), conformBig/2)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	w.held = func(_ *testing.T, id string) bool { return isFile(filepath.Join(job, id+".keep")) }
	return exampleServer{w, server}
}

// What the example says of what a vendor's program may do.
func TestExecExampleIsNotFooled(t *testing.T) {
	world := exampleWorld(t)
	t.Setenv("RIGHT_PASSWORD", "correct horse")
	s := world.work
	s.Repository.Password = "env:RIGHT_PASSWORD"
	tree := t.TempDir()
	plant(t, tree, map[string]string{"a": "one"})
	world.take(t, tree, expectMoment)
	points, err := world.backend.List(t.Context(), s)
	if err != nil || len(points) != 1 || points[0].ID != "run100" {
		t.Fatalf("listed %+v, %v", points, err)
	}
	s.Point = points[0].ID
	if by, err := world.backend.(Checker).Check(t.Context(), s, nil); err != nil || by != "vendor verify" {
		t.Errorf("checked %q, %v", by, err)
	}

	plant(t, world.folder, map[string]string{"lock": ""})
	_, err = world.backend.List(t.Context(), s)
	isFault(t, world.conformWorld, err, Unreachable, signatureLocked)
	if err := os.Remove(filepath.Join(world.folder, "lock")); err != nil {
		t.Fatal(err)
	}

	// What one incident releases, another may still hold.
	for _, step := range []struct {
		incident string
		release  bool
		held     bool
	}{{"INC-1", false, true}, {"INC-2", false, true}, {"INC-1", true, true}, {"INC-2", true, false}} {
		s.Hold, s.Release = step.incident, step.release
		if err := world.backend.(Holder).Hold(t.Context(), s); err != nil || world.held(t, s.Point) != step.held {
			t.Errorf("%+v: held %v, %v", step, world.held(t, s.Point), err)
		}
	}

	// A point that is being made is none yet.
	half := filepath.Join(world.folder, "nightly people", "run900")
	plant(t, filepath.Dir(half), map[string]string{"run900.tar": "half", "run900.time": "2026-03-11T02:00:00Z"})
	if points, err := world.backend.List(t.Context(), s); err != nil || len(points) != 1 {
		t.Errorf("with a point that is being made, listed %+v, %v", points, err)
	}

	for name, tool := range map[string]string{
		"vendor program not understood": `echo "Update available!"`,           // exit 0, and no list
		"vendor program failed":         `echo "licence expired" >&2; exit 9`, //
	} {
		fake := s
		fake.Repository.Options = map[string]string{"tool": scripted(t, tool).Repository.Program}
		_, err = world.backend.List(t.Context(), fake)
		isFault(t, world.conformWorld, err, Failed, name)
		_, err = world.backend.(Sizer).Size(t.Context(), fake)
		isFault(t, world.conformWorld, err, Failed, name)
	}
	fake := s
	fake.Repository.Options = map[string]string{"tool": scripted(t, `echo "Restored 3 of 3 bytes"`).Repository.Program} // exit 0 in mid-restore
	isFault(t, world.conformWorld, world.backend.Restore(t.Context(), fake, t.TempDir(), nil), Failed, "vendor program failed")

	if out, err := exec.Command(s.Repository.Program, "defrost").CombinedOutput(); err == nil {
		t.Errorf("without a request it ends with 0 and says %s", out)
	}
	cmd := exec.Command(s.Repository.Program, "defrost")
	cmd.Stdin = strings.NewReader(`{"contract":"blackstart-backup/1","verb":"defrost"}`)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 64 {
		t.Errorf("a verb that it does not know: %v, %s", err, out)
	}
}
