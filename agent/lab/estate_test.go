package lab

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	estateHosts  = 934
	startLimit   = 3 * time.Second
	memoryLimit  = 500 << 20 // bytes
	crowdstrikes = "crowdstrike-falcon"
)

func estateHostList() []HostSpec {
	list := hosts(estateHosts)
	for i := range list {
		list[i].EDRProduct = crowdstrikes
	}
	return list
}

func TestTheEstateHasItsFaults(t *testing.T) {
	faults, err := assign(estate(t), 20240719, estateHostList())
	if err != nil {
		t.Fatal(err)
	}
	count := map[Kind]int{}
	for _, f := range faults {
		count[f.Kind]++
	}
	for kind, want := range map[Kind]int{
		Spared: 2, HealsItself: 40, Unreachable: 25, WrongHostKey: 6, WrongDisk: 12, Relapses: 10, NeedsHands: 15, DropsSSH: 12,
		SilentSSH: 4, Floods: 3, NeverEnds: 2, SlowBoot: 30,
	} {
		if count[kind] != want {
			t.Errorf("%s: %d machines, want %d", kind, count[kind], want)
		}
	}
}

func TestTheEstateStartsQuickly(t *testing.T) {
	for _, struck := range []bool{false, true} {
		login, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		l, err := New(Config{
			Hosts: estateHostList(), Scenario: estate(t), Speed: 1, Dir: filepath.Join(t.TempDir(), "lab"),
			AuthorizedKey: login.PublicKey(), StartStruck: struck,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := l.Strike(); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		hit := 0
		for _, now := range l.Truth() {
			if now.Bad > 0 && !now.Up {
				hit++
			}
		}
		if hit != estateHosts-2 {
			t.Errorf("%d machines are hit, want %d", hit, estateHosts-2)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("seed %d, struck %v: %v", l.Seed(), struck, took)
		if took > startLimit {
			t.Errorf("start took %v, more than %v", took, startLimit)
		}
	}
}

func TestTheEstateWithItsAgentsIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("934 agents; run without -short")
	}
	p, agents := listenForAgents(t)
	w := start(t, estateHostList(), "", agents, func(c *Config) {
		c.StartStruck, c.Scenario = false, estate(t)
	})
	for range estateHosts {
		p.hello(w.ctx, t)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("heap %d MiB, stacks %d MiB, all from the system %d MiB, %d goroutines",
		m.HeapAlloc>>20, m.StackInuse>>20, m.Sys>>20, runtime.NumGoroutine())
	if got := m.Sys; got > memoryLimit {
		t.Errorf("%d bytes, more than %d", got, memoryLimit)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "disks", "h934")); err != nil {
		t.Error(err)
	}
}
