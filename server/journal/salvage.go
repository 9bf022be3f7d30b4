package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// When the way from the root to the entries is gone, checker cannot say at which entry the journal breaks. The entries
// themselves may still be there: each page says what it is, each entry proves itself and names the one before. salvage looks
// at every page, joins what belongs together, and so finds how far each incident can still be believed.
type salvage struct {
	names map[string]string // incident ids that were seen, by their hash
	after map[string]link   // entries that were seen, by the hash of the one before
}

type link struct {
	seq      uint64
	at, hash string
}

// locate gives a break without a place the place where the most recent incident ends, and says the same of the others.
func (c *checker) locate(broken *BrokenError) {
	s := salvage{names: map[string]string{}, after: map[string]link{}}
	size := c.meta.pageSize
	if size == 0 {
		return
	}
	for at := 2 * size; at+size <= c.size; at += size {
		if p := c.wholePage(at); p != nil {
			s.leaf(p)
		}
	}
	type end struct {
		link
		incident string
	}
	var ends []end
	for start, id := range s.names {
		e := end{incident: id}
		for next, ok := s.after[start]; ok && next.seq == e.seq+1; next, ok = s.after[next.hash] {
			e.link = next
		}
		if e.seq > 0 {
			ends = append(ends, e)
		}
	}
	if len(ends) == 0 {
		broken.Why += "; no entry can be found any more"
		return
	}
	slices.SortFunc(ends, func(a, b end) int { return strings.Compare(b.at+b.incident, a.at+a.incident) })
	broken.Incident, broken.Seq = ends[0].incident, ends[0].seq+1
	for _, e := range ends[1:] {
		broken.Why += fmt.Sprintf("; incident %q is whole up to entry %d", e.incident, e.seq)
	}
}

// wholePage reads a leaf page at a place in the file, nil when there is none.
func (c *checker) wholePage(at int64) []byte {
	head := make([]byte, pageHeader)
	if _, err := c.f.ReadAt(head, at); err != nil {
		return nil
	}
	length := (int64(order.Uint32(head[12:])) + 1) * c.meta.pageSize
	if order.Uint64(head) != uint64(at/c.meta.pageSize) || order.Uint16(head[8:]) != leafPage || at+length > c.size {
		return nil
	}
	p := make([]byte, length)
	if _, err := c.f.ReadAt(p, at); err != nil {
		return nil
	}
	return p
}

// leaf takes what is whole in a leaf page; damaged elements are passed over.
func (s *salvage) leaf(p []byte) {
	for i := range int(order.Uint16(p[10:])) {
		e, err := leafElement(p, i)
		if err != nil {
			return
		}
		if e.flags != 0 {
			s.name(string(e.key))
			if len(e.value) >= bucketHeader+pageHeader && order.Uint64(e.value) == 0 {
				s.leaf(e.value[bucketHeader:])
			}
			continue
		}
		body, hash, err := unseal(e.value)
		var v envelope
		if err != nil || json.Unmarshal(body, &v) != nil || v.Seq == 0 || v.Seq != keySeq(e.key) {
			continue
		}
		s.after[v.Prev] = link{seq: v.Seq, at: v.At, hash: hash}
		if ev, err := recovery.DecodeEvent(v.Kind, v.Data); err == nil {
			if d, ok := ev.(*recovery.IncidentDeclared); ok {
				s.name(d.Incident)
			}
		}
	}
}

func (s *salvage) name(incident string) { s.names[hashOf(incident)] = incident }
