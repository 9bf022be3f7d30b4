package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// An envelope is written by hand, for speed; it must be what json.Marshal writes, byte for byte, for every kind of event and
// whatever a person is called.
func TestEnvelopesAreWrittenAsJSON(t *testing.T) {
	files, err := filepath.Glob("../recovery/testdata/events/*.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden events, %v", len(files), err)
	}
	var events []recovery.Event
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimSuffix(filepath.Base(file), ".json")
		e, err := recovery.DecodeEvent(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	rapid.Check(t, func(t *rapid.T) {
		actor := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"engine", `a"b`, `a\b`, "a<b", "a>b", "a&b", "a\tb", "Zoë", "\x7f", "\u2028"})).Filter(func(s string) bool { return s != "" }).Draw(t, "actor")
		v, err := newEnvelope(recovery.Entry{Seq: rapid.Uint64().Draw(t, "seq"), At: time.Unix(0, rapid.Int64().Draw(t, "at")), Actor: actor,
			Event: rapid.SampledFrom(events).Draw(t, "event")})
		if err != nil {
			t.Fatal(err)
		}
		v.Prev = hashOf(actor)
		want, err := sealJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.seal(); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		var back envelope
		if err := unsealJSON(want, &back); err != nil || back.Actor != actor {
			t.Fatalf("read again: %v, %q", err, back.Actor)
		}
		if !json.Valid(want) {
			t.Fatalf("not JSON: %s", want)
		}
	})
}
