package agent

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// What an instruction may ask for at most.
const (
	maxID     = 128
	maxSets   = 64
	maxProbes = 64 // of one set, bad and good each
	maxPath   = 4096
	maxHeader = 4096
	minBeat   = time.Second
	maxBeat   = 5 * time.Minute
)

// order is the place of an instruction: first by the coordinator's start, then by its turn on the stream.
type order struct{ epoch, sequence uint64 }

// judge returns why the instruction may not be obeyed, or "" when it may. last is the newest one seen on this stream,
// epoch the highest ever obeyed: a coordinator that was started before that one has been replaced, whatever it says.
func judge(in *pb.Instruction, last order, epoch uint64) string {
	switch {
	case in == nil:
		return "an empty message"
	case len(in.GetId()) > maxID:
		return fmt.Sprintf("an instruction with an id of %d bytes; at most %d", len(in.GetId()), maxID)
	case in.GetEpoch() == 0:
		return fmt.Sprintf("instruction %q has no epoch", in.GetId())
	case in.GetEpoch() < epoch:
		return fmt.Sprintf("instruction %q is of epoch %d; epoch %d was obeyed already: an older coordinator, or a replay", in.GetId(), in.GetEpoch(), epoch)
	case in.GetEpoch() == last.epoch && in.GetSequence() <= last.sequence, in.GetSequence() == 0:
		return fmt.Sprintf("instruction %q has sequence %d after %d: a replay", in.GetId(), in.GetSequence(), last.sequence)
	}
	return ""
}

// newBeat bounds the interval that a coordinator asks for; none keeps the present one.
func newBeat(asked *durationpb.Duration, present time.Duration) time.Duration {
	if asked == nil || asked.CheckValid() != nil || asked.AsDuration() <= 0 {
		return present
	}
	return min(max(asked.AsDuration(), minBeat), maxBeat)
}

// probeSets turns the wire's probe sets into health's, or says what is wrong with them.
func probeSets(in []*pb.ProbeSet) ([]health.ProbeSet, error) {
	if len(in) > maxSets {
		return nil, fmt.Errorf("%d probe sets; at most %d", len(in), maxSets)
	}
	sets := make([]health.ProbeSet, 0, len(in))
	for _, s := range in {
		set := health.ProbeSet{Playbook: s.GetPlaybookDigest()}
		var err error
		if len(set.Playbook) > maxID {
			return nil, fmt.Errorf("a playbook digest of %d bytes; at most %d", len(set.Playbook), maxID)
		}
		if set.Bad, err = probes(s.GetBad()); err == nil {
			set.Good, err = probes(s.GetGood())
		}
		if err != nil {
			return nil, fmt.Errorf("playbook %s: %w", set.Playbook, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func probes(in []*pb.ContentProbe) ([]health.Probe, error) {
	if len(in) > maxProbes {
		return nil, fmt.Errorf("%d probes; at most %d", len(in), maxProbes)
	}
	var out []health.Probe
	for _, p := range in {
		if len(p.GetPath()) > maxPath || len(p.GetHeader()) > maxHeader || len(p.GetName()) > maxPath {
			return nil, fmt.Errorf("probe with a name, path or header of more than %d bytes", maxPath)
		}
		from, err := moment(p.GetModifiedFrom())
		if err != nil {
			return nil, err
		}
		to, err := moment(p.GetModifiedTo())
		if err != nil {
			return nil, err
		}
		out = append(out, health.Probe{
			Name: p.GetName(), Path: p.GetPath(), IgnoreCase: p.GetIgnoreCase(), Header: p.GetHeader(),
			ModifiedFrom: from, ModifiedTo: to, SHA256: p.GetSha256(), MinSize: p.GetMinSize(),
		})
	}
	return out, nil
}

func moment(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, fmt.Errorf("time window: %w", err)
	}
	return t.AsTime(), nil
}
