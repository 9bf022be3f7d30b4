package remedy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// SSH is the remedy that works over SSH. It is safe for concurrent use.
type SSH struct {
	cfg        Config
	identity   *identity
	trust      *trust
	handshakes turns
	sessions   turns
	reaches    turns
	racer      *SSH // what races go with: turns and deadlines of their own; nil in itself
	races      races

	ctx  context.Context // of what is shared between jobs
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	flights map[string]*flight
	jumps   map[string]*jump
}

// flight is a job that runs in this process.
type flight struct {
	done   chan struct{}
	result recovery.Result
}

// Scripts is what a job runs. A repair uses Repair, a verify uses Verify.
type Scripts struct {
	Repair []byte        // POSIX sh text for the rung's environment
	Limit  time.Duration // how long Repair may run on the host; zero or more than the job's time leaves: a little less than that
	Verify Verify
}

// Verify is how proof is gathered over SSH. Script is POSIX sh text of less than 96 KiB that reads BLACKSTART_ROOT; Parse
// reads what it printed, and an error of it means that the host has not answered yet.
type Verify struct {
	Script []byte
	Parse  func(output []byte) (content []recovery.Content, bootID string, err error)
}

// New reads the identity and the known_hosts files. Its errors say which file is at fault and what to do.
func New(cfg Config) (*SSH, error) {
	cfg = cfg.withDefaults()
	id, err := newIdentity(cfg)
	if err != nil {
		return nil, err
	}
	known, err := newTrust(cfg.KnownHosts)
	if err != nil {
		return nil, err
	}
	if cfg.OutputDir != "" {
		if err := os.MkdirAll(cfg.OutputDir, 0o700); err != nil {
			return nil, fmt.Errorf("folder for kept output: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	made := func(cfg Config) *SSH {
		return &SSH{
			cfg: cfg, identity: id, trust: known,
			handshakes: make(turns, cfg.Handshakes), sessions: make(turns, cfg.Sessions), reaches: make(turns, reachAtOnce),
			ctx: ctx, stop: stop,
			flights: map[string]*flight{}, jumps: map[string]*jump{},
		}
	}
	r := made(cfg)
	r.racer = made(cfg.racing())
	return r, nil
}

// Close closes the connections to jump hosts. Running jobs should have been ended by their contexts before.
func (r *SSH) Close() {
	r.stop()
	r.work.Wait()
	r.racer.work.Wait()
}

// Run does the job and returns how it ended; see the package comment for the classes. It is idempotent per incident and job
// id: while the job runs in this process a second call waits for the same result, and after that it joins the work on the
// host. If ctx ends, Run returns soon; a script that was started goes on and can be joined by the same id.
func (r *SSH) Run(ctx context.Context, job recovery.Job, scripts Scripts) recovery.Result {
	key := job.Incident + "\x00" + job.ID
	for {
		r.mu.Lock()
		f := r.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			r.flights[key] = f
			r.mu.Unlock()
			f.result = r.with(job).run(ctx, job, scripts)
			r.mu.Lock()
			delete(r.flights, key)
			r.mu.Unlock()
			close(f.done)
			return f.result
		}
		r.mu.Unlock()
		select {
		case <-f.done:
			if res := f.result; res.Class != recovery.Cancelled && res.Signature != cancelledInMidRun || ctx.Err() != nil {
				res.Joined = true
				return res
			}
			// the other caller gave up, this one has not
		case <-ctx.Done():
			return recovery.Result{
				Class: recovery.Lost, Signature: cancelledInMidRun, Joined: true,
				Detail: "The wait for a job that runs already was cancelled; the same id joins it.",
			}
		}
	}
}

// with is what a job goes with.
func (r *SSH) with(job recovery.Job) *SSH {
	if job.Rung.Kind == recovery.RungRace {
		return r.racer
	}
	return r
}

func (r *SSH) run(ctx context.Context, job recovery.Job, scripts Scripts) recovery.Result {
	var res recovery.Result
	var took time.Duration
	t, e := r.target(job)
	if e == nil {
		ctx, c, stop := newClock(ctx, jobTime(job, r.cfg.Timeouts.Job))
		defer stop()
		if err := r.sessions.take(ctx, c); err != nil {
			e = stopped(err)
		} else {
			defer r.sessions.give()
			began := time.Now()
			if job.Kind == recovery.JobVerify {
				res = r.verify(ctx, c, job, t, scripts.Verify)
			} else {
				res = (&attempt{r: r, job: job, target: t, scripts: scripts, clock: c}).run(ctx)
			}
			took = time.Since(began)
		}
	}
	if e != nil {
		res = e.result()
	}
	res.Took = took
	r.cfg.Log.Debug("job ended", "job", job.ID, "class", res.Class, "signature", res.Signature, "joined", res.Joined, "took", took)
	return res
}

func (e *end) result() recovery.Result {
	return recovery.Result{Class: e.class, Signature: e.signature, Detail: e.detail}
}

func jobTime(job recovery.Job, otherwise time.Duration) time.Duration {
	if job.Timeout > 0 {
		return job.Timeout
	}
	return otherwise
}

// target reads where a job goes; an end says why it cannot go there.
func (r *SSH) target(job recovery.Job) (target, *end) {
	rung := job.Rung
	none := func(signature, detail string) (target, *end) {
		return target{}, &end{recovery.Failed, signature, detail}
	}
	switch {
	case rung.Kind != recovery.RungSSH && rung.Kind != recovery.RungRace:
		return none("environment not supported", "The rung is not climbed over SSH; give the host to a person or name an ssh rung.")
	case rung.Environment != recovery.EnvLinux && rung.Environment != recovery.EnvRescueLinux:
		return none("environment not supported", fmt.Sprintf("A script for the environment %q cannot be run by this version; use a rescue-linux rung or hands.", rung.Environment))
	case net.ParseIP(rung.Address) == nil:
		return none("bad address", fmt.Sprintf("The rung's address %q is no IP address; correct it in the fleet file.", rung.Address))
	}
	t := target{addr: net.JoinHostPort(rung.Address, strconv.Itoa(cmp.Or(rung.Port, 22))), user: cmp.Or(rung.User, r.cfg.User)}
	for _, text := range rung.Jump {
		h, err := parseHop(text, r.cfg.User)
		if err != nil {
			return none("bad jump host", "The rung cannot be used: "+err.Error()+".")
		}
		t.via = append(t.via, h)
	}
	keys, err := r.trust.expect(rung.HostKeys, t.addr, job.Host.Name)
	if err != nil {
		return none("bad host key line", "The rung cannot be used: "+err.Error()+"; correct it in the fleet file.")
	}
	t.expected = keys
	return t, nil
}

// folderName makes an attempt's folder and file name: the incident and the id with "_" for "/". A name that had to be
// changed more than that, or is long, ends in a digest that keeps it apart.
func folderName(job recovery.Job) string {
	id := job.ID
	if job.Incident != "" {
		id = job.Incident + "/" + id
	}
	changed := false
	name := strings.Map(func(c rune) rune {
		switch {
		case c == '/':
			return '_'
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
			return c
		}
		changed = true
		return '-'
	}, id)
	if changed || len(name) > 120 || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || name == "" {
		sum := sha256.Sum256([]byte(id))
		name = "a" + name[:min(len(name), 100)] + "_" + hex.EncodeToString(sum[:8])
	}
	return name
}

// isCancelled reports whether an error is that of a context that somebody ended, rather than the job's time.
func isCancelled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errOutOfTime)
}
