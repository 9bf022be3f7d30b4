package climb

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var helperWay = []string{"told power-off", "off", "told inside", "told own-disk", "on"}

// The helper's tools: a disk is attached while its link is there.
const (
	attachTool = `#!/bin/sh
[ -d "HERE/disks/$BLACKSTART_HOST" ] || { echo "no disk of $BLACKSTART_HOST: 4711" >&2; exit 3; }
mkdir -p HERE/attached HERE/log
echo "attach $BLACKSTART_ATTEMPT" >>"HERE/log/$BLACKSTART_HOST"
ln -sfn "HERE/disks/$BLACKSTART_HOST/disk" "HERE/attached/$BLACKSTART_HOST"
echo noise >&2
echo "HERE/attached/$BLACKSTART_HOST"
`
	detachTool = `#!/bin/sh
echo "detach $BLACKSTART_ATTEMPT" >>"HERE/log/$BLACKSTART_HOST"
rm -f "HERE/attached/$BLACKSTART_HOST"
`
)

// serves makes the machine the helper of others and returns the last one's job.
func (m *machine) serves(hosts ...*machine) (job recovery.Job) {
	m.Helper()
	m.set(func() { m.ownSSH = true })
	m.install("attach", strings.ReplaceAll(attachTool, "HERE", m.bin))
	m.install("detach", strings.ReplaceAll(detachTool, "HERE", m.bin))
	for _, h := range hosts {
		if err := linkDisk(m, h); err != nil {
			m.Fatal(err)
		}
		job = h.job()
		job.Rung = recovery.Rung{Name: "helper", Kind: recovery.RungHelper, Environment: recovery.EnvRescueLinux, Address: "127.0.0.1", Port: m.port(), Within: 5 * time.Second,
			HostKeys: []string{string(ssh.MarshalAuthorizedKey(m.ownKey.PublicKey()))}, Attach: "attach", Detach: "detach"}
	}
	return job
}

func (m *machine) calls(host *machine) []string {
	return readLines(filepath.Join(m.bin, "log", host.name))
}

func TestTwoHostsOnOneHelper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two, h := w.machine("one"), w.machine("two"), w.machine("helper")
	c := w.climber(one, two)
	jobs := []recovery.Job{h.serves(one), h.serves(two)}
	results := make(chan recovery.Result)
	for _, job := range jobs {
		go func() {
			var last recovery.Step
			results <- c.Run(t.Context(), job, script, w.teller(&last))
		}()
	}
	for range jobs {
		res := <-results
		want(t, res, recovery.Succeeded, "")
		if !res.Rebooted {
			t.Errorf("%+v", res)
		}
	}
	for _, m := range []*machine{one, two} {
		m.atHome()
		if ran := m.lines("ran"); len(ran) != 1 {
			t.Errorf("%s: ran %v", m.name, ran)
		}
		if calls := h.calls(m); !slices.Equal(calls, []string{"attach " + m.attempt, "detach " + m.attempt}) {
			t.Errorf("%s: %v", m.name, calls)
		}
	}
}

func TestHelperOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, h := w.machine("app01"), w.machine("helper")
	var last recovery.Step
	want(t, w.climber(m).Run(t.Context(), h.serves(m), script, w.teller(&last)), recovery.Succeeded, "")
	if !slices.Equal(w.done(), helperWay) {
		t.Errorf("done %v", w.done())
	}
}

func TestHelpersThatFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		change    func(w *world, m, h *machine, j *recovery.Job)
		class     recovery.Class
		signature string
		done      []string
		system    string
	}{
		{"helper down", func(_ *world, _, h *machine, _ *recovery.Job) { h.halt() }, recovery.Unreachable, "closed before the banner", nil, own},
		{"wrong helper", func(_ *world, _, h *machine, _ *recovery.Job) { key := newSigner(h); h.set(func() { h.ownKey = key }) }, recovery.HostKeyMismatch, "wrong host key", nil, own},
		{"power silent", func(w *world, _, _ *machine, _ *recovery.Job) { w.fail["off"] = silent() }, recovery.Unreachable, "power control silent", helperWay[:1], own},
		{"power slow", func(w *world, _, _ *machine, _ *recovery.Job) { w.half["off"] = late() }, recovery.TimedOut, "slow", []string{"told power-off", "off", "told own-disk", "on"}, own},
		{"no disk", func(_ *world, _, h *machine, j *recovery.Job) {
			j.Rung.Attach = "echo the last word was 12; BLACKSTART_HOST=app02 attach"
		}, recovery.Failed,
			"attach failed: no disk of app#: #", helperWay, own},
		{"no folder", func(_ *world, _, _ *machine, j *recovery.Job) { j.Rung.Attach = "echo nothing" }, recovery.Failed, "attach named no folder", helperWay, own},
		{"keeps the disk", func(_ *world, _, _ *machine, j *recovery.Job) { j.Rung.Detach = "echo busy; exit 1" }, recovery.Failed, "disk not given back", helperWay[:3], off},
		{"inside not recorded", func(w *world, _, _ *machine, _ *recovery.Job) { w.fail["told inside"] = errors.New("full") }, recovery.Lost, "cancelled in mid-run", helperWay[:2], off},
		{"no way on", func(w *world, _, _ *machine, _ *recovery.Job) { w.fail["on"] = late() }, recovery.Succeeded, "", helperWay[:4], off},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m, h := w.machine("app01"), w.machine("helper")
			job := h.serves(m)
			c.change(w, m, h, &job)
			var last recovery.Step
			res := w.climber(m).Run(t.Context(), job, script, w.teller(&last))
			want(t, res, c.class, c.signature)
			if !slices.Equal(w.done(), c.done) || m.runs() != c.system {
				t.Errorf("done %v, it runs %q", w.done(), m.runs())
			}
			if c.name == "no way on" && (res.Rebooted || !strings.Contains(res.Detail, "could not be started")) {
				t.Errorf("%+v", res)
			}
		})
	}
}

// A host without a power control is a guest that the helper's own commands stop and start.
func TestHelperThatStopsItsGuest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, h := w.machine("app01"), w.machine("helper")
	job := h.serves(m)
	job.Host.Power = nil
	var last recovery.Step
	res := w.climber(m).Run(t.Context(), job, script, w.teller(&last))
	want(t, res, recovery.Succeeded, "")
	if !slices.Equal(w.done(), []string{"told inside"}) || res.Rebooted || !slices.Equal(h.calls(m), []string{"attach app01/1", "detach app01/1"}) {
		t.Errorf("done %v, %+v", w.done(), res)
	}
}
