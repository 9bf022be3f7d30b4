package fleet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// hostBook is what must be there once in the whole file.
type hostBook struct {
	names      map[string]owner // by name in lower case: certificates and file systems do not tell cases apart
	endpoints  map[endpoint]owner
	identities map[string]owner // by MAC address and UUID
	controls   map[string]owner // by what a control is told
}

func newHostBook() *hostBook {
	return &hostBook{map[string]owner{}, map[endpoint]owner{}, map[string]owner{}, map[string]owner{}}
}

type owner struct {
	name string
	line int
}

// endpoint is where an SSH connection ends. The same private address may be used behind different jump hosts.
type endpoint struct {
	via string
	to  netip.AddrPort
}

// call notes a host's name. It reports false, and notes that too, when an earlier host has it.
func (h *hostBook) call(who owner, twice *repeated) bool {
	lower := strings.ToLower(who.name)
	if first, ok := h.names[lower]; ok {
		twice.note(who.name, first)
		return false
	}
	h.names[lower] = who
	return true
}

// identify notes what a host calls itself, and that an earlier host calls itself so too.
func (h *hostBook) identify(who owner, id string, taken *repeated) {
	if id == "" {
		return
	}
	if first, ok := h.identities[id]; ok {
		taken.note(id, first)
		return
	}
	h.identities[id] = who
}

// lead notes where a host's rung leads, and that an earlier host's leads there too. A helper serves many hosts.
func (h *hostBook) lead(who owner, rung *recovery.Rung, a netip.Addr, taken *repeated) {
	if rung.Kind == recovery.RungHelper {
		return
	}
	to := endpoint{strings.Join(rung.Jump, " "), netip.AddrPortFrom(a, uint16(rung.Port))} //nolint:gosec // checked: 1 to 65535
	if first, ok := h.endpoints[to]; ok && first.name != who.name {
		taken.note(to.to.String(), first)
		return
	}
	h.endpoints[to] = who
}

// command notes what acts on a host from outside, and that the very same acts on an earlier host: then switching one would switch the
// other, perhaps while its disk is written to.
func (h *hostBook) command(who owner, section string, c *recovery.Control, taken *repeated) {
	if c == nil {
		return
	}
	told := fmt.Sprintf("%s %s %s %q", section, c.Kind, c.Program, slices.Sorted(maps.Keys(c.Options)))
	for _, option := range slices.Sorted(maps.Keys(c.Options)) {
		told += fmt.Sprintf(" %q", c.Options[option])
	}
	if first, ok := h.controls[told]; ok && first.name != who.name {
		taken.note(c.Name, first)
		return
	}
	h.controls[told] = who
}

// repeated gathers what one entry has in common with earlier ones, to tell it once.
type repeated struct {
	what  string
	first owner
	count int
}

func (r *repeated) note(what string, first owner) {
	if r.count == 0 {
		r.what, r.first = what, first
	}
	r.count++
}

func (r *repeated) more() string {
	if r.count == 1 {
		return ""
	}
	return fmt.Sprintf(" (and %d more like it)", r.count-1)
}
