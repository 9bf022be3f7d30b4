package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// FuzzEnvelope holds of any body: sealed, it comes back byte for byte; with one byte changed, it is refused; as an entry it is
// taken in its own place only; and what it says survives being written again.
func FuzzEnvelope(f *testing.F) {
	prev := hashOf("golden")
	for i, e := range goldenEntries() {
		v, err := newEnvelope(e)
		if err != nil {
			f.Fatal(err)
		}
		v.Prev = prev
		body, hash, err := unseal(v.seal())
		if err != nil {
			f.Fatal(err)
		}
		prev = hash
		f.Add(bytes.Clone(body), uint16(i*7), byte(1))
	}
	files, err := filepath.Glob("../recovery/testdata/events/*.json")
	if err != nil || len(files) < 20 {
		f.Fatalf("%d golden events, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		b, err := json.Marshal(envelope{Seq: 1, At: "2024-07-19T05:30:00.123456789Z", Actor: "operator:åsa", Kind: strings.TrimSuffix(filepath.Base(file), ".json"), Prev: prev, Data: data})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(len(b)), byte(0x20))
	}
	for _, body := range []string{
		"", "null", "{}", "[]", `{"seq":-1}`, `{"seq":1.5}`, `{"seq":18446744073709551615,"at":"9999-12-31T23:59:59.999999999Z","actor":"a","kind":"host-skipped","prev":"","data":{}}`,
		`{"seq":1,"at":"2024-07-19T05:30:00+01:00","actor":"a","kind":"host-skipped","prev":"x","data":{"host":"\ud800","reason":"\u2028<>&"}}`,
		`{"seq":1,"at":"0000-01-01T00:00:00Z","actor":"","kind":"host-skipped","prev":"x","data":null}`, `{"seq":1,"SEQ":2,"at":"","kind":"incident-declared","data":{"fleet":{"hosts":[{"edr":7}]}}}`,
		`{"seq":1,"at":"2024-07-19T05:30:00Z","actor":"a","kind":"host-proven","data":{"soak_until":"2024-07-19T24:00:00Z"}} `, `{"hash":"` + strings.Repeat("0", 64) + `","entry":{}}`,
		`{"seq":1,"at":"2024-07-19T05:30:00Z","actor":"\xff","kind":"attempt-ended","data":{"result":{"took":1e3,"sighting":{}}}}`, strings.Repeat("[", 20000),
	} {
		f.Add([]byte(body), uint16(3), byte(0x80))
	}
	f.Fuzz(func(t *testing.T, body []byte, at uint16, change byte) {
		value := seal(body)
		back, hash, err := unseal(value)
		if err != nil || !bytes.Equal(back, body) || len(hash) != 64 {
			t.Fatalf("%q comes back as %q, %v", body, back, err)
		}
		if change != 0 {
			damaged := bytes.Clone(value)
			damaged[int(at)%len(damaged)] ^= change
			if _, _, err := unseal(damaged); err == nil {
				t.Fatalf("byte %d changed by %02x goes unnoticed in %q", int(at)%len(damaged), change, value)
			}
		}
		if _, _, err := unseal(value[:int(at)%len(value)]); err == nil {
			t.Fatalf("cut at %d, %q is taken", int(at)%len(value), value)
		}
		if _, _, err := unseal(body); err == nil && !bytes.HasPrefix(body, []byte(sealStart)) {
			t.Fatalf("%q is taken for a sealed value", body)
		}

		var said envelope
		if json.Unmarshal(body, &said) != nil {
			if _, _, err := openEnvelope(value, 1, ""); err == nil {
				t.Fatalf("%q is taken for an entry", body)
			}
			return
		}
		v, vouched, err := openEnvelope(value, said.Seq, said.Prev)
		if err != nil || vouched != hash {
			t.Fatalf("%q is refused in its own place: %v", body, err)
		}
		if _, _, err := openEnvelope(value, said.Seq+1, said.Prev); err == nil {
			t.Fatalf("%q is taken in another's place", body)
		}
		if _, _, err := openEnvelope(value, said.Seq, said.Prev+"0"); err == nil {
			t.Fatalf("%q is taken behind another", body)
		}
		entry, err := v.entry()
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\x00") {
				t.Fatalf("a poor refusal: %q", err)
			}
			return
		}
		survives(t, entry, said.Prev)
	})
}

// survives wants an entry that was read to be the same after it was written and read again, twice, to the byte.
func survives(t *testing.T, e recovery.Entry, prev string) {
	t.Helper()
	var before []byte
	for range 2 {
		v, err := newEnvelope(e)
		if err != nil {
			if e.Actor != "" && utf8.ValidString(e.Actor) && e.At.Year() >= 1 && e.At.Year() <= 9999 {
				t.Fatalf("entry %+v was read and cannot be written: %v", e, err)
			}
			return
		}
		v.Prev = prev
		value := v.seal()
		if !json.Valid(value) {
			t.Fatalf("not JSON: %q", value)
		}
		if before != nil && !bytes.Equal(value, before) {
			t.Fatalf("written again, it is another:\n%s\n%s", before, value)
		}
		before = value
		w, _, err := openEnvelope(value, e.Seq, strings.ToValidUTF8(prev, "\ufffd"))
		if err != nil {
			t.Fatalf("%q cannot be read again: %v", value, err)
		}
		again, err := w.entry()
		if err != nil || again.Seq != e.Seq || !again.At.Equal(e.At) || again.Actor != e.Actor || again.Event.Kind() != e.Event.Kind() {
			t.Fatalf("%+v comes back as %+v, %v", e, again, err)
		}
		e = again
	}
}

// FuzzPages alters bytes of a journal file, and where asked makes the meta pages' checksums right again, as somebody would who
// means harm. The file is refused, or what can be read is a part of what was written; nothing panics, circles or ends the
// process, also not when the journal is written to.
func FuzzPages(f *testing.F) {
	path, incidents := bigJournal(f)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:usedPages(f, path)]
	edit := func(at int, b ...byte) (edits []byte) {
		for i, x := range b {
			edits = append(binary.LittleEndian.AppendUint32(edits, uint32(at+i)), x)
		}
		return edits
	}
	size := os.Getpagesize()
	f.Add([]byte{}, false)
	for p := 0; p < len(whole); p += size {
		f.Add(edit(p, 9), true)                     // its id
		f.Add(edit(p+8, branchPage), true)          // its kind
		f.Add(edit(p+10, 0xff, 0xff), true)         // its count
		f.Add(edit(p+12, 1), true)                  // its length
		f.Add(edit(p+pageHeader, 1, 0, 0, 0), true) // the first element: a bucket
		f.Add(edit(p+pageHeader+4, 0xff, 0xff, 0xff, 0x7f), true)
		f.Add(edit(p+pageHeader+8, 2, 0, 0, 0, 0, 0, 0, 0), true) // its child, or the sizes of key and value
		f.Add(edit(p+size-40, 'x'), false)
	}
	for _, field := range []int{8, 16, 32, 40, 48} { // of the meta pages
		f.Add(append(edit(pageHeader+field, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), edit(size+pageHeader+field, 3)...), true)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, edits []byte, forge bool) {
		file := bytes.Clone(whole)
		for ; len(edits) >= 5; edits = edits[5:] {
			file[int(binary.LittleEndian.Uint32(edits))%len(file)] = edits[4]
		}
		if forge {
			for _, page := range []int{0, size} {
				m := file[page+pageHeader:]
				order.PutUint64(m[metaSize:], metaSum(m))
			}
		}
		path := filepath.Join(dir, "journal.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("the file is not named: %v", err)
			}
			return
		}
		defer func() { _ = j.Close() }()
		ids, err := j.Incidents()
		if err != nil {
			return
		}
		for _, id := range ids {
			got, err := readAll(j, id)
			want := wantOf(id, max(incidents[id], uint64(len(got))))[:len(got)]
			if !bytes.Equal(inJSON(t, got), inJSON(t, want)) || err == nil && uint64(len(got)) != incidents[id] {
				t.Fatalf("%d entries of %q, %v, are not as they were written", len(got), id, err)
			}
			var broken *BrokenError
			if err != nil && (!errors.As(err, &broken) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("a poor refusal: %v", err)
			}
			if err := j.Append(id, uint64(len(got)), []recovery.Entry{entry(uint64(len(got)) + 1)}); err != nil && !errors.Is(err, ErrAppend) && !errors.Is(err, ErrConflict) {
				t.Fatalf("a poor refusal to append: %v", err)
			}
		}
		_, _ = j.Sightings()
		_, _ = j.NextEpoch(0)
	})
}

func inJSON(t testing.TB, entries []recovery.Entry) []byte {
	t.Helper()
	if len(entries) == 0 {
		return nil
	}
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// metaSum is the checksum of a meta page's content.
func metaSum(m []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaSize])
	return sum.Sum64()
}
