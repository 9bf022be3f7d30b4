package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pgServer is a PostgreSQL server of our own on a restored data directory. Nobody else reaches it: it listens on no address, only on a
// socket in a private folder, where its settings are too. Those of the data directory, which may name libraries, files and addresses
// that are not here, are not read; they are untouched when it has ended.
type pgServer struct {
	programs pgPrograms
	data     string
	room     string // the private folder
	user     string // the system user
	role     string // the database's superuser
	cmd      *exec.Cmd
	cancel   context.CancelFunc
	ready    chan struct{}
	ended    chan struct{}
	exit     error
	log      pgLog
}

// pgRecovery is what a server replays before it is ready; nil: what a crash would need.
type pgRecovery struct {
	moment time.Time // zero: all that there is
}

const (
	pgAuto    = "postgresql.auto.conf"
	pgAside   = "postgresql.auto.conf.blackstart" // pgAuto while a server of ours runs
	pgSocket  = 90                                // bytes that a socket's path may have, which is less than anywhere
	pgGrace   = 15 * time.Second                  // from an immediate shutdown until we kill; PostgreSQL kills its children after five
	pgTimeFmt = "2006-01-02 15:04:05.999999-07"
)

// startPG starts a server and returns when it accepts connections, all recovery done. ctx ends it.
func startPG(ctx context.Context, s SetWork, programs pgPrograms, data string, control map[string]string, recovery *pgRecovery) (*pgServer, error) {
	p := &pgServer{programs: programs, data: data, user: pgUser(s), role: pgRole(s), ready: make(chan struct{}), ended: make(chan struct{}),
		log: pgLog{tail: tailWriter{max: maxSaid / 2}}}
	if err := p.furnish(pgSettings(data, control, recovery)); err != nil {
		return nil, errors.Join(err, p.clear())
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, programs.path("postgres"), "-D", data, "-c", "config_file="+filepath.Join(p.room, "postgresql.conf"))
	p.cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	p.cmd.Dir = p.room
	p.cmd.Stderr = &lineWriter{told: p.hear}
	p.cmd.WaitDelay = pgGrace
	err := own(p.cmd, p.user)
	if err == nil {
		p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGQUIT) }
		err = p.cmd.Start()
	}
	if err != nil {
		p.cancel()
		return nil, errors.Join(&Fault{Failed, "program cannot be started", sentence(fmt.Sprintf("%s cannot be started: %v", programs.path("postgres"), err))}, p.clear())
	}
	go func() {
		p.exit = p.cmd.Wait()
		sweep(p.cmd)
		close(p.ended)
	}()
	select {
	case <-p.ready:
		return p, nil
	case <-p.ended:
	}
	err = p.failed(ctx)
	return nil, errors.Join(err, p.kill())
}

// hear reads the server's log.
func (p *pgServer) hear(line string) {
	if strings.Contains(line, "database system is ready to accept connections") {
		p.log.once.Do(func() { close(p.ready) })
	}
	p.log.add(line)
}

// stop shuts the server down cleanly, and puts everything back.
func (p *pgServer) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	<-p.ended                              // ctx ends it too
	err := p.exit
	if err != nil {
		err = p.failed(ctx)
	}
	p.cancel()
	return errors.Join(err, p.clear())
}

// kill ends the server at once, and puts everything back. Doing so after stop changes nothing.
func (p *pgServer) kill() error {
	p.cancel()
	<-p.ended
	return p.clear()
}

// furnish makes the private folder.
func (p *pgServer) furnish(settings string) error {
	parent := os.TempDir()
	if len(parent)+len("/pg1234567890/.s.PGSQL.5432") > pgSocket {
		parent = "/tmp"
	}
	room, err := os.MkdirTemp(parent, "pg")
	if err != nil {
		return err
	}
	p.room = room
	settings += pgSetting("unix_socket_directories", room) + pgSetting("hba_file", room+"/hba.conf") + pgSetting("ident_file", room+"/ident.conf")
	for name, text := range map[string]string{"postgresql.conf": settings, "hba.conf": "local all all trust\n", "ident.conf": ""} {
		if err := os.WriteFile(filepath.Join(room, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := pgOwn(room, p.user); err != nil {
		return err
	}
	if err := pgPutBack(p.data); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(p.data, pgAuto), filepath.Join(p.data, pgAside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// clear takes the private folder away and gives the data directory its settings back.
func (p *pgServer) clear() error {
	if p.room == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(p.data, "postmaster.opts")); err != nil && !errors.Is(err, fs.ErrNotExist) { // it names our settings
		return err
	}
	return errors.Join(os.RemoveAll(p.room), pgPutBack(p.data))
}

// pgPutBack undoes what a server of ours did to the settings, also one that was cut off.
func pgPutBack(data string) error {
	if err := os.Rename(filepath.Join(data, pgAside), filepath.Join(data, pgAuto)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// pgSettings are all settings of a server of ours. What the data depends on is as the control file says it was.
func pgSettings(data string, control map[string]string, recovery *pgRecovery) string {
	slots, _ := os.ReadDir(filepath.Join(data, "pg_replslot")) // none is as good as an error
	level := control["wal_level setting"]
	if level != "logical" {
		level = "replica" // an archive recovery refuses less
	}
	var b strings.Builder
	set := func(name, value string) { b.WriteString(pgSetting(name, value)) }
	kept := func(name, setting string) {
		if value := control[setting+" setting"]; value != "" {
			set(name, value)
		}
	}
	set("listen_addresses", "")
	set("port", "5432") // of the socket alone
	set("unix_socket_permissions", "0700")
	set("log_destination", "stderr")
	set("logging_collector", "off")
	set("log_line_prefix", "")
	set("log_timezone", "UTC")
	set("timezone", "UTC")
	set("lc_messages", "C")
	set("archive_mode", "off")
	set("hot_standby", "off")
	set("autovacuum", "off")
	set("max_logical_replication_workers", "0") // no subscription may fetch anything
	set("max_replication_slots", strconv.Itoa(len(slots)+10))
	set("restart_after_crash", "off")
	set("wal_level", level)
	kept("wal_log_hints", "wal_log_hints")
	kept("max_connections", "max_connections")
	kept("max_worker_processes", "max_worker_processes")
	kept("max_wal_senders", "max_wal_senders")
	kept("max_prepared_transactions", "max_prepared_xacts")
	kept("max_locks_per_transaction", "max_locks_per_xact")
	kept("track_commit_timestamp", "track_commit_timestamp")
	if recovery != nil {
		set("restore_command", "false") // all that there is lies in pg_wal
		set("recovery_target_timeline", "current")
		set("recovery_target_action", "promote")
		if !recovery.moment.IsZero() {
			set("recovery_target_time", recovery.moment.UTC().Format(pgTimeFmt))
			set("recovery_target_inclusive", "on")
		}
	}
	return b.String()
}

func pgSetting(name, value string) string {
	return name + " = '" + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), "'", "''") + "'\n"
}

// client is a run of one of PostgreSQL's client programs on a database. Nothing that roles or databases have as their settings can hide
// damage from it.
func (p *pgServer) client(program, database string, settings []string, args ...string) command {
	settings = append([]string{"zero_damaged_pages=off", "ignore_checksum_failure=off", "session_preload_libraries=", "local_preload_libraries=",
		"statement_timeout=0", "lock_timeout=0", "idle_in_transaction_session_timeout=0", "row_security=off", "datestyle=ISO", "timezone=UTC", "client_min_messages=warning"}, settings...)
	return command{path: p.programs.path(program), args: args, dir: p.room, user: p.user, env: []string{
		"PGHOST=" + p.room, "PGPORT=5432", "PGUSER=" + p.role, "PGDATABASE=" + database, "PGCONNECT_TIMEOUT=60", "PGPASSFILE=" + filepath.Join(p.room, "none"),
		"PGCLIENTENCODING=UTF8", "PGOPTIONS=-c " + strings.Join(settings, " -c "),
	}}
}

const (
	pgColumn    = "\x1f"
	pgRow       = "\x1e"
	pgMaxAnswer = 1 << 20 // bytes
)

// query runs SQL as it stands in transactions of its own, and returns the rows. said is what the server had against it.
func (p *pgServer) query(ctx context.Context, database string, settings []string, sql ...string) (rows [][]string, said string, err error) {
	args := []string{"-X", "-q", "-A", "-t", "-w", "-F", pgColumn, "-R", pgRow, "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"}
	for _, one := range sql {
		args = append(args, "-c", " "+one) // the blank keeps psql from reading it as a command of its own
	}
	answer := &pgAnswer{}
	c := p.client("psql", database, settings, args...)
	c.out = answer
	e, err := c.run(ctx)
	switch {
	case err != nil:
		return nil, "", err
	case e.exit != 0 || e.signal != "":
		return nil, "psql: " + e.said, nil
	case answer.over:
		return nil, "the answer is longer than a megabyte", nil
	case answer.Len() == 0:
		return nil, "", nil
	}
	for row := range strings.SplitSeq(strings.TrimSuffix(answer.String(), "\n"), pgRow) {
		rows = append(rows, strings.Split(row, pgColumn))
	}
	return rows, "", nil
}

// pgAnswer keeps an answer up to a bound.
type pgAnswer struct {
	bytes.Buffer
	over bool
}

func (a *pgAnswer) Write(p []byte) (int, error) {
	if a.Len()+len(p) > pgMaxAnswer {
		a.over = true
		return len(p), nil
	}
	return a.Buffer.Write(p)
}

// pgLog keeps the complaints of a server.
type pgLog struct {
	once sync.Once
	tail tailWriter
}

var pgComplaint = regexp.MustCompile(`^(ERROR|FATAL|PANIC|DETAIL|HINT):|^LOG:  (could not|invalid|server process|startup process)|^postgres: `)

func (l *pgLog) add(line string) {
	if pgComplaint.MatchString(line) {
		_, _ = l.tail.Write([]byte(line + "\n")) // into memory
	}
}

// failed is why the server ended by itself.
func (p *pgServer) failed(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	said := p.log.tail.String()
	if said == "" {
		said = fmt.Sprint(p.exit)
	}
	return pgComplains("The database", said)
}

// pgServerError matches the word of a server, in contrast to that of a client.
var pgServerError = regexp.MustCompile(`\b(ERROR|FATAL|PANIC):|closed the connection unexpectedly|terminated by signal`)

// pgSurroundings matches a server's complaints about this machine and what is installed on it. Its others are taken for damage of the data.
var pgSurroundings = regexp.MustCompile(`could not access file "\$|could not load library|could not find function|[Oo]ut of memory|Cannot allocate memory|shared memory|semaphore|` +
	`could not bind|could not create any Unix|lock file|[Pp]ermission denied|invalid permissions|wrong ownership|incompatible|is not available|could not open extension control|terminated by signal 9|` +
	`due to administrator command|role "[^"]*" does not exist|is not permitted to log in|could not fork|too many clients|statement timeout|parameter|configuration file`)

// pgComplains makes a Fault of what a program of PostgreSQL said: with SignatureDamagedPoint when it is a server's
// and nothing speaks for the machine as the cause.
func pgComplains(who, said string) *Fault {
	said = clean(said, maxSaid/2)
	switch {
	case strings.Contains(said, "No space left on device") || strings.Contains(said, "Disk quota exceeded"):
		return &Fault{Failed, signatureFull, sentence(who + " has no space left on the disk; make room there and try again: " + said)}
	case !pgServerError.MatchString(said) || pgSurroundings.MatchString(said):
		return &Fault{Failed, "database programs fail", sentence(who + " cannot be used on this machine; put that right and try again: " + said)}
	default:
		return &Fault{Failed, SignatureDamagedPoint, sentence(who + " is damaged: " + said)}
	}
}

// pgUser is the system user that a database runs as.
func pgUser(s SetWork) string {
	if name := s.Set.Options["user"]; name != "" {
		return name
	}
	return "postgres"
}

// pgRole is the superuser within the database.
func pgRole(s SetWork) string {
	if name := s.Set.Options["role"]; name != "" {
		return name
	}
	return "postgres"
}

// pgOwn gives a folder and all in it to a system user, when we are root, else everything runs as ourselves. PostgreSQL refuses a data
// directory that others may look into.
func pgOwn(dir, name string) error {
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() && info.Mode().Perm()&^0o750 != 0 {
		err = os.Chmod(dir, 0o700) //nolint:gosec // a folder
	}
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	return pgGive(dir, name)
}

func pgGive(dir, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return &Fault{Failed, "no such user", sentence(fmt.Sprintf("There is no user %q on this machine: %v; install PostgreSQL, or name its user as option \"user\"", name, err))}
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	})
}
