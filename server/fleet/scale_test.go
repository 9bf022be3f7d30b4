package fleet

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// estate writes a fleet file with n hosts and as many data sets as may be, most in an entry of its own: the costliest way to say it.
func estate(n int) []byte {
	var b strings.Builder
	b.WriteString("fleet: big\ntiers: [{name: first}, {name: second}]\nservices:\n")
	for i := range 100 {
		tier, needs := "first", ""
		if i >= 20 {
			tier, needs = "second", fmt.Sprintf(", needs: [s%d, s%d]", i%20, i%7)
		}
		fmt.Fprintf(&b, "  - {name: s%d, tier: %s%s}\n", i, tier, needs)
	}
	b.WriteString("repositories:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  r%d: {restic: /mnt/%d, password: env:PW}\n", i, i)
	}
	b.WriteString("backups:\n")
	for i := range min(n, maxSets) / 2 { // and as many in one entry
		fmt.Fprintf(&b, "  - {name: set%06d, host: host%06d, kind: files, repository: r%d, policy: daily-14d, runner: host000000, target: 'D:\\{name}', stop: [stop, '{name}'], start: [start, '{name}']}\n", i, i, i%100)
	}
	fmt.Fprintf(&b, "  - {name: '{name}-disk', host: 'host[%06d-%06d]', kind: image, repository: r0, policy: daily-14d, target: 'D:\\disk', options: {a: '{4}'}}\n", n-min(n, maxSets)/2, n-1)
	b.WriteString("sites: {hall: 4}\nladders:\n  rescue:\n    - {name: rescue, kind: rescue, address: '11.{2}.{3}.{4}'}\n    - {name: restore, kind: restore}\ndefaults: {os: windows-2019}\n")
	b.WriteString("power: {bmc: {agent: fence_ipmilan, options: {ip: '12.{2}.{3}.{4}'}, secrets: {password: 'file:{name}'}}}\ndefaults-for: [{site: hall, power: bmc}")
	for i := range 100 {
		fmt.Fprintf(&b, ", {group: g%d, ladder: rescue}", i)
	}
	b.WriteString("]\ngroups:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - {name: g%d, max-at-once: 1, members: 'host[%06d-%06d]'}\n", i, i*n/100, (i+1)*n/100-1)
	}
	b.WriteString("hosts:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: host%06d\n    service: s%d\n    site: hall\n    data: none\n    address: 10.%d.%d.%d\n", i, i%100, i>>16, i>>8&255, i&255)
		fmt.Fprintf(&b, "    mac: 52:54:00:%02x:%02x:%02x\n", i>>16, i>>8&255, i&255)
	}
	return []byte(b.String())
}

// TestScale reads 100,000 hosts, which takes two idle cores about three seconds. It holds the growth, not the seconds: a busy
// machine slows both readings alike.
func TestScale(t *testing.T) {
	small := max(reading(t, maxHosts/10), reading(t, maxHosts/10))
	large := reading(t, maxHosts)
	t.Logf("10,000 hosts in %s, 100,000 in %s", small, large)
	if large > 40*max(small, 50*time.Millisecond) {
		t.Errorf("ten times the hosts took %s instead of %s", large, small)
	}
}

func reading(t *testing.T, hosts int) time.Duration {
	data := estate(hosts)
	runtime.GC()
	start := time.Now()
	f, err := Parse("big.yaml", data)
	took := time.Since(start)
	if err != nil || len(f.Hosts) != hosts || len(f.DataSets) != min(hosts, maxSets) {
		t.Fatalf("%d hosts of %d with %d data sets: %v", len(f.Hosts), hosts, len(f.DataSets), err)
	}
	return took
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{934, 10_000, 100_000} {
		data := estate(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse("big.yaml", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
