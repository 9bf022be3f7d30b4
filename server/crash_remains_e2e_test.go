//go:build e2e && linux

package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

// remains is what is known of the journal from the deaths so far.
type remains struct {
	lines      []byte           // the entries as they stand in the journal, sealed
	entries    []recovery.Entry // the same, read
	auditor    *audit.Auditor
	breached   bool
	met        encounters
	last       map[string]int // deaths by the kind of the last entry
	snapshots  int            // that were read and held entries
	executions int
}

// encounters counts what the deaths met.
type encounters struct {
	starting   int // it did not serve yet
	attempting int // attempts were under way
	awaiting   int // proofs were awaited, or soaks
	writing    int // entries stood in the file already, but did not count yet
}

// bury copies the journal as the dead one left it and compares the copy with what was there before and what had been told.
func (r *remains) bury(s *site, snapshot string, told uint64, starting bool) {
	s.Helper()
	data, err := os.ReadFile(filepath.Join(s.site(), "data", server.JournalFile))
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.dir, "copy.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		s.Fatal(err)
	}
	lines, entries := exhume(s, file)
	switch {
	case !bytes.HasPrefix(lines, r.lines):
		s.Fatalf("the journal of %d entries does not begin with the %d that were there at the death before", len(entries), len(r.entries))
	case uint64(len(entries)) < told:
		s.Fatalf("the journal holds %d entries, and %d had been told to a person", len(entries), told)
	}
	copied, _ := exhume(s, snapshot)
	if !bytes.HasPrefix(lines, copied) {
		s.Fatal("the snapshot is not the beginning of the journal")
	}
	if len(copied) > 0 {
		r.snapshots++
	}
	r.audit(s, entries[len(r.entries):])
	r.lines, r.entries = lines, entries
	if starting {
		r.met.starting++
	}
	if at := bytes.Index(data, fmt.Appendf(nil, `"entry":{"seq":%d,"at":`, len(entries)+1)); at >= 0 {
		r.met.writing++
		tear(data, at)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			s.Fatal(err)
		}
		if torn, _ := exhume(s, file); !bytes.Equal(torn, lines) {
			s.Fatal("a torn page of entries that did not count yet changes those that do")
		}
	}
	r.count()
}

// tear leaves of a page what a power cut may leave of one that was not yet known to be on the disk: its first sector.
func tear(data []byte, at int) {
	const sector = 512
	page := at - at%os.Getpagesize()
	clear(data[page+sector : min(page+os.Getpagesize(), len(data))])
}

// exhume reads the one incident of a journal that nobody has open. A journal that is not there yet, or has no incident yet, is empty.
func exhume(s *site, file string) (lines []byte, entries []recovery.Entry) {
	s.Helper()
	if info, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil
	}
	j, err := journal.OpenReadOnly(file)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	ids, err := j.Incidents()
	if err != nil || len(ids) > 1 {
		s.Fatalf("incidents %v, %v", ids, err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	if err := j.Export(&b, ids[0]); err != nil {
		s.Fatal(err)
	}
	if err := j.Read(ids[0], func(e recovery.Entry) error { entries = append(entries, e); return nil }); err != nil {
		s.Fatal(err)
	}
	return b.Bytes(), entries
}

// audit goes on where the last death ended. It tells the first broken promise once.
func (r *remains) audit(s *site, fresh []recovery.Entry) {
	s.Helper()
	if r.auditor == nil {
		r.auditor = audit.New()
	}
	for _, e := range fresh {
		if b := r.auditor.See(e); b != nil && !r.breached {
			r.breached = true
			s.Errorf("the auditor says: %v (host %s)", b, b.Host)
		}
	}
}

// count folds the journal as a new coordinator would, and remembers what the death has met.
func (r *remains) count() {
	state := fold(r.entries)
	if state.ID == "" || state.Outcome != "" {
		return
	}
	r.last[r.entries[len(r.entries)-1].Event.Kind()]++
	attempting, awaiting := 0, 0
	for _, h := range state.Hosts() {
		switch h.Phase {
		case recovery.Attempting:
			attempting = 1
		case recovery.Verifying:
			awaiting = 1
		default:
		}
	}
	r.met.attempting += attempting
	r.met.awaiting += awaiting
}

func fold(entries []recovery.Entry) *recovery.State {
	state := recovery.NewState()
	for _, e := range entries {
		state.Apply(e)
	}
	return state
}

// judge looks at the whole incident: its end, its promises, and whether each script ran as often as its attempt says.
func (r *remains) judge(s *site, l *lab.Lab) {
	s.Helper()
	state := fold(r.entries)
	if out := s.run("journal", "verify"); !strings.Contains(out, "ok      "+state.ID) { // what comes before it on a slow machine is no matter
		s.Errorf("journal verify says: %s", out)
	}
	if state.Outcome != recovery.OutcomeClosed && state.Outcome != recovery.OutcomeWithExceptions {
		s.Errorf("the incident is %s", state.Status())
	}
	for _, h := range state.Hosts() {
		if h.Phase != recovery.Recovered && h.Phase != recovery.NotHit {
			s.Errorf("%s is %s at the end: %s", h.Host.Name, h.Phase, h.Reason)
		}
	}
	if b := audit.Check(r.entries); b != nil && !r.breached {
		s.Errorf("the auditor says of the whole: %v (host %s)", b, b.Host)
	}
	checkOrder(s.T, state.Fleet, r.entries)
	started, err := l.Executions()
	if err != nil {
		s.Fatal(err)
	}
	r.compare(s, started)
}

// compare puts the attempts of the journal beside the scripts that were started on the machines, by attempt id.
func (r *remains) compare(s *site, started map[string]int) {
	s.Helper()
	type account struct{ least, most int }
	accounts := map[string]*account{}
	for _, e := range r.entries {
		switch v := e.Event.(type) {
		case *recovery.AttemptStarted:
			accounts[v.Attempt.ID] = &account{-1, -1} // without an end
		case *recovery.AttemptEnded:
			a, ok := accounts[v.Attempt]
			if !ok {
				s.Errorf("attempt %s ended and was never started", v.Attempt)
				continue
			}
			least, most := runs(v.Result)
			a.least, a.most = max(a.least, least), max(a.most, most)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[id]
		if n := started[id]; n < a.least || n > a.most {
			s.Errorf("the script of attempt %s was started %d times, and the journal says %d to %d", id, n, a.least, a.most)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(started)) {
		n := started[id]
		r.executions += n
		if accounts[id] == nil {
			s.Errorf("the script of attempt %s was started %d times, and the journal does not know it", id, n)
		}
	}
}

// runs says how often a script was started whose attempt ended so. Only an attempt whose outcome cannot be learnt leaves that open.
func runs(res recovery.Result) (least, most int) {
	switch res.Class {
	case recovery.Succeeded, recovery.NothingFound:
		return 1, 1
	case recovery.Lost, recovery.TimedOut:
		return 0, 1
	case recovery.Failed:
		if res.Exit != 0 {
			return 1, 1
		}
	default:
	}
	return 0, 0
}
