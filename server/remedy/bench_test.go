package remedy

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// BenchmarkRun compares one attempt (claim, supervised script, collected and kept output) with the least that SSH can do: a
// bare loop that connects and gives the script to one sh. Both talk to the same server in this process, sixteen at once; the
// figures are wall time, and the CPU of client, server and scripts together.
func BenchmarkRun(b *testing.B) {
	const width = 16
	var bareWall, bareCPU float64
	measure := func(b *testing.B, one func(n int64)) (wall, cpu float64) {
		var n atomic.Int64
		from := processorTime(b)
		b.SetParallelism(width / 2)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one(n.Add(1))
			}
		})
		cpu = float64(processorTime(b)-from) / float64(b.N)
		return float64(b.Elapsed()) / float64(b.N), cpu
	}
	b.Run("bare", func(b *testing.B) {
		key := newSigner(b)
		m := new(machine).start(b, key.PublicKey())
		config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(m.key.PublicKey())}
		bareWall, bareCPU = measure(b, func(int64) {
			client, err := ssh.Dial("tcp", m.listener.Addr().String(), config)
			if err != nil {
				b.Error(err)
				return
			}
			session, err := client.NewSession()
			if err != nil {
				b.Error(err)
				return
			}
			session.Stdin = bytes.NewReader([]byte(claimOK))
			if _, err := session.Output("exec /bin/sh"); err != nil {
				b.Error(err)
			}
			_ = client.Close()
		})
		b.ReportMetric(bareCPU, "cpu-ns/op")
	})
	b.Run("attempt", func(b *testing.B) {
		r, key := newRemedy(b, nil)
		m := new(machine).start(b, key)
		wall, cpu := measure(b, func(n int64) {
			if res := r.Run(b.Context(), m.job("h/"+strconv.FormatInt(n, 10)), Scripts{Repair: []byte(claimOK)}); res.Class != recovery.Succeeded {
				b.Errorf("%+v", res)
			}
		})
		b.ReportMetric(cpu, "cpu-ns/op")
		if bareWall > 0 {
			b.ReportMetric(wall/bareWall, "x-bare-wall")
			b.ReportMetric(cpu/bareCPU, "x-bare-cpu")
		}
	})
}

// processorTime is what this process and its ended children have used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
