package recovery

import "time"

// Fleet is the estate as the fleet file describes it: what exists, in which order it matters, and how each host can be
// reached. The core treats it as immutable; an incident keeps the copy with which it was declared.
type Fleet struct {
	Name      string     `json:"name"`
	Tiers     []Tier     `json:"tiers"`               // in recovery order: tier 0 becomes wave 1
	Services  []Service  `json:"services"`            // what people use; a service needs other services
	Hosts     []Host     `json:"hosts"`               // sorted by name
	Groups    []Group    `json:"groups,omitempty"`    // pairs and clusters that must not be worked on all at once
	Resources []Resource `json:"resources,omitempty"` // whatever is scarce: ssh, a site, a hypervisor, a repository
	Policy    Policy     `json:"policy"`

	Repositories   []Repository   `json:"repositories,omitempty"`
	DataSets       []DataSet      `json:"data_sets,omitempty"` // sorted by name
	BackupPolicies []BackupPolicy `json:"backup_policies,omitempty"`
}

// Tier is one step of the recovery order. Its hosts form one wave.
type Tier struct {
	Name  string        `json:"name"`
	Title string        `json:"title,omitempty"`
	RTO   time.Duration `json:"rto,omitempty"` // recovery time objective, from the start of the outage
	Gate  GatePolicy    `json:"gate"`
	Asks  *Level        `json:"asks,omitempty"` // how far a restore point must be verified; nil: by data class, none L1, replica L2, primary L3
}

// GatePolicy says when a wave has passed and when it must stop.
type GatePolicy struct {
	SuccessPercent int           `json:"success_percent"`         // share of the wave that must be proven, rounded up
	Soak           time.Duration `json:"soak,omitempty"`          // how long the share must have held before the next wave opens
	Approval       bool          `json:"approval,omitempty"`      // a person opens the next wave
	MaxFailed      Limit         `json:"max_failed"`              // more hosts than this failing holds the wave
	MaxUnreachable Limit         `json:"max_unreachable"`         // the same for hosts that no rung reaches
	MaxInFlight    int           `json:"max_in_flight,omitempty"` // the ramp's upper end; 0 means the policy's
}

// Limit is a count or a percentage. It becomes a whole number when a wave opens: a percentage is rounded down.
// A count greater than the limit holds. The zero Limit allows none.
type Limit struct {
	Count   int  `json:"count"`
	Percent bool `json:"percent,omitempty"` // Count is a percentage of the wave's size
}

// Service is what people miss: social care, housing, DNS.
type Service struct {
	Name      string        `json:"name"`
	Title     string        `json:"title,omitempty"`
	Tier      string        `json:"tier"`
	Council   string        `json:"council,omitempty"` // who shares the estate; scarce resources are shared fairly between councils
	Owner     string        `json:"owner,omitempty"`
	Needs     []string      `json:"needs,omitempty"`      // services that must be up first
	RTO       time.Duration `json:"rto,omitempty"`        // zero means the tier's
	MTD       time.Duration `json:"mtd,omitempty"`        // maximum tolerable downtime
	RPO       time.Duration `json:"rpo,omitempty"`        // recovery point objective; zero: no loss is tolerated without a person's word
	UpPercent int           `json:"up_percent,omitempty"` // share of its hosts (rounded up) that makes it up, beside every critical one; 0 means 50
}

// DataClass says what is lost when a host's disk is replaced.
type DataClass string

// The data classes.
const (
	DataNone    DataClass = "none"    // stateless: repair or restore, whichever is quicker
	DataReplica DataClass = "replica" // can be rebuilt from a peer
	DataPrimary DataClass = "primary" // the only good copy: repair in place
)

// Host is one server.
type Host struct {
	Name      string    `json:"name"`
	Service   string    `json:"service"`
	Tier      string    `json:"tier"`              // its service's tier, or its own where the fleet file says so
	Council   string    `json:"council,omitempty"` // its service's
	Site      string    `json:"site,omitempty"`
	OS        string    `json:"os"` // "windows" or "linux", with an optional version: "windows-2019"
	Data      DataClass `json:"data"`
	Critical  bool      `json:"critical,omitempty"`  // the gate waits for this host by name
	Groups    []string  `json:"groups,omitempty"`    // names of Fleet.Groups
	Resources []string  `json:"resources,omitempty"` // names of Fleet.Resources whose slots an attempt takes (site included)
	Ladder    []Rung    `json:"ladder"`              // ways in, best first; the last resort is always a person
	Agent     bool      `json:"agent"`               // an agent is installed; otherwise proof is fetched over SSH
	EDR       EDR       `json:"edr"`
	MACs      []string  `json:"macs,omitempty"`  // "52:54:00:12:34:56": how its firmware names itself when it boots from the network
	UUID      string    `json:"uuid,omitempty"`  // SMBIOS UUID, lower case
	Power     *Control  `json:"power,omitempty"` // what switches it on and off; nil: nothing does
}

// EDR is the endpoint-security product that the fleet file says a host runs.
type EDR struct {
	Product string `json:"product,omitempty"` // "crowdstrike-falcon"
	Version string `json:"version,omitempty"`
}

// Control is what acts on a host from outside: on its power, or on what it boots from. It holds no secrets, only where they lie.
type Control struct {
	Name    string            `json:"name"`              // as the fleet file calls it
	Kind    string            `json:"kind"`              // ControlAgent or ControlRedfish
	Program string            `json:"program,omitempty"` // ControlAgent: its name or absolute path
	Options map[string]string `json:"options,omitempty"` // what it is told of this host, secrets apart
	Secrets map[string]string `json:"secrets,omitempty"` // option to "file:PATH" or "env:NAME", read when it acts
	Timeout time.Duration     `json:"timeout,omitempty"` // of one action, reading back included; 0 means DefaultControlTimeout
}

// Kinds of control.
const (
	ControlAgent   = "agent"   // a program that keeps the fence agents' contract
	ControlRedfish = "redfish" // our own Redfish client
)

// DefaultControlTimeout is how long one action of a control may take.
const DefaultControlTimeout = time.Minute

// Rung kinds.
const (
	RungSSH     = "ssh"     // a script over SSH, in the rung's environment
	RungRace    = "race"    // the same in the seconds in which a looping host is up
	RungRescue  = "rescue"  // the host is booted into the rescue system, and the script runs there over SSH
	RungHelper  = "helper"  // the script runs on another machine that has attached the host's disk
	RungRestore = "restore" // the host's data sets are restored from backup, by an agent
	RungHands   = "hands"   // a person with a work card
)

// Environments: where a script finds itself once a rung is climbed.
const (
	EnvLinux           = "linux"             // the host's own running system
	EnvRescueLinux     = "rescue-linux"      // a rescue system with the host's volume under $BLACKSTART_ROOT
	EnvWindowsSafeMode = "windows-safe-mode" // the host's own Windows in safe mode
)

// Rung is one way into a host.
type Rung struct {
	Name        string        `json:"name"`
	Kind        string        `json:"kind"`                  // one of the Rung constants
	Environment string        `json:"environment,omitempty"` // one of the Env constants; RungRescue and RungHelper have EnvRescueLinux
	Root        string        `json:"root,omitempty"`        // value of BLACKSTART_ROOT there; empty for the running system
	Reboots     bool          `json:"reboots,omitempty"`     // getting in this way restarts the host
	Address     string        `json:"address,omitempty"`     // IP address (names need a DNS that may be down)
	Port        int           `json:"port,omitempty"`
	User        string        `json:"user,omitempty"`
	Jump        []string      `json:"jump,omitempty"`       // user@address:port, outermost first
	HostKeys    []string      `json:"host_keys,omitempty"`  // authorized_keys-style public keys; "cert-authority …" marks a host CA
	RebootCmd   string        `json:"reboot_cmd,omitempty"` // what restarts the host into its own system; empty means "reboot"
	Estimate    time.Duration `json:"estimate,omitempty"`   // expected time from start to proof
	Within      time.Duration `json:"within,omitempty"`     // RungRace: how long to lie in wait; RungRescue: from power on to the rescue system's login; RungHelper: for attach and detach; 0 means DefaultWithin
	Boot        *Control      `json:"boot,omitempty"`       // RungRescue: what sets the boot target; nil: the host asks the network at every start
	Attach      string        `json:"attach,omitempty"`     // RungHelper: command there that attaches the disk and prints the folder of its root last
	Detach      string        `json:"detach,omitempty"`     // RungHelper: command there that gives the disk back
	Unlock      string        `json:"unlock,omitempty"`     // "file:PATH" or "env:NAME" of what opens its encrypted volume
	Sets        []string      `json:"sets,omitempty"`       // RungRestore: names of the data sets to restore, all of them together
	Resources   []string      `json:"resources,omitempty"`  // slots that this rung takes besides the host's, until the host is proven: a BMC network, a hypervisor, a power domain
}

// DefaultWithin is how long a rung's own waiting may take where the fleet file does not say.
const DefaultWithin = 10 * time.Minute

// Restarts reports whether climbing the rung restarts the host.
func (r Rung) Restarts() bool { return r.Reboots || r.Kind == RungRescue || r.Kind == RungHelper }

// Group is a set of hosts that protect each other: a pair, a cluster, the domain controllers of a site.
type Group struct {
	Name      string `json:"name"`
	MaxAtOnce int    `json:"max_at_once"`                 // members being worked on and not yet proven
	MaxDown   int    `json:"max_down_together,omitempty"` // members down at once, counting one that an attempt would restart; 0 means no rule
}

// Resource is something scarce with a number of slots. A running attempt takes one slot on each of its host's resources.
type Resource struct {
	Name  string `json:"name"`
	Slots int    `json:"slots"`
}

// ResourceSSH is the resource that every SSH attempt uses; a fleet file may change its slots.
const ResourceSSH = "ssh"

// DefaultSSHSlots is how many SSH attempts run at once where the fleet file does not say. Most of them wait: for a script, or for a
// host that does not answer; what costs, the handshakes, has a bound of its own in the remedy.
const DefaultSSHSlots = 128

// Policy holds the incident-wide numbers. Zero values mean the defaults of DefaultPolicy.
type Policy struct {
	MaxAttempts      int           `json:"max_attempts"`  // per host, over all rungs, before a person must look
	MaxInFlight      int           `json:"max_in_flight"` // the ramp's upper end: unproven hosts per canary group
	Backoff          time.Duration `json:"backoff"`       // first wait after unreachable or timed-out; doubles
	BackoffMax       time.Duration `json:"backoff_max"`
	TriesPerRung     int           `json:"tries_per_rung"`    // for classes that retry
	SilentAfter      time.Duration `json:"silent_after"`      // a recovered host without a word for this long has relapsed
	MaxRelapses      int           `json:"max_relapses"`      // more than this many relapses go to a person
	SameSignature    int           `json:"same_signature"`    // k hosts failing alike hold the wave
	MassSilence      int           `json:"mass_silence"`      // percent of recovered hosts silent together that stops all sending
	IncidentFailures Limit         `json:"incident_failures"` // failed or unreachable hosts over the whole incident
}

// DefaultPolicy is what a fleet file that says nothing gets.
func DefaultPolicy() Policy {
	return Policy{
		MaxAttempts:      6,
		MaxInFlight:      64,
		Backoff:          time.Minute,
		BackoffMax:       15 * time.Minute,
		TriesPerRung:     2,
		SilentAfter:      5 * time.Minute,
		MaxRelapses:      2,
		SameSignature:    5,
		MassSilence:      30,
		IncidentFailures: Limit{Count: 25, Percent: true},
	}
}
