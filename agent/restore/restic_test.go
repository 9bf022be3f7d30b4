package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestResticVersion(t *testing.T) {
	for line, want := range map[string]resticVersion{
		"restic 0.14.0 compiled with go1.19.8 on linux/amd64":                           {0, 14},
		"restic 0.17.3-dev (compiled manually) compiled with go1.23.3 on windows/amd64": {0, 17},
		"restic 1.0.0 compiled with go1.27 on linux/arm64":                              {1, 0},
		"restic v0.18.1":                         {0, 18},
		"rustic 0.9.0":                           {},
		"restic 99999999999999999999.1 compiled": {},
		"":                                       {},
	} {
		if got := parseResticVersion(line); got != want {
			t.Errorf("%q is %v, want %v", line, got, want)
		}
	}
}

// Texts of 0.14 were recorded from the real program. Those of newer versions are written after the scripting chapter of restic's
// manual (exit codes since 0.17, exit_error and error messages in JSON on standard error), since no newer one is at hand.
func TestResticFault(t *testing.T) {
	const (
		old, recent = 14, 18
		location    = "rest:http://ada:geheim@backup.example:8000/"
	)
	for _, c := range []struct {
		name             string
		minor            int
		ended            ended
		class, signature string // empty: no fault
	}{
		{"done", old, ended{said: "warning: something"}, "", ""},
		{"password, by word", old, ended{exit: 1, said: "Fatal: wrong password or no key found"}, AuthRefused, signaturePassword},
		{"password, by code", recent, ended{exit: 12, said: `{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}`}, AuthRefused, signaturePassword},
		{"password, by code alone", recent, ended{exit: 12}, AuthRefused, signaturePassword},
		{"a code that meant nothing yet", old, ended{exit: 12}, Failed, signatureRestic},
		{"a code that nobody knows", recent, ended{exit: 77, said: `{"message_type":"exit_error","code":77,"message":"Fatal: new kind of trouble"}`}, Failed, signatureRestic},
		{"could not read some source, which no restore says", recent, ended{exit: 3}, Failed, signatureRestic},
		{"a crash of Go", old, ended{exit: 2, said: "panic: runtime error: index out of range"}, Failed, signatureRestic},
		{"no password given", old, ended{exit: 1, said: "Fatal: an empty password is not a password"}, AuthRefused, "repository password missing"},
		{"no repository, by word", old, ended{exit: 1, said: "Fatal: unable to open config file: stat /nope/config: no such file or directory; Is there a repository at the following location?; /nope"}, Unreachable, signatureAway},
		{"no repository, by code", recent, ended{exit: 10, said: `{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist: unable to open config file: stat /nope/config: no such file or directory\nIs there a repository at the following location?\n/nope"}`}, Unreachable, signatureAway},
		{"closed port", old, ended{exit: 1, said: `Fatal: unable to open config file: client.Head: Head "http://ada:geheim@backup.example:8000/config": dial tcp 127.0.0.1:9: connect: connection refused; Is there a repository at the following location?; ` + location}, Unreachable, signatureAway},
		{"sftp to a closed port", old, ended{exit: 1, said: "subprocess ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused; Fatal: unable to open repository at sftp://127.0.0.1:9//srv: unable to start the sftp session, error: EOF"}, Unreachable, signatureAway},
		{"sftp refuses the key", old, ended{exit: 1, said: "subprocess ssh: backup@nas: Permission denied (publickey,password).; Fatal: unable to open repository at sftp:backup@nas:/srv: unable to start the sftp session, error: EOF"}, AuthRefused, signatureNoAccess},
		{"storage refuses", recent, ended{exit: 1, said: `Fatal: unable to open repository at s3:s3.example/b: client.BucketExists: Access Denied.`}, AuthRefused, signatureNoAccess},
		{"locked, by word", old, ended{exit: 1, said: "unable to create lock in backend: repository is already locked by PID 8856 on vm by root (UID 0, GID 0); lock was created at 2026-11-22 10:15:18 (3.046818738s ago); storage ID 7e019a58; the `unlock` command can be used to remove stale locks"}, Unreachable, signatureLocked},
		{"locked, by code", recent, ended{exit: 11, said: `{"message_type":"exit_error","code":11,"message":"unable to create lock in backend: repository is already locked exclusively by PID 1 on vm"}`}, Unreachable, signatureLocked},
		{"nothing can be written there", old, ended{exit: 1, said: "main.main; github.com/restic/restic/cmd/restic/main.go:98; unable to create lock in backend"}, Failed, signatureReadOnly},
		{"nothing can be written there, by code", recent, ended{exit: 11, said: "unable to create lock in backend: open /mnt/repo/locks/7e-tmp-1: read-only file system"}, Failed, signatureReadOnly},
		{"gone", old, ended{exit: 1, said: `invalid id "0123": no matching ID found for prefix "0123"`}, Failed, signatureGone},
		{"full disk", old, ended{exit: 1, said: "ignoring error for /src/a: write /small/src/a: no space left on device; Fatal: There were 48 errors"}, Failed, signatureFull},
		{"full disk in JSON", recent, ended{exit: 1, said: `{"message_type":"error","error":{"message":"write /small/src/a: no space left on device"},"during":"restore","item":"/src/a"}; {"message_type":"exit_error","code":1,"message":"Fatal: There were 1 errors"}`}, Failed, signatureFull},
		{"flipped bytes in a restore", old, ended{exit: 1, said: "ignoring error for /src/a: ciphertext verification failed; Fatal: There were 1 errors"}, Failed, SignatureDamagedPoint},
		{"flipped bytes in a check", old, ended{exit: 1, said: "Pack ID does not match, want fb59101cfe, got dc5624d2a7; Fatal: repository contains errors"}, Failed, SignatureDamagedPoint},
		{"missing pack", old, ended{exit: 1, said: "Load(<data/fb59101cfe>, 17966535, 0) returned error, retrying after 15.394871241s: open /repo/data/fb/fb59101cfe12e38723486906780a0d9fe6ab17bb3a582932641c7862edd5e64e: no such file or directory; ignoring error for /src/a: StreamPack: open /repo/data/fb/fb59101cfe12e38723486906780a0d9fe6ab17bb3a582932641c7862edd5e64e: no such file or directory; Fatal: There were 2 errors"}, Failed, SignatureDamagedPoint},
		{"missing pack, only the last words", old, ended{exit: 1, said: "no such file or directory; ignoring error for /src/b: StreamPack: open /repo/data/fb/fb59101cfe12e38723486906780a0d9fe6ab17bb3a582932641c7862edd5e64e: no such file or directory; Fatal: There were 2 errors"}, Failed, SignatureDamagedPoint},
		{"index cut short", old, ended{exit: 1, said: "Fatal: load <index/9511f9f967>: invalid data returned"}, Failed, SignatureDamagedPoint},
		{"the folder went away, not the repository", old, ended{exit: 1, said: "ignoring error for /src/a: open /into/src/a: no such file or directory; ignoring error for /src/b: open /into/src/b: no such file or directory; Fatal: There were 2 errors"}, Failed, signatureRestic},
		{"storage lost on the way", old, ended{exit: 1, said: "ignoring error for /src/a: StreamPack: Get \"http://backup/data/fb\": dial tcp 10.0.0.9:8000: connect: connection refused; Fatal: There were 1 errors"}, Unreachable, signatureAway},
		{"damage in newer words", recent, ended{exit: 1, said: "The repository is damaged and must be repaired. Please follow the troubleshooting guide at ...; Fatal: repository contains errors"}, Failed, SignatureDamagedPoint},
		{"killed", old, ended{exit: -1, signal: "killed", said: "wrong password"}, Failed, signatureKilled},
		{"owners that only root may set", old, ended{exit: 1, said: "ignoring error for /src/a: lchown /into/src/a: operation not permitted; Fatal: There were 1 errors"}, Failed, signatureRestic},
		{"says nothing", old, ended{exit: 1}, Failed, signatureRestic},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := SetWork{Repository: Repository{Name: "vault", Location: location}}
			err := resticFault(resticVersion{0, c.minor}, s, "restore", c.ended)
			if c.class == "" {
				if err != nil {
					t.Errorf("%v; want no fault", err)
				}
				return
			}
			isFault(t, conformWorld{secrets: []string{"geheim", "ada:"}}, err, c.class, c.signature)
			if fault := new(Fault); errors.As(err, &fault) && (strings.Contains(fault.Detail, "message_type") || !strings.Contains(fault.Detail, "vault") && c.ended.signal == "") {
				t.Errorf("a person reads %q", fault.Detail)
			}
		})
	}
}

// The lines of restore --json are written after restic's manual, as 0.14 has none.
func TestResticProgress(t *testing.T) {
	type word struct{ done, total int64 }
	for _, c := range []struct {
		name string
		size int64
		do   func(p *resticProgress)
		want []word
	}{
		{"JSON", 0, func(p *resticProgress) {
			p.counted(70) // before restic's first word
			p.line(`{"message_type":"status","seconds_elapsed":1,"percent_done":0.25,"total_files":3,"files_restored":1,"total_bytes":400,"bytes_restored":100}`)
			p.counted(900) // no longer
			p.line(`{"message_type":"status","percent_done":0.2,"total_bytes":400,"bytes_restored":80}`)
			p.line(`{"message_type":"verbose_status","action":"restored","item":"/x","size":9}`)
			p.line(`{"message_type":"summary","total_files":3,"files_restored":3,"total_bytes":400,"bytes_restored":400}`)
			p.end()
		}, []word{{70, 0}, {100, 400}, {100, 400}, {400, 400}, {400, 400}}},
		{"plain text, with a size", 300, func(p *resticProgress) {
			p.line("restoring <Snapshot 15d35830 of [/src] at 2026-11-22 10:13:17 by root@h1> to /into")
			p.counted(100)
			p.counted(90)
			p.counted(310) // metadata is written too
			p.end()
		}, []word{{100, 300}, {100, 300}, {300, 300}, {300, 300}}},
		{"plain text, without", 0, func(p *resticProgress) {
			p.line(`{"message_type":`)
			p.line(`[]`)
			p.counted(100)
			p.end()
		}, []word{{100, 0}, {100, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []word
			p := &resticProgress{total: c.size, tell: func(done, total int64) { got = append(got, word{done, total}) }}
			c.do(p)
			if !slices.Equal(got, c.want) {
				t.Errorf("told %v, want %v", got, c.want)
			}
		})
	}
}

func TestResticFilter(t *testing.T) {
	for source, want := range map[string][]string{
		"":                        {"--host=db1"},
		"host=a, host=b":          {"--host=a", "--host=b"},
		"path=/srv,tag=x,tag=y":   {"--path=/srv", "--tag=x,y"},
		"path=--password-file=/x": {"--path=--password-file=/x"},
	} {
		if got, err := resticFilter(Set{Host: "db1", Source: source}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %q, %v; want %q", source, got, err, want)
		}
	}
	for _, source := range []string{"db1", "host=", "user=ada", "host=a,,path=/"} {
		_, err := resticFilter(Set{Name: "people", Source: source})
		isFault(t, conformWorld{}, err, Failed, "source not understood")
	}
}

func TestResticHoldTag(t *testing.T) {
	if got := holdTag("INC-2026/03 02,a;\nü"); got != "blackstart-hold-INC-2026-03-02-a---" {
		t.Errorf("tag %q", got)
	}
}

// A secret reaches restic by its environment only, and nothing else of the agent's does.
func TestResticEnvironment(t *testing.T) {
	for name, value := range map[string]string{"VAULT_PASS": "geheim", "AWS_ACCESS_KEY_ID": "key", "RESTIC_PASSWORD_COMMAND": "evil", "RESTIC_REST_PASSWORD": "rest", "LD_PRELOAD": "evil"} {
		t.Setenv(name, value)
	}
	r := Repository{Name: "vault", Location: "s3:s3.example/b", Password: "env:VAULT_PASS", Options: map[string]string{"s3.layout": "default", "b2.connections": "9"}}
	env, err := resticEnv(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RESTIC_PASSWORD=geheim", "AWS_ACCESS_KEY_ID=key", "RESTIC_REST_PASSWORD=rest", "RESTIC_REPOSITORY=s3:s3.example/b"} {
		if !slices.Contains(env, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if all := strings.Join(env, "\n"); strings.Contains(all, "evil") || strings.Contains(all, "VAULT_PASS") {
		t.Errorf("more is told than restic needs: %q", env)
	}
	if got, want := resticOptions(r), []string{"--no-cache", "--option=b2.connections=9", "--option=s3.layout=default"}; !slices.Equal(got, want) {
		t.Errorf("options %q, want %q", got, want)
	}
	for _, password := range []string{"env:NOT_SET", "file:/does/not/exist", "geheim", "file:", "env:"} {
		_, err := resticEnv(Repository{Name: "vault", Password: password})
		isFault(t, conformWorld{secrets: []string{"geheim"}}, err, AuthRefused, "repository password missing")
	}
}

// fakeRestic is a script in the place of restic 0.14 that knows one point and does restore as told. It notes what it is called for.
func fakeRestic(t *testing.T, restore string) SetWork {
	t.Helper()
	dir := t.TempDir()
	id := strings.Repeat("0a", 32)
	script := `#!/bin/sh
cd "` + dir + `"
echo "$*" >>called
case "$*" in
version) echo "restic 0.14.0 compiled with go1.19.8 on linux/amd64" ;;
*snapshots*)
	if [ -e away ]; then echo "Fatal: unable to open config file: stat /vault/config: no such file or directory" >&2; exit 1; fi
	echo '[{"time":"2026-03-01T02:00:00Z","id":"` + id + `"}]' ;;
*"cat config")
	if [ -e away ]; then echo "Fatal: unable to open config file: stat /vault/config: no such file or directory" >&2; exit 1; fi
	echo '{"version":2}'
	if [ -p waits ]; then echo >waits; fi ;;
*restore*) ` + restore + ` ;;
*" unlock") echo removed >>unlocked ;;
esac
`
	program := filepath.Join(dir, "restic")
	writeProgram(t, program, script)
	return SetWork{Set: Set{Name: "files", Host: "db1"}, Repository: Repository{Name: "vault", Program: program}, Point: id}
}

// calledFor is what the fake was called for, without what every call has.
func calledFor(t *testing.T, s SetWork) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.Repository.Program), "called"))
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for line := range strings.Lines(string(text)) {
		calls = append(calls, strings.TrimPrefix(strings.TrimSpace(line), "--no-cache "))
	}
	return calls
}

// A restore is one call of restic, as by hand. The snapshots are looked through only for a point that restic does not know.
func TestResticRestoresAtOnce(t *testing.T) {
	first, second := strings.Repeat("1b", 32), strings.Repeat("0a", 32)
	unknown := `case "$*" in *` + first + `) echo 'invalid id "1b": no matching ID found for prefix "1b"' >&2; exit 1 ;; esac`
	into := t.TempDir()
	version, lookUp := "version", "--no-lock --json snapshots"
	restore := func(id string) string { return "--json restore --target=" + into + " " + id }
	for _, c := range []struct {
		name, point string
		signature   string // empty: restored
		want        []string
	}{
		{"a point that restic knows", second, "", []string{version, restore(second)}},
		{"a point that is not there", first, signatureGone, []string{version, restore(first), lookUp}},
		{"another name than an id", "latest", signatureGone, []string{version, lookUp}},
		{"an option", "--verify", signatureGone, []string{version, lookUp}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fakeRestic(t, unknown)
			s.Point = c.point
			switch err := NewRestic().Restore(t.Context(), s, into, nil); {
			case c.signature != "":
				isFault(t, conformWorld{}, err, Failed, c.signature)
			case err != nil:
				t.Error(err)
			}
			if got := calledFor(t, s); !slices.Equal(got, c.want) {
				t.Errorf("called for %q, want %q", got, c.want)
			}
		})
	}
	t.Run("a point with other tags by now", func(t *testing.T) {
		s := fakeRestic(t, unknown)
		script, err := os.ReadFile(s.Repository.Program)
		if err != nil {
			t.Fatal(err)
		}
		retagged := strings.Replace(string(script), `"id":"`+second+`"`, `"id":"`+second+`","original":"`+first+`"`, 1)
		writeProgram(t, s.Repository.Program, retagged)
		s.Point = first
		if err := NewRestic().Restore(t.Context(), s, into, nil); err != nil {
			t.Error(err)
		}
		if got, want := calledFor(t, s), []string{version, restore(first), lookUp, restore(second)}; !slices.Equal(got, want) {
			t.Errorf("called for %q, want %q", got, want)
		}
	})
}

// A restic that stands still is ended when its repository is out of reach, and left alone when it answers.
func TestResticIsWatched(t *testing.T) {
	for name, c := range map[string]struct {
		restore string
		away    bool
	}{
		"out of reach, and silent":         {"touch away; exec sleep 600", true},
		"out of reach, and it complains":   {"touch away; while echo 'Load(<data/fb59>) returned error, retrying after 1s' >&2; do sleep 1; done", true},
		"it answers":                       {"mkfifo waits; read x <waits", false},
		"out of reach, but data does come": {`touch away; line=$(printf %70000s x); for i in 1 2 3 4 5 6; do echo "$line" >data; sleep 1; done; rm away`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fakeRestic(t, c.restore)
			r := NewRestic()
			r.reach = 6 * time.Second
			began := time.Now()
			err := r.Restore(t.Context(), s, t.TempDir(), nil)
			if took := time.Since(began); took > r.reach+letGo+drainTime {
				t.Errorf("it took %v", took)
			}
			if c.away {
				isFault(t, conformWorld{}, err, Unreachable, signatureAway)
			} else if err != nil {
				t.Error(err)
			}
			probed := slices.Contains(calledFor(t, s), "--no-lock --json cat config")
			if want := name != "out of reach, but data does come"; probed != want {
				t.Errorf("its repository was asked for: %v, want %v", probed, want)
			}
		})
	}
}

// A repository that goes away in mid-restore looks to restic as if its data were missing; the point is not to be blamed. With the real one it
// takes minutes until restic gives up.
func TestResticRepositoryGoesAwayInMidRestore(t *testing.T) {
	for _, said := range []string{
		"Load(<data/fb59>) failed; ignoring error for /src: open /vault/data/fb/" + strings.Repeat("fb", 32) + ": no such file or directory",
		"error in cleanup handler: chmod /vault/locks/24d6: no such file or directory",
	} {
		s := fakeRestic(t, "touch away; echo '"+said+"' >&2; exit 1")
		isFault(t, conformWorld{}, NewRestic().Restore(t.Context(), s, t.TempDir(), nil), Unreachable, signatureAway)
		s = fakeRestic(t, "echo 'ciphertext verification failed' >&2; exit 1")
		isFault(t, conformWorld{}, NewRestic().Restore(t.Context(), s, t.TempDir(), nil), Failed, SignatureDamagedPoint)
	}
}

// Only what restic itself calls stale is unlocked, once, and the restore is tried once more.
func TestResticUnlocksOnce(t *testing.T) {
	s := fakeRestic(t, "echo 'repository is already locked by PID 1 on db1' >&2; echo tried >>tried; exit 1")
	r := NewRestic()
	r.patience = 0
	isFault(t, conformWorld{}, r.Restore(t.Context(), s, t.TempDir(), nil), Unreachable, signatureLocked)
	for name, want := range map[string]string{"tried": "tried\ntried\n", "unlocked": "removed\n"} {
		if got, err := os.ReadFile(filepath.Join(filepath.Dir(s.Repository.Program), name)); string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

// A lock of another restic is waited for, as long as patience lasts.
func TestResticWaitsForALock(t *testing.T) {
	const locked = "if [ $(wc -l <tried) -lt %d ]; then echo 'repository is already locked by PID 1 on db1' >&2; exit 1; fi"
	for name, c := range map[string]struct {
		until int // the try that is let in
		tries int
		fails bool
	}{
		"given back while it waits": {3, 3, false},
		"given back too late":       {4, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fakeRestic(t, "echo tried >>tried; "+fmt.Sprintf(locked, c.until))
			r := NewRestic()
			r.patience = 2 * time.Second // one pause of a second; the next would be too long
			if err := r.Restore(t.Context(), s, t.TempDir(), nil); c.fails {
				isFault(t, conformWorld{}, err, Unreachable, signatureLocked)
			} else if err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(filepath.Join(filepath.Dir(s.Repository.Program), "tried")); string(got) != strings.Repeat("tried\n", c.tries) {
				t.Errorf("tried %q, %v; want %d times", got, err, c.tries)
			}
		})
	}
	t.Run("ended while it waits", func(t *testing.T) {
		t.Parallel()
		s := fakeRestic(t, "echo 'repository is already locked by PID 1 on db1' >&2; exit 1")
		ctx, cancel := context.WithCancel(t.Context())
		r := NewRestic()
		r.patience = time.Hour
		done := make(chan error, 1)
		go func() {
			done <- r.waitForLock(ctx, s, resticRun{args: []string{"restore"}}, &Fault{Unreachable, signatureLocked, "It is locked."})
		}()
		cancel()
		isFault(t, conformWorld{}, <-done, Unreachable, signatureLocked)
	})
}

// A hold gives a point another id. Its size is asked again under that, not taken for nothing.
func TestResticSizeOfAPointWithOtherTagsByNow(t *testing.T) {
	first, second := strings.Repeat("1b", 32), strings.Repeat("0a", 32)
	for name, c := range map[string]struct {
		stats string
		size  int64
		gone  bool
	}{
		"known":                {`echo '{"total_size":500,"total_file_count":3,"snapshots_count":1}'`, 500, false},
		"empty, but there":     {`echo '{"total_size":0,"total_file_count":1,"snapshots_count":1}'`, 0, false},
		"says nothing of it":   {`echo '{"total_size":500}'`, 500, false},
		"tagged in between":    {`case "$*" in *` + second + `) echo '{"total_size":0,"snapshots_count":0}'; echo >tagged ;; *) echo '{"total_size":500,"snapshots_count":1}' ;; esac`, 500, false},
		"not found, two times": {`echo '{"total_size":0,"snapshots_count":0}'`, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := fakeRestic(t, "")
			script, err := os.ReadFile(s.Repository.Program)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(string(script), "*snapshots*)\n", "*stats*) "+c.stats+" ;;\n*snapshots*)\n"+
				`if [ -e tagged ]; then echo '[{"time":"2026-03-01T02:00:00Z","id":"`+first+`","original":"`+second+`"}]'; exit 0; fi`+"\n", 1)
			writeProgram(t, s.Repository.Program, text)
			size, err := NewRestic().Size(t.Context(), s)
			if c.gone {
				isFault(t, conformWorld{}, err, Failed, signatureGone)
			} else if err != nil || size != c.size {
				t.Errorf("%d, %v; want %d", size, err, c.size)
			}
		})
	}
}

func TestResticListingIsBounded(t *testing.T) {
	var l listing
	chunk := make([]byte, maxListing/2)
	for range 2 {
		if _, err := l.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Write([]byte("x")); err == nil {
		t.Error("there is no bound")
	}
}

func TestResticBadPacks(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	mismatch := "Pack ID does not match, want " + a + ", got " + b
	const end = "; Fatal: repository contains errors"
	for said, want := range map[string][]string{
		mismatch + end: {a},
		mismatch + "; pack " + b + ": does not exist; Load(<data/b2b2b2>, 17, 0) returned error, retrying after 5s: no such file" + end: {a, b},
		"pack " + a + " failed to download: StreamPack: unexpected EOF" + end:                                                           {a},
		"ID does not match, want " + a + ", got " + b + "; " + mismatch + end:                                                           nil, // its beginning was not heard
		mismatch + "; error for tree 12345678: ciphertext verification failed" + end:                                                    nil,
		strings.Repeat(mismatch+"; ", 12) + end:                                                                                         nil,
		"Fatal: repository contains errors":                                                                                             nil,
		"":                                                                                                                              nil,
	} {
		if got, ok := badPacks(said); !slices.Equal(got, want) || ok != (want != nil) {
			t.Errorf("%q: %v, %v; want %v", said, got, ok, want)
		}
	}
}
