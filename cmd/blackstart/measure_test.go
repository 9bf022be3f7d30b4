package main

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func TestAmounts(t *testing.T) {
	for n, want := range map[int64]string{-1: "0 B", 0: "0 B", 999: "999 B", 1000: "1 kB", 1500: "1.5 kB", 9_949: "9.9 kB", 9_950: "10 kB", 999_499: "999 kB",
		999_500: "1 MB", 9_960_000: "10 MB", 40_000_000_000: "40 GB", 1_500_000_000_000: "1.5 TB", math.MaxInt64: "9.2 EB"} {
		if got := amount(n); got != want {
			t.Errorf("%d bytes are shown as %q, not %q", n, got, want)
		}
	}
}

func TestAbout(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Hour: "0 s", 0: "0 s", 89 * time.Second: "89 s", 90 * time.Second: "2 min", 12*time.Minute + 10*time.Second: "12 min",
		89 * time.Minute: "89 min", 90 * time.Minute: "1 h 30 min", 5 * time.Hour: "5 h", 47 * time.Hour: "47 h", 48 * time.Hour: "2 days", 80 * time.Hour: "3 days"} {
		if got := about(d); got != want {
			t.Errorf("%s is shown as %q, not %q", d, got, want)
		}
	}
}

// Whoever consents to a loss reads no less than it is.
func TestALossIsNeverShownSmaller(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "-", time.Second: "1 min", time.Minute: "1 min", time.Minute + 1: "2 min", 89 * time.Minute: "89 min",
		90 * time.Minute: "90 min (1 h 30 min)", 14 * 24 * time.Hour: "20160 min (14 days)"} {
		if got := minutes(d); got != want {
			t.Errorf("%s is shown as %q, not %q", d, got, want)
		}
	}
}

func TestHowFar(t *testing.T) {
	for want, p := range map[string]*pb.Progress{
		"restoring people-db: 41 % of 40 GB, 95 MB/s, 12 min left": {Stage: "restoring people-db", Done: 16_400_000_000, Total: 40_000_000_000, Rate: 95_000_000, Left: durationpb.New(12 * time.Minute)},
		"restoring people-db: 100 % of 1 kB":                       {Stage: "restoring people-db", Done: 2000, Total: 1000},
		"restoring people-db: 3 GB":                                {Stage: "restoring people-db", Done: 3_000_000_000},
		"checking people-db":                                       {Stage: "check\x1b[2Jing\npeople-db\x07"},
		"0 % of 9.2 EB":                                            {Done: -5, Total: math.MaxInt64},
		"":                                                         {},
	} {
		if got := howFar(p); got != want {
			t.Errorf("it is shown as %q, not %q", got, want)
		}
	}
}
