package api

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// A revision takes what the playbook folder holds by then. Agents that are connected get the new probes before they are asked for facts
// by them, whatever their hosts' phase; who calls later gets them at once.
func TestARevisionReachesConnectedAgents(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	a := w.phone("ns1", hello("ns1", "one", w.good()))
	defer a.cancel()
	a.next()
	well := w.phone("ns2", hello("ns2", "two", w.good()))
	defer well.cancel()
	well.next()
	in := w.declare() // both have been greeted, so they are known to be well: never hit
	b := w.phone("ns3", hello("ns3", "three", nil))
	defer b.cancel()
	b.next()
	if first := b.next().GetProbe().GetSets(); len(first) != 1 || first[0].GetPlaybookDigest() != in.GetPlaybookDigest() {
		t.Fatalf("ns3 is told %v", first)
	}
	if i := b.next(); i.GetVerify() == nil || i.GetId() != "ns3/0/verify/0" {
		t.Fatalf("ns3 is told %v", i)
	}
	op := w.operator()
	if _, err := op.Approve(w.ctx, &pb.ApproveRequest{Digest: in.GetPlanDigest()}); err != nil {
		t.Fatal(err)
	}
	revise := func(book, reason string) (*pb.ReviseIncidentResponse, error) {
		return op.ReviseIncident(w.ctx, &pb.ReviseIncidentRequest{Playbook: book, Reason: reason})
	}
	if _, err := revise("", "why not"); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same version: %v", err)
	}
	if _, err := revise("none", "why not"); status.Code(err) != codes.NotFound {
		t.Errorf("another playbook: %v", err)
	}
	w.write("manifest.yaml", strings.Replace(testManifest, "reboot: required", "reboot: sometimes", 1))
	if _, err := revise("", "broken"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "manifest.yaml") {
		t.Errorf("a broken manifest: %v", err)
	}
	w.write("manifest.yaml", strings.Replace(strings.Replace(testManifest, "header: AA 01", "header: AA 01 07", 1), "reboot: required", "reboot: helps", 1))
	if _, err := revise("", ""); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "reason") {
		t.Errorf("without a reason: %v", err)
	}
	late := w.phone("ns2", hello("ns2", "two", w.good()))
	defer late.cancel()
	late.next()
	if sets := late.next().GetProbe().GetSets(); len(sets) != 1 || sets[0].GetPlaybookDigest() != in.GetPlaybookDigest() {
		t.Errorf("the folder is new, the incident is not, and ns2 is told to probe for %v", sets)
	}

	out, err := revise("mend", "the vendor has found more")
	if err != nil {
		t.Fatal(err)
	}
	digest := out.GetIncident().GetPlaybookDigest()
	if digest == in.GetPlaybookDigest() || !slices.Equal(out.GetChanges(), []string{"other probes for bad content", "reboot helps, before required"}) {
		t.Errorf("%s, changes %q", digest, out.GetChanges())
	}
	if v := out.GetIncident().GetPlaybookVersions(); len(v) != 2 || v[0].GetDigest() != in.GetPlaybookDigest() || v[1].GetDigest() != digest || v[1].GetReason() != "the vendor has found more" {
		t.Errorf("versions %v", v)
	}
	for name, c := range map[string]struct {
		agent *agent
		id    string
	}{"ns1": {a, "ns1/revision/1"}, "ns2": {late, "ns2/revision/1"}, "ns3": {b, "ns3/"}} {
		sets := c.agent.next().GetProbe().GetSets()
		if len(sets) != 1 || sets[0].GetPlaybookDigest() != digest || len(sets[0].GetBad()[0].GetHeader()) != 3 {
			t.Errorf("%s is told to probe for %v", name, sets)
		}
		if i := c.agent.next(); i.GetVerify() == nil || !strings.HasPrefix(i.GetId(), c.id) || !strings.Contains(i.GetId(), "/revision/1") {
			t.Errorf("then %s is told %v", name, i)
		}
	}

	// Going back: the version that the folder no longer holds is known by its digest.
	if out, err = revise(in.GetPlaybookDigest()[:20], "back"); err != nil || out.GetIncident().GetPlaybookDigest() != in.GetPlaybookDigest() {
		t.Fatalf("%v, %v", out.GetIncident().GetPlaybookDigest(), err)
	}
	if sets := a.next().GetProbe().GetSets(); len(sets) != 1 || sets[0].GetPlaybookDigest() != in.GetPlaybookDigest() {
		t.Errorf("ns1 is told to probe for %v", sets)
	}
	d := w.phone("ns1", hello("ns1", "one", nil))
	defer d.cancel()
	d.next()
	if sets := d.next().GetProbe().GetSets(); len(sets) != 1 || sets[0].GetPlaybookDigest() != in.GetPlaybookDigest() {
		t.Errorf("who calls later is told to probe for %v", sets)
	}
}
