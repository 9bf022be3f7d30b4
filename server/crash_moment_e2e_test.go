//go:build e2e && linux

package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// moment is when a coordinator is killed: not later than within after what it waits for.
type moment struct {
	name    string
	start   bool     // while it starts
	copies  bool     // while it writes its first snapshot
	write   bool     // while it writes to its journal
	restart bool     // a repaired machine restarts, and the result may not be on disk yet
	kinds   []string // the watch stream tells of an event of one of these
	within  time.Duration
}

// moments is the deck from which the kills are dealt.
var moments = []moment{
	{name: "in start-up", start: true},
	{name: "while it copies its journal", copies: true},
	{name: "while writing", write: true, within: 5 * time.Millisecond},
	{name: "while writing", write: true, within: 5 * time.Millisecond},
	{name: "after an attempt started", kinds: []string{"attempt-started"}, within: 5 * time.Millisecond},
	{name: "while a script runs", kinds: []string{"attempt-started"}, within: 500 * time.Millisecond},
	{name: "after a result", kinds: []string{"attempt-ended"}, within: 5 * time.Millisecond},
	{name: "while a host soaks", kinds: []string{"host-proven"}, within: 500 * time.Millisecond},
	{name: "between waves", kinds: []string{"wave-opened", "wave-passed", "host-recovered"}, within: 5 * time.Millisecond},
	{name: "as a host restarts", restart: true, within: 2 * time.Millisecond},
	{name: "at any time", within: 800 * time.Millisecond},
}

// patience is how long a kill waits for its moment; then any moment will do.
const patience = 3 * time.Second

// victim is a coordinator that is killed again and again.
type victim struct {
	*site
	lab      *lab.Lab
	dice     *rand.Rand
	snapshot string          // the copy that it keeps of its journal
	began    time.Time       // of this life
	ready    chan struct{}   // closed when it serves
	started  bool            // it has been waited for until it served
	ended    chan error      // told by its death
	starts   []time.Duration // from command to serving
	writes   <-chan struct{} // something was written to its journal
	copies   <-chan struct{} // something was written beside its snapshot
	deaths   map[string]int  // by moment
	vain     int             // deaths that waited in vain for theirs
	remains                  // what the dead have left

	mu    sync.Mutex
	told  uint64        // the last entry that a person was told of
	kinds []string      // of the entries told of in this life
	news  chan struct{} // closed at the next ones
}

// live starts the coordinator and does not wait for it.
func (v *victim) live(ctx context.Context) {
	v.Helper()
	c := v.command(v.args...)
	r, err := c.StderrPipe()
	if err != nil {
		v.Fatal(err)
	}
	v.mu.Lock()
	v.kinds = nil
	v.mu.Unlock()
	drain(v.copies)
	v.began = time.Now()
	if err := c.Start(); err != nil {
		v.Fatal(err)
	}
	v.site.mu.Lock()
	v.child = c
	v.site.mu.Unlock()
	ready, ended := make(chan struct{}), make(chan error, 1)
	v.ready, v.ended = ready, ended
	go func() {
		once := sync.OnceFunc(func() { close(ready) })
		for lines := bufio.NewScanner(r); lines.Scan(); {
			v.site.mu.Lock()
			v.log.WriteString(lines.Text() + "\n")
			v.site.mu.Unlock()
			if strings.Contains(lines.Text(), "serving:") {
				once()
			}
		}
		_, _ = io.Copy(io.Discard, r)
		ended <- c.Wait()
	}()
	v.started = false
	if v.writes == nil { // the first life: the journal must come into being
		v.serving(ctx)
		v.writes = v.watchWrites(filepath.Join(v.site.site(), "data", server.JournalFile))
		v.copies = v.watchWrites(filepath.Dir(v.snapshot))
	}
}

// serving waits until the coordinator accepts connections.
func (v *victim) serving(ctx context.Context) {
	v.Helper()
	if v.started {
		return
	}
	select {
	case <-v.ready:
		v.started = true
		v.starts = append(v.starts, time.Since(v.began))
	case err := <-v.ended:
		v.Fatalf("the coordinator did not start: %v\n%s", err, v.tail(20))
	case <-ctx.Done():
		v.Fatalf("the coordinator does not serve:\n%s", v.tail(20))
	}
}

// await returns at the moment, and whether there was such a one.
func (v *victim) await(ctx context.Context, m moment) (came bool) {
	v.Helper()
	if m.start {
		v.pass(ctx, time.Duration(v.dice.Int64N(int64(median(v.starts))+1)))
		return true
	}
	limit := time.After(patience)
	if m.copies {
		return notices(v.copies, 1, limit)
	}
	v.serving(ctx)
	v.pass(ctx, time.Duration(v.dice.Int64N(int64(400*time.Millisecond)))) // so that it gets some work done
	came = true
	switch {
	case m.write:
		drain(v.writes)
		came = notices(v.writes, 1+v.dice.IntN(3), limit) // a write is some pages, then the new root
		if v.dice.IntN(3) > 0 {
			return came // at once
		}
	case m.restart:
		came = v.sees(limit)
	case m.kinds != nil:
		came = v.hears(m.kinds, limit)
	}
	v.pass(ctx, time.Duration(v.dice.Int64N(int64(m.within)+1)))
	return came
}

// median is the one in the middle.
func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// pass lets real time pass.
func (*victim) pass(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// rest is how long nobody starts the coordinator again: mostly a moment, now and then longer than scripts and boots take.
func (v *victim) rest(ctx context.Context) {
	d := v.dice.Int64N(int64(100 * time.Millisecond))
	if v.dice.IntN(10) == 0 {
		d *= 20
	}
	v.pass(ctx, time.Duration(d))
}

// die kills the coordinator, and looks at what it has left.
func (v *victim) die(when string) {
	v.Helper()
	starting := true
	select {
	case <-v.ready:
		starting = false
	default:
	}
	v.mu.Lock()
	told := v.told
	v.mu.Unlock()
	v.kill()
	if err := <-v.ended; err == nil || err.Error() != "signal: killed" {
		v.Fatalf("it did not die by the kill %s, but before: %v\n%s", when, err, v.tail(20))
	}
	v.deaths[when]++
	v.bury(v.site, v.snapshot, told, starting)
}

// notices waits for so many writes.
func notices(writes <-chan struct{}, n int, limit <-chan time.Time) bool {
	for range n {
		select {
		case <-writes:
		case <-limit:
			return false
		}
	}
	return true
}

func drain(writes <-chan struct{}) {
	for len(writes) > 0 {
		<-writes
	}
}

// sees waits until a machine leaves its rescue system.
func (v *victim) sees(limit <-chan time.Time) bool {
	rescue := map[string]bool{}
	for {
		changed := v.lab.Changed()
		for _, m := range v.lab.Truth() {
			if m.State != lab.Rescue && rescue[m.Host] {
				return true
			}
			rescue[m.Host] = m.State == lab.Rescue
		}
		select {
		case <-changed:
		case <-limit:
			return false
		}
	}
}

// hears waits until the watch stream tells of an event of one of the kinds.
func (v *victim) hears(kinds []string, limit <-chan time.Time) bool {
	v.mu.Lock()
	from := len(v.kinds)
	v.mu.Unlock()
	for {
		v.mu.Lock()
		heard, news := v.kinds[min(from, len(v.kinds)):], v.news
		v.mu.Unlock()
		if slices.ContainsFunc(heard, func(k string) bool { return slices.Contains(kinds, k) }) {
			return true
		}
		select {
		case <-news:
		case <-limit:
			return false
		}
	}
}

// listen follows the incident as a person with `blackstart watch` does, from life to life, until the function that it returns.
func (v *victim) listen(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	v.news = make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		for ctx.Err() == nil {
			if err := v.follow(ctx); err == nil {
				return
			}
			v.pass(ctx, 20*time.Millisecond)
		}
	})
	return func() { cancel(); listening.Wait() }
}

// follow is one stream. It returns nil when the incident is closed.
func (v *victim) follow(ctx context.Context) error {
	v.mu.Lock()
	told := v.told
	v.mu.Unlock()
	stream, err := v.client.Watch(ctx, &pb.WatchRequest{AfterSeq: told})
	if err != nil {
		return err
	}
	for {
		u, err := stream.Recv()
		if err != nil {
			return err
		}
		v.mu.Lock()
		if seq := u.GetIncident().GetSeq(); seq < v.told {
			v.Errorf("a coordinator tells of %d entries, and an earlier one had told of %d", seq, v.told)
		}
		v.told = max(v.told, u.GetIncident().GetSeq())
		for _, e := range u.GetEntries() {
			v.kinds = append(v.kinds, e.GetKind())
		}
		close(v.news)
		v.news = make(chan struct{})
		v.mu.Unlock()
		if u.GetIncident().GetClosedAt() != nil {
			return nil
		}
	}
}

// watchWrites tells of every write to a file, or to the files of a folder, as the kernel sees it.
func (v *victim) watchWrites(path string) <-chan struct{} {
	v.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		v.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	v.Cleanup(func() { _ = f.Close() })
	if _, err := syscall.InotifyAddWatch(fd, path, syscall.IN_MODIFY); err != nil {
		v.Fatal(err)
	}
	writes := make(chan struct{}, 64)
	go func() {
		buf := make([]byte, syscall.SizeofInotifyEvent+syscall.NAME_MAX+1) // at least one event
		for {
			if _, err := f.Read(buf); err != nil {
				if !errors.Is(err, os.ErrClosed) {
					v.Errorf("writes are not seen any more: %v", err)
				}
				return
			}
			select {
			case writes <- struct{}{}:
			default:
			}
		}
	}()
	return writes
}

// whoIsLeft logs the hosts that are not recovered, and why.
func (v *victim) whoIsLeft() {
	out, err := v.client.ListHosts(context.Background(), &pb.ListHostsRequest{})
	if err != nil {
		v.Logf("who is left cannot be asked: %v", err)
	}
	for _, h := range out.GetHosts() {
		if p := recovery.Phase(h.GetPhase()); p != recovery.Recovered && p != recovery.NotHit {
			v.Logf("%s %s %s: %s", h.GetName(), h.GetScope(), p, h.GetReason())
		}
	}
}
