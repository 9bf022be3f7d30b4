package sim

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// job is what a remedy does for the coordinator in one of its lives. It dies with it; what runs on a machine does not.
type job struct {
	engine.Start
	h        *house
	m        *machine
	runner   *machine // whose agent does it, where one does
	on       *link    // over which that agent was told last
	stopping bool     // it was told to let go of it
	life     int
	began    time.Duration
	over     bool
	claimed  bool // a script was started or joined
	dropped  bool // it was told to stop
	stuck    bool // a fault in the remedy: it tells its result long after its lease, or never, and hears no cancelling
}

// launch carries out the order to start a job. Its intent must be on disk.
func (h *house) launch(start engine.Start) {
	w := h.w
	j := &job{Start: start, h: h, m: w.byName[start.Host.Name], life: h.life, began: w.now}
	if start.Kind == recovery.JobRepair || start.Kind == recovery.JobRestore {
		h.isRecorded(start.Job)
	}
	if start.Runner != "" {
		j.runner = w.byName[start.Runner]
	}
	if start.Kind == recovery.JobUnboot {
		j.m.unboots++
	}
	if h.jobs[start.ID] != nil {
		w.breach("intent-before-act", start.Host.Name, "%s is sent twice in one life", start.ID)
	}
	h.jobs[start.ID] = j
	w.tally.Jobs++
	j.stuck = start.Kind != recovery.JobUnboot && start.Kind != recovery.JobCancel && w.chance(w.odds.stuck) // see the known limits in docs/architecture.md
	if start.Kind == recovery.JobRepair {
		j.after(start.Timeout+w.draw(0, time.Second), func() { j.end(j.outOfTime()) })
	}
	switch {
	case start.Kind == recovery.JobRestore || start.Kind == recovery.JobCancel:
		j.errand()
	case start.Kind == recovery.JobVerify:
		j.after(w.draw(time.Second, 20*time.Second), j.probe)
	case start.Kind == recovery.JobUnboot:
		j.after(w.draw(time.Second, 20*time.Second), j.unboot)
	case start.Rung.Kind == recovery.RungRescue || start.Rung.Kind == recovery.RungHelper:
		(&ascent{job: j, taken: start.Step}).begin()
	default:
		j.after(w.draw(10*time.Millisecond, w.odds.dial), j.dial)
	}
}

// after goes on with the job, if it still runs then.
func (j *job) after(d time.Duration, do func()) {
	j.h.w.after(d, func() {
		if !j.over && j.h.up && j.h.life == j.life {
			do()
		}
	})
}

// end brings the result. A copy of it may haunt the engine later.
func (j *job) end(r recovery.Result) {
	if j.over {
		return
	}
	j.over = true
	if j.stuck {
		if j.h.w.chance(500) {
			j.h.w.after(3*j.Timeout+2*time.Hour, func() { j.told(r) })
		}
		return
	}
	j.told(r)
}

func (j *job) told(r recovery.Result) {
	h := j.h
	if !h.up || h.life != j.life {
		return
	}
	delete(h.jobs, j.ID)
	h.look()
	if !h.up {
		return
	}
	if r.Sighting != nil && !j.dropped {
		h.audit.Hear(j.m.name(), r.Sighting.Connected)
	}
	h.must(h.engine.Finished(j.Start, r, h.moment))
	if h.w.chance(h.w.odds.doubled) {
		h.w.after(h.w.draw(time.Second, 20*time.Minute), func() {
			if h.up {
				h.haunt(j.m, j.ID, r, j.Resumed)
			}
		})
	}
}

// cancel is the engine's word that the job ought not to run any more.
func (j *job) cancel() {
	j.dropped = true
	if j.over || j.stuck {
		return
	}
	r := recovery.Result{Class: recovery.Cancelled, Signature: "cancelled"}
	if j.Kind == recovery.JobRestore {
		r = recovery.Result{Class: recovery.Lost, Signature: "cancelled in mid-run"}
	}
	if j.claimed {
		r = j.lost("cancelled in mid-run")
	}
	j.end(r)
}

// lost is the end of a job whose script was started and whose outcome is not known; the runner has told in which boot it was.
func (j *job) lost(signature string) recovery.Result {
	r := recovery.Result{Class: recovery.Lost, Signature: signature}
	if s := j.m.claims[j.ID]; s != nil && j.Rung.Environment == recovery.EnvLinux {
		r.Boot = j.m.bootName(s.boot)
	}
	return r
}

func (j *job) outOfTime() recovery.Result {
	if j.claimed {
		return j.lost("connection lost")
	}
	return recovery.Result{Class: recovery.TimedOut, Signature: "no end in time"}
}

// dial tries to reach the rung's system, and begins or joins the script there.
func (j *job) dial() {
	m, w := j.m, j.h.w
	in, reachable := j.reaches()
	switch {
	case reachable && m.door != "" && in == own:
		j.end(recovery.Result{Class: m.door, Signature: string(m.door)})
	case reachable:
		j.run(in)
	case j.claimed: // it is joined as long as the job lasts
		j.after(w.draw(5*time.Second, 30*time.Second), j.dial)
	case j.Rung.Kind == recovery.RungRace && w.now-j.began < within(j.Rung):
		j.after(w.draw(time.Second, 10*time.Second), j.dial)
	default:
		j.after(w.draw(0, w.odds.dial), func() {
			j.end(recovery.Result{Class: recovery.Unreachable, Signature: "no answer"})
		})
	}
}

func within(r recovery.Rung) time.Duration {
	if r.Within > 0 {
		return r.Within
	}
	return recovery.DefaultWithin
}

// reaches reports in which system a login on the job's rung would find itself now.
func (j *job) reaches() (system, bool) {
	m, w := j.m, j.h.w
	switch {
	case !w.connected(m):
		return off, false
	case j.Rung.Environment == recovery.EnvLinux:
		return own, m.runs == own
	case j.Rung.Kind == recovery.RungSSH: // a rescue system that somebody keeps ready at an address of its own
		return m.runs, m.reached && m.runs != booting
	}
	return rescue, m.runs == rescue
}

// run starts or joins the script.
func (j *job) run(in system) {
	m, w := j.m, j.h.w
	s := m.claim(j.Job, in, j.limit())
	j.claimed = true
	if s.runs > 1 {
		w.breach("executes-at-most-once", m.name(), "%s was started %d times", j.ID, s.runs)
	}
	j.follow(s, in)
}

// limit is how long the script may run: what the playbook gives it, and so much less than the job that its end can still be told.
func (j *job) limit() time.Duration {
	left := j.Timeout - (j.h.w.now - j.began)
	return max(min(left-min(10*time.Second, left/5), j.h.w.books[0].Timeout), time.Second)
}

// follow waits for the script's exit, over connections that come and go.
func (j *job) follow(s *script, in system) {
	m, w := j.m, j.h.w
	if now, reachable := j.reaches(); !reachable || now != in {
		j.after(w.draw(time.Second, 20*time.Second), j.dial)
		return
	}
	switch {
	case s.ended:
		j.collect(s)
	case m.current != s: // a claim without an exit, and nothing runs: the machine went down in its middle
		j.end(j.lost("no exit"))
	default:
		j.after(w.draw(time.Second, w.odds.notice), func() { j.follow(s, in) })
	}
}

// collect brings the script's result, and restarts the machine where that is due and was not done.
func (j *job) collect(s *script) {
	m := j.m
	r := s.result
	r.Exit = 0
	if j.Rung.Environment == recovery.EnvLinux {
		r.Boot = m.bootName(s.boot)
	}
	if r.Class == recovery.Succeeded && j.Reboot && !s.reboot {
		s.reboot, r.Rebooted = true, true
		j.h.w.restarts(m, j.Job)
		m.restart()
	} else if r.Class == recovery.Succeeded && s.reboot && !s.foreign {
		r.Rebooted = true
	}
	j.h.w.after(j.h.w.draw(0, j.h.w.odds.latency), func() {
		if j.h.up && j.h.life == j.life {
			j.end(r)
		}
	})
}

// probe fetches the proof of a host without an agent.
func (j *job) probe() {
	m, w := j.m, j.h.w
	if m.runs != own || !w.connected(m) || m.door != "" || m.bootID() == j.BootBefore {
		if w.now-j.began < j.Timeout {
			j.after(w.draw(5*time.Second, time.Minute), j.probe)
			return
		}
		j.end(recovery.Result{Class: recovery.TimedOut, Detail: "no facts of another boot"})
		return
	}
	v := m.gather(j.ID)
	v.Source = "ssh"
	j.end(recovery.Result{Class: recovery.Succeeded, Sighting: &v})
}

// unboot sees that the machine boots from its own disk.
func (j *job) unboot() {
	if j.m.deaf || !j.h.w.powered(j.m) {
		j.end(recovery.Result{Class: recovery.Failed, Signature: "boot target did not change"})
		return
	}
	j.m.target = false
	j.end(recovery.Result{Class: recovery.Succeeded, BootTarget: recovery.BootTargetDisk})
}
