package adhoc

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// quick is a remedy whose hosts answer at once, a few at a time: what is left is the cost of the loop and of its journal.
type quick struct{}

func (quick) Run(context.Context, recovery.Job) recovery.Result {
	return recovery.Result{Class: recovery.Succeeded, Detail: "The script ended with 0.", Output: "output/RUN-1_h00_1.log", Took: time.Second}
}

// BenchmarkRun is a run on 934 hosts, of which 32 go together, without SSH.
func BenchmarkRun(b *testing.B) {
	const hosts = 934
	d := declared(b, hosts, 32)
	for b.Loop() {
		j, err := journal.Open(filepath.Join(b.TempDir(), "journal.db"))
		if err != nil {
			b.Fatal(err)
		}
		r, err := New(Config{Journal: j, Log: hclog.NewNullLogger()})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Declare(d); err != nil {
			b.Fatal(err)
		}
		if err := r.Go(b.Context(), quick{}); err != nil {
			b.Fatal(err)
		}
		_ = j.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/hosts, "µs/host")
}
