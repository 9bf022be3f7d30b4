package report

import (
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// News of restore points are told with the checks that hosts may wait for.
func TestNewsOfRestorePoints(t *testing.T) {
	two := make([]recovery.RestorePoint, 2)
	for _, c := range []struct {
		news recovery.PointsLearnt
		want string
	}{
		{recovery.PointsLearnt{Points: two[:1], Reason: "the catalog says so"}, "More is known of 1 restore point: the catalog says so"},
		{recovery.PointsLearnt{Points: two, Verifying: []string{"people"}}, "More is known of 2 restore points, and those of 1 data set are being verified"},
		{recovery.PointsLearnt{Verifying: []string{"files", "people"}}, "The restore points of 2 data sets are being verified"},
		{recovery.PointsLearnt{}, "No check of restore points is on its way any more"},
	} {
		if got := ofBackups(recovery.Entry{Event: &c.news}); got != c.want {
			t.Errorf("%+v is told as %q, not %q", c.news, got, c.want)
		}
	}
}
