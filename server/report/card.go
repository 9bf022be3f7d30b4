package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Card is a work card: all that a person needs who stands at the console of one host, on paper if need be. Programs read it as
// JSON. It holds no secrets.
type Card struct {
	Incident string     `json:"incident"`
	Host     string     `json:"host"`
	At       time.Time  `json:"at"`
	Site     string     `json:"site,omitempty"`
	OS       string     `json:"os"`
	Service  string     `json:"service"`
	Owner    string     `json:"owner,omitempty"`    // whom to call about the service
	Critical bool       `json:"critical,omitempty"` // its wave waits for it
	MACs     []string   `json:"macs,omitempty"`
	UUID     string     `json:"uuid,omitempty"`
	Power    string     `json:"power,omitempty"`   // what switches it, and where that is
	Claimed  string     `json:"claimed,omitempty"` // who works on it already
	Why      string     `json:"why"`
	Restart  string     `json:"restart"`            // what the playbook says of restarts, as an instruction
	Beware   []string   `json:"beware"`             // what must be known before touching it
	Ladder   []CardRung `json:"ladder"`             // what was tried, best rung first
	Steps    string     `json:"steps,omitempty"`    // the playbook's text for people
	Playbook string     `json:"playbook,omitempty"` // its name
}

// CardRung is one way in and what came of it.
type CardRung struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Address string `json:"address,omitempty"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"` // of its last attempt: what happened and what to do
}

// NewCard tells what a person must know of a host. steps is the playbook's own text for people; it may be empty.
func NewCard(s *recovery.State, h *recovery.HostState, steps string, now time.Time) Card {
	c := Card{
		Incident: s.ID, Host: h.Host.Name, At: utc(now), Site: h.Host.Site, OS: h.Host.OS, Service: h.Host.Service, Critical: h.Host.Critical,
		MACs: append([]string(nil), h.Host.MACs...), UUID: h.Host.UUID, Claimed: h.Owner, Why: h.Reason, Restart: restartAdvice(s.Playbook),
		Beware: []string{}, Ladder: []CardRung{}, Playbook: s.Playbook.Name,
	}
	for _, svc := range s.Fleet.Services {
		if svc.Name == h.Host.Service {
			c.Service, c.Owner = or(svc.Title, svc.Name), svc.Owner
		}
	}
	if p := h.Host.Power; p != nil {
		c.Power = p.Name
		for _, option := range []string{"url", "ip", "plug"} {
			c.Power += optional(" "+option+" ", p.Options[option])
		}
	}
	c.Beware = append(c.Beware, dangers(s, h)...)
	for i, r := range s.LadderOf(h) {
		if r.Kind == recovery.RungHands {
			continue
		}
		rung := CardRung{Name: r.Name, Kind: r.Kind, Address: h.Host.Ladder[i].Address, Outcome: r.Text}
		if n := len(r.Attempts); n > 0 {
			rung.Detail = r.Attempts[n-1].Result.Detail
		}
		c.Ladder = append(c.Ladder, rung)
	}
	scrubValue(reflect.ValueOf(&c).Elem())
	c.Steps = lines(steps)
	return c
}

func restartAdvice(p recovery.Playbook) string {
	switch p.Reboot {
	case recovery.RebootForbidden:
		return "DO NOT RESTART OR SWITCH OFF this host: playbook " + p.Name + " forbids it, a restart makes it worse."
	case recovery.RebootRequired:
		return "Restart the host into its own system when the work is done: without a restart nothing is proven."
	case recovery.RebootHelps:
	}
	return "A restart is allowed and not needed."
}

// dangers lists what must be known before somebody touches the host.
func dangers(s *recovery.State, h *recovery.HostState) []string {
	var list []string
	switch h.Host.Data {
	case recovery.DataPrimary:
		list = append(list, "It holds the only good copy of its data: repair in place, reinstall or restore nothing without a decision.")
	case recovery.DataReplica:
		list = append(list, "Its data can be rebuilt from a peer, not from itself.")
	case recovery.DataNone:
	}
	for _, d := range h.Debts {
		if d.ID == recovery.DebtBootTarget && d.Cleared.IsZero() {
			list = append(list, "It may start into the rescue system: set its boot order to its own disk, and say so with host debts clear.")
		}
	}
	for _, r := range h.Host.Ladder {
		if r.Unlock != "" {
			list = append(list, "Its disk is expected to be encrypted: bring the key; the fleet file says where the coordinator has it ("+r.Unlock+").")
			break
		}
	}
	for _, g := range s.Fleet.Groups {
		for _, name := range h.Host.Groups {
			if name == g.Name {
				list = append(list, fmt.Sprintf("It belongs to group %s: work on no more than %d of it at once.", g.Name, max(1, g.MaxAtOnce)))
			}
		}
	}
	return list
}

// lines makes a text of several lines safe for a terminal and for paper.
func lines(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		out.WriteString(strings.Repeat(" ", min(indent, 16)) + recovery.Clean(line, maxField) + "\n")
	}
	return strings.Trim(out.String(), "\n")
}

// CardsJSON returns cards for programs.
func CardsJSON(cards []Card) []byte {
	if cards == nil {
		cards = []Card{}
	}
	data, err := json.MarshalIndent(cards, "", "  ")
	if err != nil {
		return []byte("[]")
	}
	return data
}

// CardsText returns cards for people, as plain text of at most 100 columns that prints well: each card begins a new page.
func CardsText(cards []Card) []byte {
	var p bytes.Buffer
	for i, c := range cards {
		if i > 0 {
			p.WriteString("\n\f")
		}
		c.text(&p)
	}
	return p.Bytes()
}

const (
	cardWidth  = 100 // columns
	cardMargin = 11  // of a field's text
)

func (c Card) text(p *bytes.Buffer) {
	field := func(name, format string, args ...any) {
		for i, line := range wrapped(fmt.Sprintf(format, args...), cardWidth-cardMargin) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(p, "%-*s%s\n", cardMargin, name, line)
		}
	}
	rule := strings.Repeat("-", cardWidth)
	fmt.Fprintf(p, "WORK CARD  %s  incident %s, %s\n%s\n", c.Host, c.Incident, c.At.Format("2006-01-02 15:04 UTC"), rule)
	field("where", "site %s, %s%s", or(c.Site, "unknown"), c.OS, identity(c))
	field("service", "%s%s", or(c.Service, "none"), optional(", call ", c.Owner))
	if c.Critical {
		field("", "Its wave waits for this host.")
	}
	if c.Power != "" {
		field("power", "%s", c.Power)
	}
	if c.Claimed != "" {
		field("claimed", "%s works on it already", c.Claimed)
	}
	field("why", "%s", c.Why)
	field("restart", "%s", c.Restart)
	for _, b := range c.Beware {
		field("beware", "%s", b)
	}
	for _, r := range c.Ladder {
		field("tried", "%s (%s%s): %s", r.Name, r.Kind, optional(", ", r.Address), r.Outcome)
		if r.Detail != "" {
			field("", "%s", r.Detail)
		}
	}
	p.WriteString(rule + "\n")
	if c.Steps != "" {
		if strings.HasPrefix(c.Restart, "DO NOT") {
			p.WriteString("The playbook forbids restarts: leave out every step below that restarts the host, switches it off or starts another system.\n")
		}
		p.WriteString(c.Steps + "\n")
	} else {
		field("to do", "Playbook %s has no text for people: see its README for what is bad and what must stay.", c.Playbook)
	}
	p.WriteString(rule + "\n")
	field("report", "blackstart host hands take %s --for 1h       before you begin", c.Host)
	field("", "blackstart host retry %s       instead, when only a cause above was mended (a secret, a cable)", c.Host)
	field("", "blackstart host hands done %s --spent 30m --note \"what you did\"", c.Host)
	fmt.Fprintf(p, "%-*sname ______________________  from ________  to ________\n", cardMargin, "by hand")
}

func identity(c Card) string {
	text := optional(", MAC ", strings.Join(c.MACs, " "))
	return text + optional(", UUID ", c.UUID)
}

func optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// wrapped breaks text into lines of at most width characters; a longer word stands alone.
func wrapped(text string, width int) []string {
	lines, line, used := []string{}, "", 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		if used > 0 && used+1+n > width {
			lines, line, used = append(lines, line), "", 0
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	return append(lines, line)
}
