package recovery

import "slices"

// Drift lists, while the plan is not approved, the hosts that would be made well otherwise by what is known of restore points now, each as it would be
// planned now. The plan stays as it was read: what is approved is the order of the hosts, and each one's method is chosen when its turn comes.
func (s *State) Drift() []PlannedHost {
	if s.ID == "" || s.Approved || s.over() || !s.chooses {
		return nil
	}
	var scope []HostScope
	then := map[string]*PlannedHost{}
	for _, w := range s.Plan.Waves {
		for i := range w.Hosts {
			h := &w.Hosts[i]
			scope, then[h.Host] = append(scope, HostScope{Host: h.Host, Planned: true}), h
		}
	}
	var list []PlannedHost
	for _, w := range NewPlan(s.Fleet, s.Playbook, scope, s.Stock()).Waves {
		for _, h := range w.Hosts {
			was := then[h.Host]
			if s.hosts[h.Host].Phase != Waiting {
				continue
			}
			if h.Method != was.Method || h.Rung != was.Rung || h.Approval != was.Approval || !slices.Equal(h.Points, was.Points) {
				list = append(list, h)
			}
		}
	}
	return list
}
