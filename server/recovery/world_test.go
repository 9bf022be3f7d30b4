package recovery

import (
	"fmt"
	"time"
)

const digest1 = "sha256:one"

func testPlaybook() Playbook {
	return Playbook{Name: "edr", Digest: digest1, Match: Match{EDR: "edr"}, Reboot: RebootRequired, Environments: []string{EnvLinux, EnvRescueLinux},
		Timeout: 5 * time.Minute, VerifyWithin: 10 * time.Minute, Soak: 15 * time.Minute,
		Debts: []DebtSpec{{ID: "agent-disabled", What: "switch the agent on"}, {ID: "safe-boot", What: "clear the flag", Environments: []string{EnvWindowsSafeMode}}}}
}

func rungs() []Rung {
	return []Rung{
		{Name: "own", Kind: RungSSH, Environment: EnvLinux, Address: "192.0.2.1", User: "root", Estimate: 5 * time.Minute},
		{Name: "rescue", Kind: RungSSH, Environment: EnvRescueLinux, Reboots: true, Address: "192.0.2.2", User: "root", Estimate: 9 * time.Minute},
		{Name: "hands", Kind: RungHands},
	}
}

// testFleet is n hosts in three tiers of one service each, of two councils, with a pair in every tier. Limits are wide.
func testFleet(n int) Fleet {
	f := Fleet{Name: "test", Policy: DefaultPolicy()}
	f.Policy.IncidentFailures = Limit{Count: 100, Percent: true}
	f.Policy.SameSignature = 1000
	wide := Limit{Count: 100, Percent: true}
	for i := range 3 {
		tier, svc := fmt.Sprintf("tier%d", i), fmt.Sprintf("svc%d", i)
		f.Tiers = append(f.Tiers, Tier{Name: tier, RTO: 4 * time.Hour, Gate: GatePolicy{SuccessPercent: 90, Soak: 5 * time.Minute, MaxFailed: wide, MaxUnreachable: wide}})
		s := Service{Name: svc, Tier: tier, Council: fmt.Sprintf("council%d", i%2)}
		if i > 0 {
			s.Needs = []string{fmt.Sprintf("svc%d", i-1)}
		}
		f.Services = append(f.Services, s)
		f.Groups = append(f.Groups, Group{Name: fmt.Sprintf("pair%d", i), MaxAtOnce: 1, MaxDown: 1})
	}
	for i := range n {
		k := i * 3 / n
		h := Host{Name: fmt.Sprintf("h%03d", i), Service: fmt.Sprintf("svc%d", k), Tier: fmt.Sprintf("tier%d", k), Council: fmt.Sprintf("council%d", k%2),
			OS: "linux", Data: DataNone, Ladder: rungs(), Agent: true, EDR: EDR{Product: "edr"}}
		if i%(n/3) < 2 {
			h.Groups = []string{fmt.Sprintf("pair%d", k)}
		}
		f.Hosts = append(f.Hosts, h)
	}
	return f
}

// flat is n like hosts in one tier, with nothing that holds them but canary and ramp.
func flat(n int) Fleet {
	f := testFleet(3 * n)
	f.Tiers, f.Services, f.Groups, f.Hosts = f.Tiers[:1], f.Services[:1], nil, f.Hosts[:n]
	for i := range f.Hosts {
		f.Hosts[i].Groups = nil
	}
	return f
}

// open is flat without a ramp to speak of: every host has its own OS, so each is its own canary.
func open(n int) Fleet {
	f := flat(n)
	for i := range f.Hosts {
		f.Hosts[i].OS = fmt.Sprintf("linux-%03d", i)
	}
	return f
}
