package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const digest = "sha256:5eed"

var began = time.Date(2024, 7, 19, 5, 30, 0, 0, time.UTC)

// world plays an incident through recovery.Decide and Apply and keeps its journal. Its hosts do what their scripts say.
type world struct {
	t       testing.TB
	s       *recovery.State
	entries []recovery.Entry
	now     time.Time
	script  map[string][]recovery.Result // next results of a host's attempts; none left: succeeded
	boots   map[string]int
	bad     map[string]bool
	silent  map[string]bool
}

func newWorld(t testing.TB) *world {
	return &world{t: t, s: recovery.NewState(), now: began.Add(time.Hour), script: map[string][]recovery.Result{}, boots: map[string]int{},
		bad: map[string]bool{}, silent: map[string]bool{}}
}

// do judges an input, which must be accepted, and applies what follows.
func (w *world) do(actor string, in recovery.Input) {
	w.t.Helper()
	if err := w.try(actor, in); err != nil {
		w.t.Fatalf("%s at %s: %v", actor, w.now.Format(time.TimeOnly), err)
	}
}

// try judges an input and applies what follows.
func (w *world) try(actor string, in recovery.Input) error {
	events, err := recovery.Decide(w.s, in, w.now)
	for _, e := range events {
		entry := recovery.Entry{Seq: uint64(len(w.entries) + 1), At: w.now, Actor: actor, Event: e}
		w.s.Apply(entry)
		w.entries = append(w.entries, entry)
	}
	return err
}

func (w *world) tick() {
	w.t.Helper()
	for range 1000 {
		n := len(w.entries)
		w.do("engine", recovery.Tick{})
		if len(w.entries) == n {
			return
		}
	}
	w.t.Fatal("ticks never end")
}

// see makes a host speak: with good content unless it is bad.
func (w *world) see(host, answers, source string) recovery.Sighting {
	c := recovery.Content{Playbook: digest, Good: 1}
	if w.bad[host] {
		c.Bad, c.Good = 1, 0
	}
	return recovery.Sighting{Host: host, At: w.now, Connected: true, Source: source, BootID: fmt.Sprintf("%s-boot-%d", host, w.boots[host]),
		BootMode: recovery.BootNormal, Content: []recovery.Content{c}, Health: []recovery.Check{{Name: "services", OK: true}}, Answers: answers}
}

func (w *world) phoneHome(host, answers string) {
	w.t.Helper()
	v := w.s.See(w.see(host, answers, "agent"))
	if w.s.ID != "" {
		w.do("agent:"+host, recovery.Sighted{Sighting: v})
	}
}

// run lets minutes pass.
func (w *world) run(minutes int) {
	w.t.Helper()
	for range minutes {
		w.now = w.now.Add(time.Minute)
		w.tick()
		for _, j := range w.s.Work(w.now) {
			w.finish(j)
		}
		for _, h := range w.s.Hosts() {
			name := h.Host.Name
			if !h.Host.Agent || w.silent[name] || w.bad[name] {
				continue
			}
			w.phoneHome(name, w.s.Instruct(name, w.now).ID)
		}
		w.tick()
	}
}

func (w *world) finish(j recovery.Job) {
	w.t.Helper()
	name := j.Host.Name
	if j.Kind == recovery.JobVerify {
		v := w.s.See(w.see(name, j.ID, "ssh"))
		w.do("engine", recovery.Finished{Job: j.ID, Host: name, Result: recovery.Result{Class: recovery.Succeeded, Sighting: &v}})
		return
	}
	r := recovery.Result{Class: recovery.Succeeded, Line: "outcome=repaired bad=1 good=2 removed=1 kept=1", Rebooted: j.Reboot, Took: 20 * time.Second}
	if list := w.script[name]; len(list) > 0 {
		r, w.script[name] = list[0], list[1:]
	}
	if r.Class == recovery.Succeeded {
		w.mend(name)
	}
	w.do("engine", recovery.Finished{Job: j.ID, Host: name, Result: r})
}

// mend makes a host well and restarts it.
func (w *world) mend(host string) {
	w.bad[host], w.silent[host] = false, false
	w.boots[host]++
}

func testPlaybook() recovery.Playbook {
	return recovery.Playbook{Name: "edr-content-linux", Digest: digest, Match: recovery.Match{EDR: "falcon"}, Reboot: recovery.RebootRequired,
		Environments: []string{recovery.EnvLinux}, Timeout: 5 * time.Minute, VerifyWithin: 10 * time.Minute, Soak: 5 * time.Minute,
		Debts: []recovery.DebtSpec{{ID: "kept-copies", What: "The removed files are kept; delete them."}}}
}

func testHost(name, service, tier string) recovery.Host {
	return recovery.Host{Name: name, Service: service, Tier: tier, OS: "linux", Agent: true, EDR: recovery.EDR{Product: "falcon"},
		Ladder: []recovery.Rung{{Name: "ssh", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: "10.0.0.1"}, {Name: "hands", Kind: recovery.RungHands}}}
}

func testFleet() recovery.Fleet {
	f := recovery.Fleet{
		Name: "three councils",
		Tiers: []recovery.Tier{
			{Name: "core", Title: "Core", RTO: 90 * time.Minute, Gate: recovery.GatePolicy{SuccessPercent: 100, MaxFailed: recovery.Limit{Count: 1}}},
			{Name: "apps", Title: "Applications", RTO: 8 * time.Hour, Gate: recovery.GatePolicy{SuccessPercent: 60, MaxUnreachable: recovery.Limit{Count: 2}}},
		},
		Services: []recovery.Service{
			{Name: "dns", Title: "Names", Tier: "core", Owner: "platform", MTD: 4 * time.Hour},
			{Name: "housing", Title: "Housing", Tier: "apps", Council: "brent", Owner: "housing team", Needs: []string{"dns"}, UpPercent: 100, RTO: 3 * time.Hour, MTD: 24 * time.Hour},
			{Name: "library", Title: "Libraries", Tier: "apps", Council: "lewisham", UpPercent: 100},
			{Name: "payroll", Tier: "apps", Council: "southwark"},
		},
		Hosts: []recovery.Host{
			testHost("dns-1", "dns", "core"), testHost("dns-2", "dns", "core"),
			testHost("lib-1", "library", "apps"), testHost("lib-2", "library", "apps"), testHost("lib-3", "library", "apps"),
			testHost("pay-1", "payroll", "apps"),
			testHost("web-1", "housing", "apps"), testHost("web-2", "housing", "apps"), testHost("web-3", "housing", "apps"),
			testHost("web-4", "housing", "apps"), testHost("web-5", "housing", "apps"),
		},
		Policy: recovery.Policy{IncidentFailures: recovery.Limit{Count: 100}},
	}
	f.Hosts[0].Critical = true
	f.Hosts[3].Agent = false
	f.Hosts[5].EDR.Product = "other"
	return f
}

// play plays the small incident of the golden files. At the middle it is called back.
func play(t testing.TB, middle func(*world)) *world {
	w := newWorld(t)
	for _, name := range []string{"dns-1", "dns-2", "lib-2", "lib-3", "web-1", "web-2", "web-3", "web-5"} {
		w.bad[name], w.boots[name] = true, 1
		if name != "lib-2" {
			w.now = began.Add(40 * time.Minute)
			w.phoneHome(name, "")
		}
	}
	w.now = began.Add(58 * time.Minute)
	w.boots["lib-1"], w.boots["web-4"], w.boots["pay-1"] = 1, 1, 1
	w.bad["web-5"] = false
	w.boots["web-5"] = 2
	w.phoneHome("lib-1", "")
	w.phoneHome("web-5", "")
	w.s.See(recovery.Sighting{Host: "web-1", At: w.now, Source: "agent", BootID: "web-1-boot-1"})
	w.silent["web-4"], w.silent["pay-1"] = true, true
	w.script["web-1"] = []recovery.Result{
		{Class: recovery.Failed, Exit: 1, Signature: "exit 1: disk full", Detail: "the disk of web-1 is full"},
		{Class: recovery.Failed, Exit: 1, Signature: "exit 1: disk full", Detail: "the disk of web-1 is full"},
	}
	w.script["web-3"] = []recovery.Result{{Class: recovery.AuthRefused, Signature: "key refused", Detail: "the host refuses our key"}}
	w.script["web-4"] = []recovery.Result{{Class: recovery.Unreachable, Signature: "no route"}, {Class: recovery.NothingFound, Exit: 10}}

	w.now = began.Add(time.Hour)
	w.do("operator:anna", recovery.Declare{Incident: "2024-07-19-a", Title: "Servers loop at boot", Began: began, Fleet: testFleet(), Playbook: testPlaybook()})
	w.now = w.now.Add(10 * time.Minute)
	w.do("operator:bo", recovery.Approve{Digest: w.s.Plan.Digest})
	w.run(30)
	w.do("operator:anna", recovery.Override{Target: "host:lib-3", Reason: "the mayor asked"})
	w.do("engine", recovery.Refused{Host: "dns-2", Peer: "10.9.9.9:4411", Why: "its certificate names another host"})
	w.run(10)
	if middle != nil {
		middle(w)
	}
	w.do("operator:bo", recovery.Resume{Wave: 2, Reason: "the disk of web-1 and the key of web-3 are known"})
	w.silent["web-4"] = false
	w.run(30)
	w.do("operator:carl", recovery.Claim{Host: "web-1", By: "carl", For: time.Hour})
	w.run(20)
	w.mend("web-1")
	w.do("operator:carl", recovery.HandsDone{Host: "web-1", By: "carl", Note: "freed the disk, removed the file", Spent: 20 * time.Minute})
	w.run(10)
	w.do("operator:anna", recovery.Pause{Reason: "the network is being changed"})
	w.run(5)
	w.do("operator:anna", recovery.Resume{Reason: "the network is back"})
	w.bad["web-2"] = true
	w.phoneHome("web-2", "")
	w.run(5)
	w.do("operator:bo", recovery.Resume{Wave: 2, Reason: "the relapse of web-2 is known"})
	w.run(25)
	w.do("operator:anna", recovery.Skip{Host: "web-3", Reason: "it is replaced next week"})
	w.run(5)
	for _, h := range w.s.Hosts() {
		for h.OpenDebts() > 0 {
			w.do("operator:dee", recovery.ClearDebt{Host: h.Host.Name, Debt: "kept-copies", By: "dee", Note: "deleted"})
		}
	}
	w.do("operator:anna", recovery.Close{Reason: "done but for web-3"})
	return w
}
