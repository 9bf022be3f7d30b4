package remedy

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// verifyText runs the probe in a clean environment; its head gives the values.
const verifyText = `bs_main() {
  PATH=${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  [ -n "$bs_root" ] || bs_root=${BLACKSTART_ROOT:-}
  printf '\n%s hello\n' "$bs_nonce"
  env -i PATH="$PATH" BLACKSTART_ROOT="$bs_root" LC_ALL=C sh -c "$bs_probe" </dev/null
  printf '\n%s end\n' "$bs_nonce"
  exit 0
}
bs_main
`

const maxProbeScript = 96 << 10 // it travels as one argument, for which Linux gives 128 KiB

// verify asks the host for proof until it answers. It keeps one connection as long as that lives: the host may be on its
// way down or up.
func (r *SSH) verify(ctx context.Context, c *clock, job recovery.Job, t target, v Verify) recovery.Result {
	if len(v.Script) == 0 || len(v.Script) > maxProbeScript || bytes.IndexByte(v.Script, 0) >= 0 || v.Parse == nil {
		return (&end{recovery.Failed, "no probe", "The playbook gives no probe that can be run over SSH; give the host an agent or a person."}).result()
	}
	var l *link
	defer func() {
		if l != nil {
			l.close()
		}
	}()
	last := unreachable("no answer", "The host was not reached.")
	for {
		var e *end
		if l == nil {
			l, e = r.connect(ctx, c, t)
		}
		if e == nil {
			var sighting *recovery.Sighting
			if sighting, e = r.probe(ctx, l, job, v); e == nil {
				return recovery.Result{Class: recovery.Succeeded, Detail: "The host answered the probe.", Sighting: sighting}
			}
			if !l.alive(ctx, r.cfg.Timeouts.Keepalive) {
				l.close()
				l = nil
			}
		}
		if ctx.Err() == nil {
			last = e
		}
		if e.class == recovery.HostKeyMismatch || e.class == recovery.AuthRefused {
			return e.result()
		}
		timer := time.NewTimer(r.cfg.Timeouts.Pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if isCancelled(ctx) {
				return stopped(context.Cause(ctx)).result()
			}
			return last.result()
		}
	}
}

// probe runs the probe once.
func (r *SSH) probe(ctx context.Context, l *link, job recovery.Job, v Verify) (*recovery.Sighting, *end) {
	t, err := newTalk(ctx, l, r.cfg.Timeouts.Shell, func(nonce string) string {
		return head("bs_nonce", nonce, "bs_root", job.Rung.Root, "bs_probe", string(v.Script)) + verifyText
	})
	if err != nil {
		return nil, probeEnd(nil, err)
	}
	defer t.part()
	if _, err := t.hear(ctx, r.cfg.Timeouts.Shell); err != nil {
		return nil, probeEnd(t, err)
	}
	output := newKept(keepHead, keepTail)
	if _, err := t.hearOutput(ctx, r.cfg.Timeouts.Probe, output); err != nil {
		return nil, probeEnd(t, err)
	}
	content, boot, err := v.Parse(output.bytes())
	if err != nil {
		return nil, &end{recovery.Failed, "probe without an answer", "The probe ran but its answer cannot be read (" + oneLine(err.Error(), 200) + "); run it on the host by hand."}
	}
	s := &recovery.Sighting{
		Host: job.Host.Name, At: time.Now(), Connected: true, Source: "ssh", BootID: boot, Content: content,
		Health: []recovery.Check{{Name: "ssh-reachable", OK: true}},
	}
	if job.Rung.Environment == recovery.EnvLinux {
		s.BootMode = recovery.BootNormal // elsewhere the same address may lead into the rescue system or out of it
	}
	return s, nil
}

func probeEnd(t *talk, err error) *end {
	switch {
	case errors.Is(err, errSlow):
		return &end{recovery.TimedOut, "probe without an end", "The host lets us in but the probe does not end; look at its load and its disks."}
	case errors.Is(err, errFlood):
		return &end{recovery.Failed, "output flood", "The host sends more than a probe ever does, so it was stopped; see what its login shell prints."}
	case t != nil && errors.Is(err, errEnd):
		return noShell(t)
	default:
		return unreachable("dropped before the start", "The host dropped the connection before the probe had answered; it may be going down.")
	}
}
