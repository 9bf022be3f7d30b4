package recovery

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file below testdata; a new file is only ever written on demand.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -run %s -update writes it)", err, t.Name())
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what it was. A journal that was written before must read the same for ever: add fields, never change them.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// moveTable prints the table of legal moves as it stands in the package comment.
func moveTable() string {
	var b strings.Builder
	for _, m := range moves {
		var to []string
		for _, p := range m.to {
			to = append(to, string(p))
		}
		fmt.Fprintf(&b, "//\t%-12s %-17s %-34s  %s\n", m.from, m.event, strings.Join(to, ", "), m.when)
	}
	return b.String()
}

func TestMovesStandInThePackageComment(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.Index(doc, []byte("//\tnot-hit"))
	end := bytes.Index(doc, []byte("package recovery\n"))
	if start < 0 || end < start {
		t.Fatal("the package comment holds no table of moves")
	}
	if *update {
		doc = []byte(string(doc[:start]) + moveTable() + string(doc[end:]))
		if err := os.WriteFile("doc.go", doc, 0o644); err != nil {
			t.Fatal(err)
		}
		end = bytes.Index(doc, []byte("package recovery\n"))
	}
	if got := string(doc[start:end]); got != moveTable() {
		t.Errorf("the table in the package comment is not that of the code (go test -run %s -update):\n%s\nwant:\n%s", t.Name(), got, moveTable())
	}
	golden(t, "moves.txt", []byte(strings.ReplaceAll(moveTable(), "//\t", "")))
}

// Every event that moves a host names a phase and an event that exist, no line stands twice, and no phase is a dead end.
func TestMovesAreSound(t *testing.T) {
	phases := map[Phase]bool{Waiting: true, Attempting: true, Verifying: true, Recovered: true, NeedsHands: true, Skipped: true, NotHit: true}
	seen, leaves, reached := map[string]bool{}, map[Phase]bool{}, map[Phase]bool{}
	for _, m := range moves {
		key := string(m.from) + " " + m.event
		if seen[key] || newEvent[m.event] == nil || !phases[m.from] || m.when == "" {
			t.Errorf("bad line %+v", m)
		}
		seen[key], leaves[m.from] = true, true
		for _, p := range m.to {
			reached[p] = true
			if !phases[p] {
				t.Errorf("bad phase in %+v", m)
			}
		}
	}
	for p := range phases {
		if !leaves[p] || !reached[p] && p != NotHit {
			t.Errorf("%s: leaves %v, reached %v", p, leaves[p], reached[p])
		}
	}
}

// filled sets every field of a value to something that is not its zero, the same every time.
func filled(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		filled(v.Index(0), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(t0.Add(time.Duration(*n) * time.Second)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				filled(v.Field(i), n)
			}
		}
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		filled(key, n)
		filled(value, n)
		m.SetMapIndex(key, value)
		v.Set(m)
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", *n))
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[Level]() {
			v.SetInt(int64(*n % 6))
			return
		}
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("an event holds a " + v.Kind().String() + ": teach filled about it")
	}
}

func TestEventGoldens(t *testing.T) {
	for _, f := range eventTypes {
		e := f()
		t.Run(e.Kind(), func(t *testing.T) {
			n := 0
			filled(reflect.ValueOf(e).Elem(), &n)
			data, err := EncodeEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, data, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			golden(t, "events/"+e.Kind()+".json", pretty.Bytes())
			file, err := os.ReadFile(filepath.Join("testdata", "events", e.Kind()+".json"))
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeEvent(e.Kind(), file)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, e) {
				t.Errorf("decoded\n%+v\nwant\n%+v", back, e)
			}
			if got := HostOf(e); (got == "") == hasHost(e) {
				t.Errorf("HostOf gives %q", got)
			}
		})
	}
	files, err := os.ReadDir("testdata/events")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(eventTypes) {
		t.Errorf("%d golden files for %d kinds: a kind never goes away", len(files), len(eventTypes))
	}
}

// hasHost reports whether an event is about one host.
func hasHost(e Event) bool {
	v := reflect.TypeOf(e).Elem()
	_, host := v.FieldByName("Host")
	_, attempt := v.FieldByName("Attempt")
	return host || attempt
}

// Events written by hand, so that a rename of a field together with its golden file is noticed.
func TestEventsByHand(t *testing.T) {
	at := time.Date(2024, 7, 19, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		kind, data string
		want       Event
	}{
		{"attempt-started", `{"attempt":{"id":"a/1","host":"a","n":1,"rung":0,"rung_name":"own","playbook":"sha256:p","started":"2024-07-19T07:00:00Z","timeout":60000000000,"deadline":"2024-07-19T07:00:00Z"},"boot_before":"b","canary":true,"reason":"r"}`,
			&AttemptStarted{Attempt: Attempt{ID: "a/1", Host: "a", N: 1, RungName: "own", Playbook: "sha256:p", Started: at, Timeout: time.Minute, Deadline: at}, BootBefore: "b", Canary: true, Reason: "r"}},
		{"attempt-ended", `{"attempt":"a/1","host":"a","result":{"class":"failed","exit":3,"signature":"exit 3"},"next":"waiting","rung":1,"until":"2024-07-19T07:00:00Z","reason":"r"}`,
			&AttemptEnded{Attempt: "a/1", Host: "a", Result: Result{Class: Failed, Exit: 3, Signature: "exit 3"}, Next: Waiting, Rung: 1, Until: at, Reason: "r"}},
		{"wave-opened", `{"wave":1,"size":10,"need":9,"limits":{"failed":1,"unreachable":2,"in_flight":3},"reason":"r"}`,
			&WaveOpened{Wave: 1, Size: 10, Need: 9, Limits: Limits{1, 2, 3}, Reason: "r"}},
		// Written by an older Blackstart: what is missing is zero, what is unknown is passed over.
		{"host-relapsed", `{"host":"a","next":"waiting","rung":0,"reason":"r","of_a_later_version":true}`, &HostRelapsed{Host: "a", Next: Waiting, Reason: "r"}},
		{"host-proven", `{"host":"a"}`, &HostProven{Host: "a"}},
		{"incident-closed", `{}`, &IncidentClosed{}},
	} {
		got, err := DecodeEvent(c.kind, []byte(c.data))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.kind, got, err, c.want)
		}
	}
	for _, c := range []struct{ kind, data, want string }{
		{"host-teleported", `{}`, `unknown event kind "host-teleported": this journal was written by a newer Blackstart`},
		{"host-skipped", `{"host":`, "event host-skipped: unexpected EOF"},
		{"host-skipped", `{"host":7}`, "event host-skipped: json: cannot unmarshal number"},
	} {
		if _, err := DecodeEvent(c.kind, []byte(c.data)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.kind, err, c.want)
		}
	}
}

// aimed points an event at what exists.
func aimed(e Event) {
	v := reflect.ValueOf(e).Elem()
	if f := v.FieldByName("Host"); f.IsValid() {
		f.SetString("h000")
	}
	if f := v.FieldByName("Wave"); f.IsValid() {
		f.SetInt(1)
	}
	if started, ok := e.(*AttemptStarted); ok {
		started.Attempt.Host, started.Attempt.Ended = "h000", time.Time{}
	}
}

// Apply is total: no entry, however strange, makes it panic, and one about something unknown changes nothing.
func TestApplyIsTotal(t *testing.T) {
	for _, declared := range []bool{false, true} {
		for _, f := range eventTypes {
			x := newSim(t, testFleet(6), testPlaybook())
			if declared {
				x.start(testFleet(6), testPlaybook())
			}
			e, n := f(), 0
			x.s.Apply(Entry{Seq: 100, At: x.now, Event: e})
			filled(reflect.ValueOf(e).Elem(), &n)
			aimed(e)
			x.s.Apply(Entry{Seq: 101, At: x.now, Event: e})
			x.s.Apply(Entry{Seq: 101, At: x.now, Event: e})
			if x.s.Seq != 101 {
				t.Errorf("seq %d", x.s.Seq)
			}
			x.s.Work(x.now)
			x.s.Why(x.now)
			x.s.Wake(x.now)
			x.s.Services()
			x.s.Verdicts(x.now)
			if _, err := Decide(x.s, Tick{}, x.now.Add(time.Hour)); err != nil && x.s.ID != "" {
				t.Errorf("%s: %v", e.Kind(), err)
			}
		}
	}
}
