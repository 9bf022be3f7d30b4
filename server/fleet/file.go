package fleet

// The types below are the fleet file as a person writes it. Their tags are read twice: by the reader, which refuses every
// other key, and by the generator of fleet.schema.json.

type fileEntry struct {
	at        `what:"the fleet file"`
	Fleet     text               `yaml:"fleet" jsonschema:"required" jsonschema_description:"The estate's name."`
	Policy    policyEntry        `yaml:"policy" jsonschema_description:"Numbers that hold for a whole incident; each has a sensible default."`
	Tiers     []tierEntry        `yaml:"tiers" jsonschema:"required" jsonschema_description:"The recovery order: the hosts of the first tier are wave 1, and so on."`
	Services  []serviceEntry     `yaml:"services" jsonschema_description:"What people use and miss."`
	Sites     table[whole]       `yaml:"sites" jsonschema_description:"Places, each with the number of hosts that may be worked on there at once; no number means no limit."`
	Resources table[whole]       `yaml:"resources" jsonschema_description:"Whatever else is scarce, each with its number of slots: ssh (128 unless said otherwise), a hypervisor, a jump host."`
	Groups    []groupEntry       `yaml:"groups" jsonschema_description:"Pairs and clusters whose members must not be worked on all at once."`
	Ladders   table[[]rungEntry] `yaml:"ladders" jsonschema_description:"Named ways into hosts, best rung first. A last rung of kind hands is added when missing."`
	Defaults  hostFields         `yaml:"defaults" jsonschema_description:"What a host has that says nothing else."`
	Hosts     []hostEntry        `yaml:"hosts" jsonschema:"required" jsonschema_description:"The servers, one entry for each or for many alike."`
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
	Name          text    `yaml:"name" jsonschema:"required" jsonschema_description:"The rung's name."`
	Kind          text    `yaml:"kind" jsonschema:"enum=ssh,enum=hands" jsonschema_description:"ssh (the default), or hands: a person with a work card."`
	Environment   text    `yaml:"environment" jsonschema:"enum=linux,enum=rescue-linux,enum=windows-safe-mode" jsonschema_description:"Where a script finds itself on this rung."`
	Reboots       boolean `yaml:"reboots" jsonschema_description:"Getting in this way restarts the host."`
	Address       text    `yaml:"address" jsonschema_description:"IP address, where it is not the host's: a range, or made of the host's own octets as in 10.90.{3}.{4}."`
	Port          whole   `yaml:"port" jsonschema_description:"SSH port (22)."`
	User          text    `yaml:"user" jsonschema_description:"SSH user (root)."`
	Jump          names   `yaml:"jump" jsonschema_description:"Jump hosts as user@address:port, outermost first."`
	HostKeys      names   `yaml:"host-keys" jsonschema_description:"Accepted public keys as in authorized_keys; cert-authority in front marks a host CA."`
	RebootCommand text    `yaml:"reboot-command" jsonschema_description:"What restarts the host into its own system (reboot)."`
	Estimate      span    `yaml:"estimate" jsonschema_description:"Expected time from start to proof."`
	Root          text    `yaml:"root" jsonschema_description:"Where the host's volume is mounted; empty means the running system."`
}

// hostFields is what a host may have of its own or from defaults.
type hostFields struct {
	at        `what:"defaults"`
	Service   text      `yaml:"service" jsonschema_description:"The service that the host belongs to."`
	Tier      text      `yaml:"tier" jsonschema_description:"Its own tier, where it is not the service's."`
	Site      text      `yaml:"site" jsonschema_description:"One of sites."`
	OS        text      `yaml:"os" jsonschema_description:"windows or linux, with an optional version: windows-2019."`
	Data      text      `yaml:"data" jsonschema:"enum=none,enum=replica,enum=primary" jsonschema_description:"What is lost with the disk: none (stateless), replica (can be rebuilt from a peer), primary (the only good copy; the default)."`
	Critical  boolean   `yaml:"critical" jsonschema_description:"The gate waits for this host by name."`
	Groups    names     `yaml:"groups" jsonschema_description:"Groups that it belongs to."`
	Resources names     `yaml:"resources" jsonschema_description:"Resources that an attempt on it takes a slot of; site and ssh come by themselves."`
	Ladder    ladderRef `yaml:"ladder" jsonschema_description:"The name of one of ladders, or a list of rungs."`
	Agent     boolean   `yaml:"agent" jsonschema_description:"The agent is installed (true)."`
	EDR       edrEntry  `yaml:"edr" jsonschema_description:"The endpoint-security product."`
}

type hostEntry struct {
	hostFields `what:"host"`
	Name       text        `yaml:"name" jsonschema:"required" jsonschema_description:"The host's name, or many with ranges: app[01-24], app[01-03,07]. Quote it inside { }."`
	Address    text        `yaml:"address" jsonschema_description:"IP address: one, a range of the same length as the name's, or the first of as many in a row."`
	Addresses  table[text] `yaml:"addresses" jsonschema_description:"Addresses by rung name, where a rung's differs; written like address."`
}

type edrEntry struct {
	at      `what:"edr"`
	Product text    `yaml:"product" jsonschema:"required" jsonschema_description:"The product as playbooks call it: crowdstrike-falcon."`
	Version version `yaml:"version" jsonschema_description:"Its version."`
}
