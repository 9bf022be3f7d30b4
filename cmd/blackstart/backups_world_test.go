package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// noon is when the tests' coordinator says that it is.
var noon = time.Date(2024, 7, 19, 12, 0, 0, 0, time.UTC)

func at(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-before)) }

// pointOfSet is a point so many hours old, with checks given as "L3 ok" or "L2 bad".
func pointOfSet(set, id string, hours int, checks ...string) *pb.RestorePoint {
	age := time.Duration(hours) * time.Hour
	p := &pb.RestorePoint{DataSet: set, Host: "db1", Repository: "vault", Id: id, Kind: "files", TakenAt: at(age), SeenAt: at(time.Minute), Level: "L0", Size: 40_000_000_000}
	for _, c := range checks {
		level, word, _ := strings.Cut(c, " ")
		v := &pb.PointVerdict{Level: level, Ok: word == "ok", At: at(age / 2), By: "engine check"}
		if v.GetOk() {
			p.Level = level
		} else {
			v.Detail = "page 7 of \x1b[31mpeople\x1b[0m\nis torn"
			p.QuarantinedFrom, p.QuarantinedBy, p.QuarantineReason = p.GetTakenAt(), "engine", "it failed at "+level
		}
		p.Checks = append(p.Checks, v)
	}
	return p
}

// fakeCoordinator answers operators as its fields say.
type fakeCoordinator struct {
	pb.UnimplementedOperatorServiceServer
	points   *pb.ListPointsResponse
	audit    *pb.AuditBackupsResponse
	bisected []*pb.BisectBackupsResponse
	host     *pb.Host
	plan     *pb.PlanResponse
	incident *pb.Incident
	told     func(grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error // of the work that is under way; nil: there is none
	asked    []proto.Message
}

func (f *fakeCoordinator) ListPoints(_ context.Context, r *pb.ListPointsRequest) (*pb.ListPointsResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetDataSet() == "nope" {
		return nil, status.Error(codes.NotFound, "data set nope is not in the fleet file")
	}
	return f.points, nil
}

func (f *fakeCoordinator) WatchBackups(_ *pb.WatchBackupsRequest, stream grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error {
	if f.told == nil {
		return stream.Send(&pb.WatchBackupsResponse{Now: timestamppb.New(noon)})
	}
	return f.told(stream)
}

func (f *fakeCoordinator) ScanBackups(_ context.Context, r *pb.ScanBackupsRequest) (*pb.ScanBackupsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.ScanBackupsResponse{DataSets: []string{"people-db"}}, nil
}

func (f *fakeCoordinator) VerifyBackups(_ context.Context, r *pb.VerifyBackupsRequest) (*pb.VerifyBackupsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.VerifyBackupsResponse{Work: []*pb.BackupWork{{Job: "verify/people-db/1", Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11", Level: "L3", Runner: "db1"}}}, nil
}

func (f *fakeCoordinator) JudgePoints(_ context.Context, r *pb.JudgePointsRequest) (*pb.JudgePointsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.JudgePointsResponse{Points: f.points.GetPoints()}, nil
}

func (f *fakeCoordinator) AuditBackups(_ context.Context, r *pb.AuditBackupsRequest) (*pb.AuditBackupsResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetFormat() == pb.ReportFormat_REPORT_FORMAT_MARKDOWN {
		return &pb.AuditBackupsResponse{Body: []byte("# Backups\n\n"), Short: f.audit.GetShort()}, nil
	}
	return f.audit, nil
}

func (f *fakeCoordinator) BisectBackups(r *pb.BisectBackupsRequest, stream grpc.ServerStreamingServer[pb.BisectBackupsResponse]) error {
	f.asked = append(f.asked, r)
	for _, b := range f.bisected {
		if err := stream.Send(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeCoordinator) ShowHost(context.Context, *pb.ShowHostRequest) (*pb.ShowHostResponse, error) {
	return &pb.ShowHostResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) ListHosts(context.Context, *pb.ListHostsRequest) (*pb.ListHostsResponse, error) {
	return &pb.ListHostsResponse{Hosts: []*pb.Host{f.host}}, nil
}

func (f *fakeCoordinator) ShowIncident(context.Context, *pb.ShowIncidentRequest) (*pb.ShowIncidentResponse, error) {
	return &pb.ShowIncidentResponse{Incident: f.incident}, nil
}

func (f *fakeCoordinator) Plan(context.Context, *pb.PlanRequest) (*pb.PlanResponse, error) {
	return f.plan, nil
}

func (f *fakeCoordinator) ApproveRestore(_ context.Context, r *pb.ApproveRestoreRequest) (*pb.ApproveRestoreResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetLoss().AsDuration() < f.host.GetRestore().GetLoss().AsDuration() {
		return nil, status.Error(codes.FailedPrecondition, "more is lost by now")
	}
	return &pb.ApproveRestoreResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) CancelAttempt(_ context.Context, r *pb.CancelAttemptRequest) (*pb.CancelAttemptResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.CancelAttemptResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) Declare(_ context.Context, r *pb.DeclareRequest) (*pb.DeclareResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.DeclareResponse{Incident: &pb.Incident{Id: "2024-07-19-1", Counts: &pb.Counts{}, Forecast: &pb.Forecast{}}}, nil
}

// serve answers calls of the commands that the returned function runs, as `blackstart ARGS` would be.
func (f *fakeCoordinator) serve(t *testing.T) func(args ...string) (stdout string, said string, exit int) {
	t.Helper()
	dir := fakeCertificates(t)
	addr, stop := f.listen(t, dir, "127.0.0.1:0")
	t.Cleanup(stop)
	return func(args ...string) (string, string, int) { return asOperator(t, dir, addr, args...) }
}

// fakeCertificates returns the folder of a coordinator and its operator.
func fakeCertificates(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := pki.Init(dir, pki.Options{Operator: "operator"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listen answers at an address until stop is called, which breaks the connections.
func (f *fakeCoordinator) listen(t *testing.T, dir, where string) (addr string, stop func()) {
	t.Helper()
	tls, err := pki.ServerTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", where)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)))
	pb.RegisterOperatorServiceServer(s, f)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return l.Addr().String(), func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// asOperator runs `blackstart ARGS` against the coordinator at an address.
func asOperator(t *testing.T, dir, addr string, args ...string) (stdout, said string, exit int) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"--dir", dir, "--coordinator", addr, "--operator", "operator"}, args...))
	said, exit = end(root.ExecuteContext(t.Context()))
	return out.String(), said, exit
}

// lacks reports which of the patterns, read with white space folded, an output lacks.
func lacks(out string, wanted ...string) []string {
	folded := strings.Join(strings.Fields(out), " ")
	var missing []string
	for _, w := range wanted {
		if !strings.Contains(folded, w) {
			missing = append(missing, w)
		}
	}
	return missing
}
