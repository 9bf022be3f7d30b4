package remedy

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// BenchmarkRun compares one attempt (push, digest, claim, supervised script, collect, kept output) with the least that SSH can
// do: a bare loop that connects and executes one sh command. Both talk to the same server in this process.
func BenchmarkRun(b *testing.B) {
	var bare time.Duration
	b.Run("bare", func(b *testing.B) {
		key := newSigner(b)
		m := new(machine).start(b, key.PublicKey())
		config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(m.key.PublicKey())}
		for b.Loop() {
			client, err := ssh.Dial("tcp", m.listener.Addr().String(), config)
			if err != nil {
				b.Fatal(err)
			}
			session, err := client.NewSession()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := session.Output(claimOK); err != nil {
				b.Fatal(err)
			}
			_ = client.Close()
		}
		bare = b.Elapsed() / time.Duration(b.N)
	})
	for _, way := range []string{"sftp", "stdin"} {
		b.Run(way, func(b *testing.B) {
			r, key := newRemedy(b, nil)
			m := (&machine{noSFTP: way == "stdin"}).start(b, key)
			n := 0
			for b.Loop() {
				n++
				if res := r.Run(b.Context(), m.job("h/"+strconv.Itoa(n)), Scripts{Repair: []byte(claimOK)}); res.Class != recovery.Succeeded {
					b.Fatalf("%+v", res)
				}
			}
			if bare > 0 {
				b.ReportMetric(float64(b.Elapsed()/time.Duration(b.N))/float64(bare), "x-bare")
			}
		})
	}
}
