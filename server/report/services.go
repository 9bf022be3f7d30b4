package report

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Statuses of a service.
const (
	ServiceUp        = "up"
	ServiceDown      = "down"
	ServiceNeverDown = "never-down" // enough of its hosts served from the declaration on
	ServiceNoHosts   = "no-hosts"
)

// Service is what people missed. It counts as up while every critical host and enough of the others serve: never hit,
// proven or recovered. An override that lets others start without it does not make it up.
type Service struct {
	Name    string     `json:"name"`
	Title   string     `json:"title,omitempty"`
	Council string     `json:"council,omitempty"`
	Owner   string     `json:"owner,omitempty"`
	Tier    string     `json:"tier"`
	Status  string     `json:"status"` // one of the Service constants
	Hosts   int        `json:"hosts"`
	Up      int        `json:"hosts_up"`
	Need    int        `json:"hosts_needed"`
	FirstUp time.Time  `json:"first_up,omitzero"`
	UpSince time.Time  `json:"up_since,omitzero"`
	Falls   int        `json:"falls"`         // times that it went down again
	RTO     *Objective `json:"rto,omitempty"` // judged by UpSince: a service that fell again is back only when it stays
	MTD     *Objective `json:"mtd,omitempty"`
	Down    []DownHost `json:"down"`
}

// DownHost is a host that does not serve, and why.
type DownHost struct {
	Host     string `json:"host"`
	Critical bool   `json:"critical,omitempty"`
	Phase    string `json:"phase"`
	Reason   string `json:"reason"`
}

// serviceHistory follows a service through the journal.
type serviceHistory struct {
	up, need, criticalDown int
	hosts                  int
	scoped                 bool // it has been counted
	everDown               bool
	firstUp, upSince       time.Time
	falls                  int
}

func (h *serviceHistory) serves() bool { return h.criticalDown == 0 && h.up >= h.need }

// serve follows what an entry means for the services.
func (p *history) serve(past *recovery.State, e recovery.Entry, h *recovery.HostState, wasUp bool) {
	if _, ok := e.Event.(*recovery.IncidentScoped); ok {
		p.services = countServices(past)
		for _, s := range p.services {
			if s.serves() {
				s.firstUp, s.upSince = e.At, e.At
			} else {
				s.everDown = true
			}
		}
		return
	}
	if _, ok := e.Event.(*recovery.PlaybookRevised); ok { // hosts that soaked are unproven again
		for name, now := range countServices(past) {
			if s := p.services[name]; s != nil {
				served := s.serves()
				s.hosts, s.up, s.criticalDown = now.hosts, now.up, now.criticalDown
				s.turn(served, e.At)
			}
		}
		return
	}
	if h == nil || h.Up() == wasUp {
		return
	}
	s := p.services[h.Host.Service]
	if s == nil {
		return
	}
	served := s.serves()
	s.count(h, wasUp, -1)
	s.count(h, !wasUp, 1)
	s.turn(served, e.At)
}

// turn notes when a service begins or ceases to serve.
func (h *serviceHistory) turn(served bool, at time.Time) {
	switch {
	case h.serves() && !served:
		h.upSince = at
		if h.firstUp.IsZero() {
			h.firstUp = at
		}
	case served && !h.serves():
		h.upSince, h.everDown = time.Time{}, true
		h.falls++
	}
}

func (h *serviceHistory) count(x *recovery.HostState, up bool, n int) {
	h.hosts += n
	switch {
	case up:
		h.up += n
	case x.Host.Critical:
		h.criticalDown += n
	}
}

// countServices counts every service of the state's fleet as it stands.
func countServices(s *recovery.State) map[string]*serviceHistory {
	services := make(map[string]*serviceHistory, len(s.Fleet.Services))
	for _, svc := range s.Fleet.Services {
		services[svc.Name] = &serviceHistory{scoped: true}
	}
	for _, h := range s.Hosts() {
		if x := services[h.Host.Service]; x != nil {
			x.count(h, h.Up(), 1)
		}
	}
	for _, svc := range s.Fleet.Services {
		x := services[svc.Name]
		x.need = (x.hosts*upPercent(svc) + 99) / 100
	}
	return services
}

func upPercent(svc recovery.Service) int {
	if svc.UpPercent == 0 {
		return 50
	}
	return svc.UpPercent
}

func (b *builder) services() []Service {
	list := make([]Service, 0, len(b.s.Fleet.Services))
	now := countServices(b.s)
	members := map[string][]*recovery.HostState{}
	for _, h := range b.s.Hosts() {
		members[h.Host.Service] = append(members[h.Host.Service], h)
	}
	rto := map[string]time.Duration{}
	for _, t := range b.s.Fleet.Tiers {
		rto[t.Name] = t.RTO
	}
	for _, svc := range b.s.Fleet.Services {
		if svc.RTO == 0 {
			svc.RTO = rto[svc.Tier]
		}
		list = append(list, b.service(svc, now[svc.Name], members[svc.Name]))
	}
	return list
}

func (b *builder) service(svc recovery.Service, now *serviceHistory, members []*recovery.HostState) Service {
	x := Service{Name: svc.Name, Title: svc.Title, Council: svc.Council, Owner: svc.Owner, Tier: svc.Tier,
		Hosts: now.hosts, Up: now.up, Need: now.need, Down: []DownHost{}}
	past := b.past.services[svc.Name]
	if past == nil {
		past = &serviceHistory{}
	}
	x.FirstUp, x.UpSince, x.Falls = utc(past.firstUp), utc(past.upSince), past.falls
	reached := past.upSince
	switch {
	case len(members) == 0:
		x.Status = ServiceNoHosts
		x.FirstUp, x.UpSince = time.Time{}, time.Time{}
		return x
	case !now.serves():
		x.Status, x.UpSince = ServiceDown, time.Time{}
	case past.scoped && !past.everDown:
		x.Status, reached = ServiceNeverDown, b.s.Began
	default:
		x.Status = ServiceUp
	}
	x.RTO = b.objective(svc.RTO, x.Status != ServiceDown, reached)
	x.MTD = b.objective(svc.MTD, x.Status != ServiceDown, reached)
	for _, h := range members {
		if !h.Up() {
			x.Down = append(x.Down, DownHost{h.Host.Name, h.Host.Critical, string(h.Phase), h.Reason})
		}
	}
	return x
}
