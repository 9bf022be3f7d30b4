package fleet

// The types below are the fleet file as a person writes it. Their tags are read twice: by the reader, which refuses every
// other key, and by the generator of fleet.schema.json.

type fileEntry struct {
	at             `what:"the fleet file"`
	Fleet          text                   `yaml:"fleet" jsonschema:"required" jsonschema_description:"The estate's name."`
	Policy         policyEntry            `yaml:"policy" jsonschema_description:"Numbers that hold for a whole incident; each has a sensible default."`
	Tiers          []tierEntry            `yaml:"tiers" jsonschema:"required" jsonschema_description:"The recovery order: the hosts of the first tier are wave 1, and so on."`
	Services       []serviceEntry         `yaml:"services" jsonschema_description:"What people use and miss."`
	Sites          table[whole]           `yaml:"sites" jsonschema_description:"Places, each with the number of hosts that may be worked on there at once; no number means no limit."`
	Resources      table[whole]           `yaml:"resources" jsonschema_description:"Whatever else is scarce, each with its number of slots: ssh (128 unless said otherwise), a hypervisor, a jump host."`
	Groups         []groupEntry           `yaml:"groups" jsonschema_description:"Pairs and clusters whose members must not be worked on all at once."`
	Repositories   table[repositoryEntry] `yaml:"repositories" jsonschema_description:"Where restore points lie. Each is also a resource of its name, whose slots are the restores at once."`
	BackupPolicies []backupPolicyEntry    `yaml:"backup-policies" jsonschema_description:"What services promise themselves of their backups, beside the built-in hourly-14d, daily-14d and files-1y."`
	Backups        []backupEntry          `yaml:"backups" jsonschema_description:"Data sets: what is backed up and restored as one, an entry for each or for many alike."`
	Power          table[controlEntry]    `yaml:"power" jsonschema_description:"What switches hosts on and off, by the names that hosts give as power:."`
	Boot           table[controlEntry]    `yaml:"boot" jsonschema_description:"What sets the boot target of hosts, by the names that rescue rungs give as boot:."`
	Ladders        table[[]rungEntry]     `yaml:"ladders" jsonschema_description:"Named ways into hosts, best rung first. A last rung of kind hands is added when missing."`
	Defaults       hostFields             `yaml:"defaults" jsonschema_description:"What a host has that says nothing else, nor do its site and groups."`
	DefaultsFor    []partEntry            `yaml:"defaults-for" jsonschema_description:"Defaults of one site or group. A host's own words come first, then its groups', then its site's, then defaults."`
	Hosts          []hostEntry            `yaml:"hosts" jsonschema:"required" jsonschema_description:"The servers, one entry for each or for many alike."`
}

type policyEntry struct {
	at               `what:"policy"`
	MaxAttempts      whole `yaml:"max-attempts" jsonschema_description:"Attempts per host, over all rungs, before a person must look."`
	MaxInFlight      whole `yaml:"max-in-flight" jsonschema_description:"The ramp's upper end: hosts worked on and not yet proven."`
	Backoff          span  `yaml:"backoff" jsonschema_description:"First wait after a host was not reached; it doubles."`
	BackoffMax       span  `yaml:"backoff-max" jsonschema_description:"The longest such wait."`
	TriesPerRung     whole `yaml:"tries-per-rung" jsonschema_description:"Tries on one rung before the next is taken."`
	SilentAfter      span  `yaml:"silent-after" jsonschema_description:"A recovered host without a word for this long has relapsed."`
	MaxRelapses      whole `yaml:"max-relapses" jsonschema_description:"A host that relapses more often goes to a person."`
	SameSignature    whole `yaml:"same-signature" jsonschema_description:"So many hosts failing alike hold the wave."`
	MassSilence      share `yaml:"mass-silence" jsonschema_description:"Share of recovered hosts silent together that stops all sending."`
	IncidentFailures limit `yaml:"incident-failures" jsonschema_description:"Hosts failed or unreachable over the whole incident that stop it."`
}

type tierEntry struct {
	at    `what:"tier"`
	Name  text      `yaml:"name" jsonschema:"required" jsonschema_description:"The tier's name."`
	Title text      `yaml:"title" jsonschema_description:"The tier in words."`
	RTO   span      `yaml:"rto" jsonschema_description:"Recovery time objective, from the start of the outage."`
	Gate  gateEntry `yaml:"gate" jsonschema_description:"When the wave has passed and when it must stop."`
	Asks  level     `yaml:"asks" jsonschema_description:"How far a restore point must be verified to be restored in this tier, L1 to L5 (by the host's data: none L1, replica L2, primary L3)."`
}

type gateEntry struct {
	at             `what:"gate"`
	Success        share   `yaml:"success" jsonschema_description:"Share of the wave that must be proven (90%)."`
	Soak           span    `yaml:"soak" jsonschema_description:"How long that share must hold before the next wave opens (10m)."`
	Approval       boolean `yaml:"approval" jsonschema_description:"A person opens the next wave (false)."`
	MaxFailed      limit   `yaml:"max-failed" jsonschema_description:"More failed hosts than this hold the wave: a count or a percentage (5%, or what success leaves)."`
	MaxUnreachable limit   `yaml:"max-unreachable" jsonschema_description:"The same for hosts that no rung reaches (10%, or what success leaves)."`
	MaxInFlight    whole   `yaml:"max-in-flight" jsonschema_description:"The ramp's upper end in this wave (the policy's)."`
}

type serviceEntry struct {
	at      `what:"service"`
	Name    text  `yaml:"name" jsonschema:"required" jsonschema_description:"The service's name."`
	Title   text  `yaml:"title" jsonschema_description:"The service in words that its users know."`
	Tier    text  `yaml:"tier" jsonschema:"required" jsonschema_description:"The tier in which its hosts come back."`
	Council text  `yaml:"council" jsonschema_description:"Whose it is; scarce resources are shared fairly between councils."`
	Owner   text  `yaml:"owner" jsonschema_description:"Whom to call."`
	Needs   names `yaml:"needs" jsonschema_description:"Services that must be up first."`
	RTO     span  `yaml:"rto" jsonschema_description:"Its own recovery time objective, where it differs from the tier's."`
	MTD     span  `yaml:"mtd" jsonschema_description:"Maximum tolerable downtime."`
	RPO     span  `yaml:"rpo" jsonschema_description:"Recovery point objective: a restore that loses more than this much of data entered waits for a person. Without it, every loss does."`
	Up      share `yaml:"up" jsonschema_description:"Share of its hosts that makes it up, beside every critical one (50%)."`
}

type groupEntry struct {
	at              `what:"group"`
	Name            text  `yaml:"name" jsonschema:"required" jsonschema_description:"The group's name."`
	MaxAtOnce       whole `yaml:"max-at-once" jsonschema:"required" jsonschema_description:"Members that may be worked on at once."`
	MaxDownTogether whole `yaml:"max-down-together" jsonschema_description:"Members that may be down at once; no number means no rule."`
	Members         names `yaml:"members" jsonschema_description:"Host names, with ranges: sql[01-02]. A host may also name its groups itself."`
}

type rungEntry struct {
	at            `what:"rung"`
	Name          text      `yaml:"name" jsonschema:"required" jsonschema_description:"The rung's name."`
	Kind          text      `yaml:"kind" jsonschema:"enum=ssh,enum=race,enum=rescue,enum=helper,enum=restore,enum=hands" jsonschema_description:"ssh (the default); race: SSH in the seconds in which a looping host is up; rescue: the host is booted into the rescue system; helper: another machine attaches the host's disk; restore: the host's data sets are restored from backup; hands: a person with a work card."`
	Environment   text      `yaml:"environment" jsonschema:"enum=linux,enum=rescue-linux,enum=windows-safe-mode" jsonschema_description:"Where a script finds itself on this rung. Only ssh must say it: race leads into linux, rescue and helper into rescue-linux."`
	Reboots       boolean   `yaml:"reboots" jsonschema_description:"Getting in this way restarts the host; always so on rescue and helper."`
	Address       text      `yaml:"address" jsonschema_description:"IP address, where it is not the host's: a range, or made of the host's own octets as in 10.90.{3}.{4}. A helper's is one for all."`
	Port          whole     `yaml:"port" jsonschema_description:"SSH port (22)."`
	User          text      `yaml:"user" jsonschema_description:"SSH user (root)."`
	Jump          names     `yaml:"jump" jsonschema_description:"Jump hosts as user@address:port, outermost first."`
	HostKeys      names     `yaml:"host-keys" jsonschema_description:"Accepted public keys as in authorized_keys; cert-authority in front marks a host CA. A rescue system brings its own."`
	RebootCommand text      `yaml:"reboot-command" jsonschema_description:"What restarts the host into its own system (reboot)."`
	Estimate      span      `yaml:"estimate" jsonschema_description:"Expected time from start to proof."`
	Root          text      `yaml:"root" jsonschema_description:"Where the host's volume is mounted; empty means the running system."`
	Within        span      `yaml:"within" jsonschema_description:"How long to lie in wait (race), to wait from power on to the rescue system's login (rescue), or for attach and detach (helper): 10m."`
	Boot          text      `yaml:"boot" jsonschema_description:"rescue: one of boot, which sets the boot target. Without it the host asks the network at every start."`
	Attach        text      `yaml:"attach" jsonschema_description:"helper: command there that attaches the host's disk, opens it with what unlock gives it on standard input, and prints the folder of its root as its last line; may hold {name} and the like."`
	Detach        text      `yaml:"detach" jsonschema_description:"helper: command there that gives the disk back."`
	Unlock        secretRef `yaml:"unlock" jsonschema_description:"rescue and helper: what opens the host's encrypted volume, as file:PATH or env:NAME; PATH may hold {name} and the like."`
	Sets          names     `yaml:"sets" jsonschema_description:"restore: the data sets to restore, all together (all of the host's); names may hold {name} and the like."`
	Resources     names     `yaml:"resources" jsonschema_description:"Resources that this rung takes a slot of, besides the host's own, until the host is proven."`
}

// controlEntry is an entry of power: or boot:.
type controlEntry struct {
	at      `what:"control"`
	Agent   text             `yaml:"agent" jsonschema_description:"A program that keeps the fence agents' contract: its name, or its absolute path."`
	Redfish text             `yaml:"redfish" jsonschema_description:"Instead of agent: the Redfish service as https://ADDRESS, which may be made of the host's own octets as in https://10.90.{3}.{4}."`
	Options table[option]    `yaml:"options" jsonschema_description:"What it is told; values may hold {name}, {address}, {1} to {4}, {mac} and {uuid} of the host."`
	Secrets table[secretRef] `yaml:"secrets" jsonschema_description:"Options that are secret, each as file:PATH or env:NAME; they are read when it acts."`
	Timeout span             `yaml:"timeout" jsonschema_description:"Of one action, reading back included (1m)."`
	AtOnce  whole            `yaml:"at-once" jsonschema_description:"Hosts restarted through it and not yet proven (power: 8; boot: no limit of its own). They are slots of the resource power/NAME or boot/NAME."`
}

// repositoryEntry is an entry of repositories:.
type repositoryEntry struct {
	at         `what:"repository"`
	Restic     text          `yaml:"restic" jsonschema_description:"A restic repository, as restic takes it on the machine that runs the job: /mnt/backup or sftp:bkp@10.9.1.5:/srv."`
	PostgreSQL text          `yaml:"postgresql" jsonschema_description:"Instead of restic: the folder of PostgreSQL base backups (base/NAME) and archived WAL (wal/), or of folders that hold these, as an absolute path there."`
	Exec       text          `yaml:"exec" jsonschema_description:"Instead of restic: any vendor's program that keeps the documented contract, as an absolute path there."`
	Location   text          `yaml:"location" jsonschema_description:"exec: where the repository is, as the program takes it."`
	Program    text          `yaml:"program" jsonschema_description:"restic: its absolute path there, where it is not in the PATH."`
	Password   secretRef     `yaml:"password" jsonschema_description:"restic and exec: where its password lies on the machine that runs the job, as file:PATH (absolute) or env:NAME (of its agent)."`
	Options    table[option] `yaml:"options" jsonschema_description:"What its program is told besides."`
	Slots      whole         `yaml:"slots" jsonschema_description:"Restores at once (4)."`
	Bandwidth  rate          `yaml:"bandwidth" jsonschema_description:"Bytes per second that all its jobs share, as in 200MB/s; estimates begin with it."`
	OffSite    boolean       `yaml:"off-site" jsonschema_description:"It lies elsewhere than what it protects (false)."`
	Quiet      hours         `yaml:"quiet" jsonschema_description:"When checks may run by themselves, in UTC, as in 22:00-05:00 (always)."`
	CheckRate  rate          `yaml:"check-rate" jsonschema_description:"Bytes per second that a check may read (no limit)."`
}

type backupPolicyEntry struct {
	at         `what:"backup policy"`
	Name       text    `yaml:"name" jsonschema:"required" jsonschema_description:"The policy's name."`
	Title      text    `yaml:"title" jsonschema_description:"The policy in words."`
	Every      span    `yaml:"every" jsonschema:"required" jsonschema_description:"A restore point at least so often."`
	Keep       span    `yaml:"keep" jsonschema:"required" jsonschema_description:"How long points are kept."`
	Logs       boolean `yaml:"logs" jsonschema_description:"Databases: points reach any moment by logs (false)."`
	Level      level   `yaml:"level" jsonschema_description:"To which the newest points are to be verified, L1 to L4."`
	Verify     span    `yaml:"verify" jsonschema_description:"How often they are to be verified to that level."`
	Undetected span    `yaml:"undetected" jsonschema_description:"The longest time that damage is assumed to stay unseen. An audit says where points are not kept so long."`
	OffSite    boolean `yaml:"off-site" jsonschema_description:"A copy elsewhere is wanted (false)."`
}

// backupEntry is an entry of backups:, one data set or many alike.
type backupEntry struct {
	at         `what:"data set"`
	Name       text             `yaml:"name" jsonschema:"required" jsonschema_description:"The data set's name. For many hosts it has {name} in it, or a range of the same length."`
	Host       text             `yaml:"host" jsonschema:"required" jsonschema_description:"Whose data it is: a host's name, or many with ranges: db[01-04]."`
	Kind       text             `yaml:"kind" jsonschema:"required,enum=files,enum=image,enum=database" jsonschema_description:"files, image (a whole machine) or database."`
	Repository text             `yaml:"repository" jsonschema:"required" jsonschema_description:"One of repositories."`
	Copies     names            `yaml:"copies" jsonschema_description:"Further repositories of the same kind that hold copies of it."`
	Policy     text             `yaml:"policy" jsonschema_description:"One of backup-policies, or a built-in one. Without it an audit says that nothing is promised."`
	Runner     text             `yaml:"runner" jsonschema_description:"The host whose agent lists, checks and restores it (its own): one for all, or a range of the same length as host."`
	Source     text             `yaml:"source" jsonschema_description:"How the repository knows it. restic: host=db1,tag=pg,path=/srv (the host's name); postgresql: a folder in it, where that holds base/ and wal/; exec: what the program understands."`
	Target     text             `yaml:"target" jsonschema:"required" jsonschema_description:"Absolute path on the runner that a restore replaces."`
	Part       text             `yaml:"part" jsonschema_description:"Path inside what is restored that becomes the target (all of it)."`
	Engine     text             `yaml:"engine" jsonschema:"enum=postgresql,enum=sqlite,enum=exec" jsonschema_description:"What checks it at L3: postgresql (so in a postgresql repository), sqlite, or exec (so with a check)."`
	Options    table[option]    `yaml:"options" jsonschema_description:"What repository and engine are told of it; values may hold {name} and the like."`
	Size       size             `yaml:"size" jsonschema_description:"What a restore writes, as in 40GB, where no restore point says so."`
	Stop       names            `yaml:"stop" jsonschema_description:"Program and arguments that stop what uses the target, run on the runner before the swap."`
	Start      names            `yaml:"start" jsonschema_description:"Program and arguments that start it again after the swap."`
	Check      names            `yaml:"check" jsonschema_description:"Program and arguments, run on what was restored, whose exit 0 is L3."`
	Invariants []invariantEntry `yaml:"invariants" jsonschema_description:"Business rules that must hold on what was restored: L4."`
}

type invariantEntry struct {
	at      `what:"invariant"`
	Name    text  `yaml:"name" jsonschema:"required" jsonschema_description:"The invariant's name."`
	SQL     text  `yaml:"sql" jsonschema_description:"Engines postgresql and sqlite: a query whose one row is the answer."`
	Command names `yaml:"command" jsonschema_description:"Instead of sql: program and arguments whose first line of output is the answer."`
	Expect  text  `yaml:"expect" jsonschema:"required" jsonschema_description:"What the answer must be: equal (all columns are), = X, != X, < N, <= N, > N, >= N, or within 26h (a time no older than that before the restore point)."`
}

// settings is what a host may have of its own, from its groups, its site, or from defaults.
type settings struct {
	OS        text      `yaml:"os" jsonschema_description:"windows or linux, with an optional version: windows-2019."`
	Data      text      `yaml:"data" jsonschema:"enum=none,enum=replica,enum=primary" jsonschema_description:"What is lost with the disk: none (stateless), replica (can be rebuilt from a peer), primary (the only good copy; the default)."`
	Critical  boolean   `yaml:"critical" jsonschema_description:"The gate waits for this host by name."`
	Resources names     `yaml:"resources" jsonschema_description:"Resources that an attempt on it takes a slot of; site and ssh come by themselves."`
	Ladder    ladderRef `yaml:"ladder" jsonschema_description:"The name of one of ladders, or a list of rungs."`
	Power     powerRef  `yaml:"power" jsonschema_description:"The name of one of power, none, or use: with options: of its own."`
	Agent     boolean   `yaml:"agent" jsonschema_description:"The agent is installed (true)."`
	EDR       edrEntry  `yaml:"edr" jsonschema_description:"The endpoint-security product."`
}

// hostFields is what a host may have of its own or from defaults.
type hostFields struct {
	at      `what:"defaults"`
	Service text  `yaml:"service" jsonschema_description:"The service that the host belongs to."`
	Tier    text  `yaml:"tier" jsonschema_description:"Its own tier, where it is not the service's."`
	Site    text  `yaml:"site" jsonschema_description:"One of sites."`
	Groups  names `yaml:"groups" jsonschema_description:"Groups that it belongs to."`
	settings
}

// partEntry is defaults of a part of the estate.
type partEntry struct {
	at    `what:"an entry of defaults-for"`
	Site  names `yaml:"site" jsonschema_description:"One of sites, or several."`
	Group names `yaml:"group" jsonschema_description:"Instead of site: one of groups, or several."`
	settings
}

type hostEntry struct {
	hostFields `what:"host"`
	Name       text        `yaml:"name" jsonschema:"required" jsonschema_description:"The host's name, or many with ranges: app[01-24], app[01-03,07]. Quote it inside { }."`
	Address    text        `yaml:"address" jsonschema_description:"IP address: one, a range of the same length as the name's, or the first of as many in a row."`
	Addresses  table[text] `yaml:"addresses" jsonschema_description:"Addresses by rung name, where a rung's differs; written like address."`
	MAC        names       `yaml:"mac" jsonschema_description:"MAC address by which it boots from the network: one, a range of the same length as the name's, or the first of as many in a row; a list for several network cards."`
	UUID       text        `yaml:"uuid" jsonschema_description:"SMBIOS UUID: one, or a range of the same length as the name's."`
}

// powerRef is the name of a power control, or its use with options of the host's own.
type powerRef struct{ powerUse }

type powerUse struct {
	at      `what:"power"`
	Use     text          `yaml:"use" jsonschema_description:"One of power, or none. Without it, that which the host's groups, its site or defaults name."`
	Options table[option] `yaml:"options" jsonschema_description:"Options on top of the control's own."`
}

type edrEntry struct {
	at      `what:"edr"`
	Product text    `yaml:"product" jsonschema:"required" jsonschema_description:"The product as playbooks call it: crowdstrike-falcon."`
	Version version `yaml:"version" jsonschema_description:"Its version."`
}
