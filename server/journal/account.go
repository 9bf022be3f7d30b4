package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const dumpWidth = 160 // characters of data in a line of Dump

// Verify checks every incident from its first entry to its last, and the sightings, and writes one line for each. The hash
// in an incident's line vouches for all its entries: kept elsewhere, it shows later whether the whole was replaced.
// It goes on behind a break, and returns the breaks joined; each is a *BrokenError.
func (j *Journal) Verify(w io.Writer) error {
	ids, err := j.Incidents()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	var breaks []error
	for _, id := range ids {
		var n uint64
		err := j.Read(id, func(e recovery.Entry) error { n = e.Seq; return nil })
		var h head
		if err == nil {
			err = j.view(func(tx *bbolt.Tx) (err error) { _, h, err = lookup(tx, id); return err })
		}
		if err != nil {
			breaks = append(breaks, err)
			fmt.Fprintf(out, "broken  %s  %v\n", id, err)
			continue
		}
		fmt.Fprintf(out, "ok      %s  %d entries  sha256 %s\n", id, n, h.Hash)
	}
	sightings, err := j.Sightings()
	if err != nil {
		breaks = append(breaks, err)
		fmt.Fprintf(out, "broken  sightings  %v\n", err)
	} else {
		fmt.Fprintf(out, "ok      sightings of %d hosts\n", len(sightings))
	}
	return errors.Join(errors.Join(breaks...), out.Flush())
}

// Dump writes one line for each entry of an incident, or of all when incident is empty: number, time, actor, kind and the
// beginning of the data. Lines before a break are written, then the *BrokenError is returned.
func (j *Journal) Dump(w io.Writer, incident string) error {
	return j.each(w, incident, func(out *bufio.Writer, id string, v envelope, _ []byte) error {
		if incident == "" && v.Seq == 1 {
			if _, err := fmt.Fprintf(out, "incident %s\n", id); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(out, "%d %s %s %s %s\n", v.Seq, v.At, oneLine(v.Actor), oneLine(v.Kind), oneLine(string(v.Data)))
		return err
	})
}

// Export writes the entries of an incident, or of all when incident is empty, as lines of JSON that anyone can verify
// without this program:
//
//	{"incident":"<id>","hash":"<64 hexadecimal digits>","entry":{"seq":1,"at":"…","actor":"…","kind":"…","prev":"…","data":{…}}}
//
// The hash is the SHA-256 of the bytes of "entry": everything between `,"entry":` (its first occurrence in the line) and the
// line's last brace, as it stands there. "prev" is the hash of the entry before; the first entry's is the SHA-256 of
// the incident's id in UTF-8. In Python:
//
//	import hashlib, json, sys
//	sha = lambda b: hashlib.sha256(b).hexdigest()
//	last = {}
//	for line in sys.stdin.buffer:
//	    body = line.rstrip(b"\n").split(b',"entry":', 1)[1][:-1]
//	    row = json.loads(line)
//	    entry, id = row["entry"], row["incident"]
//	    seq, prev = last.get(id, (0, sha(id.encode())))
//	    if sha(body) != row["hash"] or entry["prev"] != prev or entry["seq"] != seq + 1:
//	        sys.exit(f"{id} breaks at entry {seq + 1}")
//	    last[id] = entry["seq"], row["hash"]
//	for id, (seq, h) in last.items():
//	    print(id, seq, "entries", h)
//
// What is printed last must be what Verify prints: a file that was cut at its end is whole otherwise.
func (j *Journal) Export(w io.Writer, incident string) error {
	return j.each(w, incident, func(out *bufio.Writer, id string, _ envelope, sealed []byte) error {
		name, err := json.Marshal(id)
		if err != nil {
			return err
		}
		// sealed begins with a brace: {"hash":…
		_, err = fmt.Fprintf(out, "{\"incident\":%s,%s\n", name, sealed[1:])
		return err
	})
}

// Snapshot writes a consistent copy of the whole file, which opens as a journal by itself. Appends go on meanwhile; while
// it lasts the file grows faster, so give w a deadline when it is on a network.
func (j *Journal) Snapshot(w io.Writer) error {
	err := j.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("snapshot of %s: %w: the copy is not whole, delete it", j.path, err)
	}
	return nil
}

// each walks one incident or all.
func (j *Journal) each(w io.Writer, incident string, fn func(out *bufio.Writer, id string, v envelope, sealed []byte) error) error {
	ids := []string{incident}
	if incident == "" {
		var err error
		if ids, err = j.Incidents(); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(w)
	for _, id := range ids {
		err := j.walk(id, func(v envelope, sealed []byte) error { return fn(out, id, v, sealed) })
		if err != nil {
			return errors.Join(err, out.Flush())
		}
	}
	return out.Flush()
}

// oneLine cuts a text to the width of a dump and leaves nothing in it that a terminal would obey.
func oneLine(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > dumpWidth {
			b.WriteRune('…')
			break
		}
		if !unicode.IsGraphic(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
