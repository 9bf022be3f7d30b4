package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// townAudit is what the audit finds in a town with a database whose backups may all be bad, a file store with what was promised, and a
// server that nobody backs up.
func townAudit(t *testing.T) catalog.Audit {
	t.Helper()
	const day = 24 * time.Hour
	now := time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC)
	f := recovery.Fleet{Name: "town", Tiers: []recovery.Tier{{Name: "first"}},
		Services: []recovery.Service{{Name: "people", Title: "People register", Tier: "first", Council: "North", Owner: "Ada"}, {Name: "files", Title: "Shared files", Tier: "first"}},
		Hosts: []recovery.Host{
			{Name: "db1", Service: "people", Tier: "first", Council: "North", Data: recovery.DataPrimary},
			{Name: "erp1", Service: "people", Tier: "first", Data: recovery.DataPrimary},
			{Name: "fs1", Service: "files", Tier: "first", Data: recovery.DataReplica},
		},
		Repositories: []recovery.Repository{{Name: "vault", Kind: recovery.RepositoryRestic, OffSite: true}},
		DataSets: []recovery.DataSet{
			{Name: "files", Host: "fs1", Kind: recovery.PointFiles, Repository: "vault", Policy: "files-1y"},
			{Name: "people-db", Host: "db1", Kind: recovery.PointDatabase, Repository: "vault", Policy: "hourly-14d", Engine: recovery.EnginePostgreSQL},
		},
		BackupPolicies: []recovery.BackupPolicy{
			{Name: "files-1y", Every: day, Keep: 365 * day, Level: recovery.L1, Verify: 30 * day, OffSite: true},
			{Name: "hourly-14d", Every: time.Hour, Keep: 14 * day, Logs: true, Level: recovery.L3, Verify: 7 * day, OffSite: true},
		},
	}
	c := catalog.New(f)
	var points []recovery.RestorePoint
	for i := range 14 {
		at := now.Add(-time.Hour - time.Duration(i)*day)
		points = append(points, recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: "people-db", Repository: "vault", ID: at.Format(time.DateOnly)},
			Kind: recovery.PointDatabase, TakenAt: at, Until: at.Add(min(day, now.Sub(at))), SeenAt: at})
		points = append(points, recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: "files", Repository: "vault", ID: at.Format(time.DateOnly)},
			Kind: recovery.PointFiles, TakenAt: at, SeenAt: at, Checks: []recovery.PointCheck{{Level: recovery.L2, OK: true, At: at, By: "test"}}})
	}
	c.Apply(recovery.Entry{Seq: 1, At: now, Event: &recovery.PointsLearnt{Points: points}})
	return c.Audit(now)
}

// The page for the council stands in a file of its own, to be read.
func TestThePageForTheCouncil(t *testing.T) {
	got := BackupsMarkdown(townAudit(t))
	golden := filepath.Join("testdata", "backups.md")
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the page is no longer that of %s:\n%s", golden, got)
	}
}

// What a council must learn from the page, whatever its wording.
func TestWhatThePageSays(t *testing.T) {
	a := townAudit(t)
	text := string(BackupsMarkdown(a))
	answer, rest, found := strings.Cut(text, "## What falls short")
	if !found || !strings.Contains(answer, "No. Of 3 sets of data, 2 fall short of what was promised, and 1 is adequate") {
		t.Errorf("the answer is not at the beginning: %s", answer)
	}
	for _, want := range []string{"nothing is known to be backed up", "every backup that is kept may already hold damaged data", "no backup was ever tried out"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer does not say %q", want)
		}
	}
	if first := strings.Index(rest, "erp1"); first < 0 || first > strings.Index(rest, "people-db") {
		t.Error("what is not backed up at all does not come first")
	}
	for _, section := range []string{"## What to decide", "## All of them", "## What the words mean", "28 days"} {
		if !strings.Contains(rest, section) {
			t.Errorf("there is no %q", section)
		}
	}
	for _, r := range a.Rows {
		for _, f := range r.Findings {
			if known := findShortfall(f.Code); !known {
				t.Errorf("nobody explains %q", f.Code)
			}
		}
	}
	a.Rows, a.Short, a.Adequate = a.Rows[2:], 0, 1
	if text := string(BackupsMarkdown(a)); !strings.Contains(text, "Yes. ") || strings.Contains(text, "What to decide") {
		t.Errorf("all is well, and it says: %s", text)
	}
	if text := string(BackupsMarkdown(catalog.Audit{})); !strings.Contains(text, "Nobody knows.") {
		t.Errorf("nothing is known, and it says: %s", text)
	}
}

func findShortfall(code string) bool {
	for _, k := range shortfalls {
		if k.code == code {
			return true
		}
	}
	return false
}

// Every finding that the audit can make is put into words for people who decide.
func TestEveryFindingIsExplained(t *testing.T) {
	for _, code := range []string{catalog.FindingNoBackup, catalog.FindingMissing, catalog.FindingQuarantined, catalog.FindingCannotBeListed, catalog.FindingLate,
		catalog.FindingAllMayBeBad, catalog.FindingShortRetention, catalog.FindingGap, catalog.FindingNoLogs, catalog.FindingNeverVerified, catalog.FindingBelowLevel,
		catalog.FindingVerifiedLongAgo, catalog.FindingNoOffSite, catalog.FindingNoPolicy} {
		if !findShortfall(code) {
			t.Errorf("nobody explains %q", code)
		}
	}
}

// Text from outside has no meaning on the page.
func TestThePageIsNotWrittenByOthers(t *testing.T) {
	a := catalog.Audit{Fleet: "<script>", Short: 1, DataSets: 1, Rows: []catalog.AuditRow{{DataSet: "x|y", Host: "[a](http://evil)", Title: "**bold**\n# new",
		Findings: []catalog.Finding{{Code: catalog.FindingMissing, Text: "\x1b[2J| cell <img src=x>"}}}}}
	text := string(BackupsMarkdown(a))
	for _, bad := range []string{"<script>", "[a](", "**bold", "\n# new", "<img", "\x1b"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q stands in the page", bad)
		}
	}
}

// Programs read the JSON by these names.
func TestTheAuditForPrograms(t *testing.T) {
	data := BackupsJSON(townAudit(t))
	var doc struct {
		Fleet string `json:"fleet"`
		Short int    `json:"short"`
		Rows  []struct {
			DataSet    string    `json:"data_set"`
			Host       string    `json:"host"`
			Level      string    `json:"level"`
			Points     int       `json:"points"`
			VerifiedAt time.Time `json:"verified_at"`
			Findings   []struct {
				Code string `json:"code"`
				Text string `json:"text"`
			} `json:"findings"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Fleet != "town" || doc.Short != 2 || len(doc.Rows) != 3 || doc.Rows[0].Findings[0].Code != "no-backup" || doc.Rows[2].Level != "L2" || doc.Rows[2].Points != 14 || doc.Rows[2].VerifiedAt.IsZero() {
		t.Errorf("%s", data)
	}
	if empty := string(BackupsJSON(catalog.Audit{})); !strings.Contains(empty, `"rows": []`) {
		t.Errorf("no rows are %s", empty)
	}
}
