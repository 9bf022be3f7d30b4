package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// BackupsJSON returns an audit of the backups for programs, indented, with a newline at the end.
func BackupsJSON(a catalog.Audit) []byte {
	a.Rows = append([]catalog.AuditRow{}, a.Rows...) // never null
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil { // an Audit made by a Catalog holds nothing that cannot be written
		data, _ = json.Marshal(map[string]string{"error": "the audit of the backups cannot be written: " + err.Error()})
	}
	return append(data, '\n')
}

// BackupsMarkdown returns an audit of the backups on a page fit for a council's agenda: the answer first, then what falls short, then what
// to decide. It holds no word of the trade that it does not explain. All times in it are UTC.
func BackupsMarkdown(a catalog.Audit) []byte {
	p := &page{}
	p.WriteString("# " + escape("Does every system have an adequate backup?") + "\n\n")
	p.line("Fleet %s, as of %s (UTC).", or(part(a.Fleet), "(unnamed)"), a.AsOf.UTC().Format("2 January 2006, 15:04"))
	p.heading(2, "The answer")
	p.answer(a)
	p.fallsShort(a)
	p.toDecide(a)
	p.allSystems(a)
	p.explain()
	return p.Bytes()
}

// answer is what a reader takes away who reads no further.
func (p *page) answer(a catalog.Audit) {
	switch {
	case len(a.Rows) == 0:
		p.line("Nobody knows. The fleet file names no data that is to be backed up, and no host that holds any.")
		return
	case a.Short == 0:
		p.line("Yes. Each of the %s that are backed up has what was promised for it. %s are kept.", plural(len(a.Rows), "set")+" of data", plural(a.Points, "backup"))
		return
	}
	p.line("No. Of %s, %d %s short of what was promised, and %d %s adequate. %s are kept in all.",
		plural(len(a.Rows), "set")+" of data", a.Short, verb(a.Short, "falls", "fall"), a.Adequate, verb(a.Adequate, "is", "are"), plural(a.Points, "backup"))
	p.WriteByte('\n')
	for _, k := range shortfalls {
		if n := withCode(a, k.code); n > 0 {
			p.item("In %d of %d %s.", n, len(a.Rows), k.means)
		}
	}
}

// shortfalls are the findings in the words of people who decide, and what there is to decide. The order is the audit's: the worst first.
var shortfalls = []struct{ code, means, decide string }{
	{catalog.FindingNoBackup, "nothing is known to be backed up", "Who has this data backed up, where, and from when on?"},
	{catalog.FindingMissing, "there is no backup at all", "Who has the first backup made, and by when?"},
	{catalog.FindingQuarantined, "backups were found damaged or are suspect, and must not be used", "Which older backup would be gone back to, and who makes a sound one now?"},
	{catalog.FindingCannotBeListed, "nobody can tell at present what the store of backups holds", "Who gets the store to answer again?"},
	{catalog.FindingLate, "the newest backup is older than promised", "Who finds out why backups stopped?"},
	{catalog.FindingAllMayBeBad, "every backup that is kept may already hold damaged data, because damage can stay unseen for longer than backups are kept",
		"Are backups to be kept for longer, or is what is in them to be checked more often and more thoroughly? Either costs something; doing neither risks losing the data for good."},
	{catalog.FindingShortRetention, "backups are thrown away sooner than promised", "Is the promise right or the setting, and who changes the other?"},
	{catalog.FindingGap, "backups are missing in between", "Who finds out why backups were left out?"},
	{catalog.FindingNoLogs, "only fixed times can be gone back to, where any moment was promised", "Is losing the work since the last backup acceptable, and if not, who sets up what is missing?"},
	{catalog.FindingNeverVerified, "no backup was ever tried out", "When is the first one tried out?"},
	{catalog.FindingBelowLevel, "backups are tried out less thoroughly than promised", "Who has them checked as far as was promised?"},
	{catalog.FindingVerifiedLongAgo, "backups were tried out too long ago", "Who has them checked again, and what kept it from being done?"},
	{catalog.FindingNoOffSite, "all copies lie in the same place as what they protect", "Where may a copy lie, and who pays for it?"},
	{catalog.FindingNoPolicy, "nobody has said what backup is adequate", "How much work may be lost, and for how long must one be able to go back?"},
}

func withCode(a catalog.Audit, code string) int {
	n := 0
	for i := range a.Rows {
		if hasFinding(&a.Rows[i], code) {
			n++
		}
	}
	return n
}

func hasFinding(r *catalog.AuditRow, code string) bool {
	for _, f := range r.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

func (p *page) fallsShort(a catalog.Audit) {
	if a.Short == 0 {
		return
	}
	p.heading(2, "What falls short")
	p.table("System", "What is backed up", "Owner", "What falls short")
	shown := 0
	for i := range a.Rows {
		r := &a.Rows[i]
		if len(r.Findings) == 0 {
			continue
		}
		if shown++; shown > storiesShown {
			continue
		}
		texts := make([]string, len(r.Findings))
		for k, f := range r.Findings {
			texts[k] = capital(inPlainWords.Replace(part(f.Text))) + "."
		}
		p.row(system(r), or(part(r.DataSet), "nothing")+" (on "+part(r.Host)+")", or(part(r.Owner), "–"), strings.Join(texts, " "))
	}
	if shown > storiesShown {
		p.WriteByte('\n')
		p.more(shown, storiesShown)
	}
}

// inPlainWords takes the words of the trade out of a finding.
var inPlainWords = strings.NewReplacer("restore point", "backup", "data set", "set of data", "repository", "store", "quarantined", "set aside as suspect",
	"the fleet file", "the list of systems", "the policy", "the promise", "policy ", "the promise ", "points are kept", "backups are kept")

// system names what people miss, and whose it is.
func system(r *catalog.AuditRow) string {
	name := or(part(r.Title), or(part(r.Service), part(r.Host)))
	if r.Council != "" {
		name += ", " + part(r.Council)
	}
	return name
}

func (p *page) toDecide(a catalog.Audit) {
	if a.Short == 0 {
		return
	}
	p.heading(2, "What to decide")
	for _, k := range shortfalls {
		var names []string
		for i := range a.Rows {
			if hasFinding(&a.Rows[i], k.code) {
				names = append(names, or(part(a.Rows[i].DataSet), part(a.Rows[i].Host)))
			}
		}
		if len(names) > 0 {
			p.item("Where %s (%s): %s", k.means, some(names, namesShown), k.decide)
		}
	}
}

func (p *page) allSystems(a catalog.Audit) {
	if len(a.Rows) == 0 {
		return
	}
	p.heading(2, "All of them")
	p.table("System", "What is backed up", "Promise", "Backups kept", "Oldest", "Newest", "Tried out", "Adequate")
	for i := range a.Rows {
		if i == storiesShown*5 {
			break
		}
		r := &a.Rows[i]
		tried := "never"
		if !r.VerifiedAt.IsZero() {
			tried = fmt.Sprintf("%s, on %s", inWords(r.Level), r.VerifiedAt.UTC().Format(time.DateOnly))
		}
		adequate := "yes"
		if len(r.Findings) > 0 {
			adequate = "no"
		}
		p.row(system(r), or(part(r.DataSet), "nothing"), or(part(r.Policy), "none"), fmt.Sprint(r.Points), day(r.Oldest), day(r.Newest), tried, adequate)
	}
	if len(a.Rows) > storiesShown*5 {
		p.WriteByte('\n')
		p.more(len(a.Rows), storiesShown*5)
	}
}

func day(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.DateOnly)
}

// inWords says how far a backup was tried out.
func inWords(l recovery.Level) string {
	switch l {
	case recovery.L0:
		return "not at all"
	case recovery.L1:
		return "the store is undamaged (L1)"
	case recovery.L2:
		return "it was put back in a separate place (L2)"
	case recovery.L3:
		return "the database program accepted it (L3)"
	case recovery.L4:
		return "its contents add up (L4)"
	case recovery.L5:
	}
	return "a person looked at it (L5)"
}

// explain is for readers who have never restored anything.
func (p *page) explain() {
	p.heading(2, "What the words mean")
	for _, s := range []string{
		"A backup is a copy of data as it was at one time. It is adequate when it keeps what was promised for it: how often one is made, for how long it is kept, how thoroughly it is tried out, and whether a copy lies elsewhere.",
		"That a backup exists says little. It is tried out in steps, each of which can find damage that those before it miss: the store is undamaged (L1); the data can be put back in a separate place (L2); the program that works with the data accepts it (L3); its contents add up, for example no person is there twice (L4); a person looked at it (L5).",
		"Damage can stay unseen for weeks, and is copied into every backup meanwhile. Once the last backup from before the damage has been thrown away, there is no way back. A municipality lost its way back like this: a power cut in January damaged a database, it was noticed in April, and backups were kept for fourteen days.",
		fmt.Sprintf("Where nobody has said for how long damage may stay unseen, this page assumes %d days.", int(catalog.AssumedUndetected/(24*time.Hour))),
	} {
		p.item("%s", s)
	}
}

// capital lets a sentence begin as sentences do.
func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}

func verb(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
