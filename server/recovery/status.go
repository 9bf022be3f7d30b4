package recovery

import "time"

// ServiceState is a service's standing.
type ServiceState struct {
	Service *Service
	Hosts   int
	Up      int // hosts
	IsUp    bool
	UpAt    time.Time // since when; zero while down
	RTOAt   time.Time // when its recovery time objective ends; zero without one
	Reason  string    // what is missing while it is down
}

// Services returns the standing of every service, in the order of the fleet file.
func (s *State) Services() []ServiceState {
	rto := map[string]time.Duration{}
	for _, t := range s.Fleet.Tiers {
		rto[t.Name] = t.RTO
	}
	list := make([]ServiceState, 0, len(s.Fleet.Services))
	for i := range s.Fleet.Services {
		svc := &s.Fleet.Services[i]
		st := ServiceState{Service: svc, Hosts: len(s.members[svc.Name]), UpAt: s.upAt[svc.Name]}
		for _, h := range s.members[svc.Name] {
			if h.Up() {
				st.Up++
			}
		}
		st.IsUp, st.Reason = s.serviceUp(svc)
		objective := svc.RTO
		if objective == 0 {
			objective = rto[svc.Tier]
		}
		if objective > 0 {
			st.RTOAt = s.Began.Add(objective)
		}
		list = append(list, st)
	}
	return list
}

// Verdicts returns, for each wave, what its gate says now, or what it waits for before it opens.
func (s *State) Verdicts(now time.Time) []Verdict {
	sv := s.survey(now)
	list := make([]Verdict, len(s.Waves))
	for i, w := range s.Waves {
		switch {
		case w.HeldBy != "":
			list[i] = Verdict{Held: true, Breaker: w.HeldBy, Reason: w.Reason}
		case !w.PassedAt.IsZero():
			list[i] = Verdict{Pass: true, Reason: w.Reason}
		case w.OpenedAt.IsZero() && !s.Approved:
			list[i] = Verdict{Reason: "the plan is not approved yet"}
		case w.OpenedAt.IsZero():
			reason, _ := s.mayOpen(w)
			list[i] = Verdict{Reason: reason}
		default:
			list[i] = Gate{w.Tier.Gate}.Judge(s.standing(w, sv.waves[i], now))
		}
	}
	return list
}

// OpenDebts counts the debts of all hosts that nobody has cleared.
func (s *State) OpenDebts() int {
	n := 0
	for _, h := range s.order {
		n += h.OpenDebts()
	}
	return n
}
