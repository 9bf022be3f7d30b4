package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	pgCheckBy    = "pg_dump and pg_amcheck"
	pgSchema     = "blackstart_check" // holds amcheck where it is not installed, during a check
	pgAnswerTime = 30 * time.Minute   // for one invariant
	pgUniqueFrom = 17                 // pg_amcheck finds duplicates under a unique index from this version on
)

// Check starts a server on dir. L3 reads every table and large object of every database with pg_dump, and holds tables and B-tree
// indexes against each other with pg_amcheck; both write to nowhere. L4 asks the invariants in read-only transactions.
//
// Every start writes a checkpoint and statistics into dir. Where amcheck is not installed it is, in a schema of its own, and
// dropped again. What the server says against the data is a check that failed; what may be the fault of this machine is an error.
func (pgEngine) Check(ctx context.Context, s SetWork, dir string, level int) ([]Check, error) {
	checks, err := pgCheck(ctx, s, dir, level)
	return checks, faultOf(ctx, "check of the database", err)
}

func pgCheck(ctx context.Context, s SetWork, dir string, level int) ([]Check, error) {
	if level < 3 {
		return nil, nil
	}
	programs, control, err := pgOpenData(ctx, s, dir)
	if err != nil {
		return pgVerdict(s, err)
	}
	if err := pgOwn(dir, pgUser(s)); err != nil {
		return nil, err
	}
	server, err := startPG(ctx, s, programs, dir, control, nil)
	if err != nil {
		return pgVerdict(s, err)
	}
	checks, err := server.checks(ctx, s, dir, level)
	if stopped := server.stop(ctx); err == nil && checks[len(checks)-1].OK { // damage may keep it from stopping cleanly
		err = stopped
	}
	if err != nil {
		return nil, err
	}
	return checks, nil
}

// checks makes all checks up to the level, or to the first that fails.
func (p *pgServer) checks(ctx context.Context, s SetWork, dir string, level int) ([]Check, error) {
	detail, err := p.sound(ctx)
	if err != nil {
		return pgVerdict(s, err)
	}
	return invariants(ctx, s, dir, level, []Check{checkOf(s, 3, pgCheckBy, true, detail)}, p.ask)
}

// pgVerdict makes a failed check of damage, and leaves every other error one.
func pgVerdict(s SetWork, err error) ([]Check, error) {
	var fault *Fault
	if !errors.As(err, &fault) || fault.Signature != SignatureDamagedPoint {
		return nil, err
	}
	return []Check{checkOf(s, 3, pgCheckBy, false, cut(fault.Detail, maxAnswer))}, nil
}

// sound is L3. Its error has SignatureDamagedPoint when damage was found.
func (p *pgServer) sound(ctx context.Context) (string, error) {
	rows, said, err := p.query(ctx, pgAnyDatabase, nil, `select datname from pg_catalog.pg_database where datallowconn order by datname`)
	if err != nil {
		return "", err
	}
	if said != "" || len(rows) == 0 {
		return "", pgComplains("The list of databases", said)
	}
	err = p.read(ctx, rows)
	for _, row := range rows {
		if gone := p.change(ctx, row[0], pgUninstall); err == nil {
			err = gone
		}
	}
	return fmt.Sprintf("%d databases hold", len(rows)), err
}

// read has every database read in full.
func (p *pgServer) read(ctx context.Context, databases [][]string) error {
	for _, row := range databases {
		if err := p.install(ctx, row[0]); err != nil {
			return err
		}
	}
	if err := p.amcheck(ctx); err != nil {
		return err
	}
	for _, row := range databases {
		if err := p.dump(ctx, "pg_dump", row[0]); err != nil {
			return err
		}
	}
	return p.dump(ctx, "pg_dumpall", pgAnyDatabase, "--globals-only")
}

const (
	pgUninstall = "drop schema if exists " + pgSchema + " cascade"
	pgInstall   = `do $do$ begin
		if not exists (select from pg_catalog.pg_extension where extname = 'amcheck') then
			create schema ` + pgSchema + `;
			create extension amcheck with schema ` + pgSchema + `;
		end if;
	end $do$`
)

// install sees to it that a database has amcheck; a schema of ours that is there is of a check that was cut off.
func (p *pgServer) install(ctx context.Context, database string) error {
	return p.change(ctx, database, pgUninstall, pgInstall)
}

// change runs SQL that changes a database. Its event triggers are not asked.
func (p *pgServer) change(ctx context.Context, database string, sql ...string) error {
	_, said, err := p.query(ctx, database, []string{"session_replication_role=replica", "default_transaction_read_only=off"}, sql...)
	if err == nil && said != "" {
		err = pgComplains("Database "+cut(database, 63), said)
	}
	return err
}

func (p *pgServer) amcheck(ctx context.Context) error {
	args := []string{"--all", "--heapallindexed", "--parent-check", "--no-password"}
	if p.programs.major >= pgUniqueFrom {
		args = append(args, "--checkunique")
	}
	var found []string
	c := p.client("pg_amcheck", pgAnyDatabase, nil, args...)
	c.line = func(line string) {
		if len(found) < 4 {
			found = append(found, line)
		}
	}
	e, err := c.run(ctx)
	switch {
	case err != nil:
		return err
	case e.exit == 0 && e.signal == "":
		return nil
	case len(found) > 0 && e.exit == 2: // its own word for corruption
		return &Fault{Failed, SignatureDamagedPoint, sentence("Data is damaged, pg_amcheck finds: " + strings.Join(found, " "))}
	default:
		return pgComplains("A database under pg_amcheck", strings.Join(found, " ")+" "+e.said)
	}
}

func (p *pgServer) dump(ctx context.Context, program, database string, args ...string) error {
	args = append(args, "--no-password", "--no-sync", "--file="+os.DevNull)
	e, err := p.client(program, database, nil, args...).run(ctx)
	if err == nil && (e.exit != 0 || e.signal != "") {
		err = pgComplains("Database "+cut(database, 63)+" under "+program, e.said)
	}
	return err
}

// pgBadData matches the errors of a server whose data is damaged, by their codes, and a server that fell over it.
var pgBadData = regexp.MustCompile(`(ERROR|FATAL|PANIC): +(XX|58|22021)|server closed the connection unexpectedly`)

// ask is L4: the answer of one invariant, held against what it must be.
func (p *pgServer) ask(ctx context.Context, s SetWork, dir string, inv Invariant) (Check, error) {
	database := s.Set.Options["database"]
	if database == "" {
		database = "postgres"
	}
	settings := []string{"default_transaction_read_only=on", fmt.Sprintf("statement_timeout=%d", pgAnswerTime.Milliseconds())}
	if inv.SQL == "" {
		return p.askProgram(ctx, s, dir, inv, database, settings)
	}
	rows, said, err := p.query(ctx, database, settings, "begin read only", inv.SQL, "rollback")
	switch {
	case err != nil:
		return Check{}, err
	case pgBadData.MatchString(said) && !pgSurroundings.MatchString(said):
		return checkOf(s, 4, "invariant "+inv.Name, false, cut(clean(said, maxSaid), maxAnswer)), nil
	case said != "":
		return Check{}, pgNoAnswer(s, inv, said)
	case len(rows) > 1:
		return Check{}, pgNoAnswer(s, inv, fmt.Sprintf("its answer has %d rows; ask for one", len(rows)))
	case len(rows) == 0:
		return answered(s, inv, nil)
	}
	return answered(s, inv, rows[0])
}

// askProgram runs an invariant's program as a client of the server: the variables of libpq lead it there.
func (p *pgServer) askProgram(ctx context.Context, s SetWork, dir string, inv Invariant, database string, settings []string) (Check, error) {
	if len(inv.Command) == 0 {
		return Check{}, pgNoAnswer(s, inv, "it has neither SQL nor a program")
	}
	limited, cancel := context.WithTimeout(ctx, pgAnswerTime)
	defer cancel()
	c := p.client("", database, settings, inv.Command[1:]...)
	c.path = inv.Command[0]
	c.env = append(c.env, "BLACKSTART_RESTORED="+dir, "BLACKSTART_DATA_SET="+s.Set.Name, "BLACKSTART_HOST="+s.Set.Host,
		"BLACKSTART_POINT="+s.Point, "BLACKSTART_MOMENT="+momentOf(s).UTC().Format(time.RFC3339))
	var first, last string
	c.line = func(line string) {
		if line = clean(line, maxSaid); line == "" {
			return
		}
		if last = line; first == "" {
			first = line
		}
	}
	e, err := c.run(limited)
	if e.said != "" {
		last = e.said
	}
	switch {
	case ctx.Err() == nil && limited.Err() != nil:
		return Check{}, pgNoAnswer(s, inv, "its program did not end in time")
	case err != nil:
		return Check{}, err
	case e.signal != "", e.exit == exitNotRun, e.exit == exitNotFound:
		return Check{}, pgNoAnswer(s, inv, fmt.Sprintf("its program ended with exit status %d %s: %s", e.exit, e.signal, last))
	case e.exit != 0:
		return checkOf(s, 4, "invariant "+inv.Name, false, cut(fmt.Sprintf("exit status %d: %s", e.exit, clean(last, maxAnswer)), maxAnswer)), nil
	}
	return answered(s, inv, strings.Fields(first))
}

func pgNoAnswer(s SetWork, inv Invariant, why string) *Fault {
	return &Fault{Failed, signatureNoAnswer, sentence(fmt.Sprintf("Invariant %.100q of data set %q cannot be checked: %s; correct it in the fleet file", inv.Name, s.Set.Name, cut(clean(why, maxSaid), maxSaid/2)))}
}
