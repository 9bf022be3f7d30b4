package lab

import (
	"strings"
	"time"
)

// Scenario is a story that a lab plays: the bad update, how the machines behave under it, and the faults that make a
// recovery hard. ReadScenario reads it from a file.
type Scenario struct {
	Name     string    // short name
	Title    string    // one line
	Story    string    // what happened, for people
	Seed     uint64    // used when Config.Seed is 0
	Clock    time.Time // when the bad update lands
	Update   Update
	Boot     Range // power on until the EDR driver reads its content
	Loop     Loop
	NeverHit NeverHit
	Faults   []FaultSpec
}

// Update is the content that the EDR vendor delivered. A machine takes it when it runs the product and its OS has a part.
type Update struct {
	EDR     string   // product name; empty means every machine
	Windows *Content // nil: Windows machines never take it
	Linux   *Content // nil: Linux machines never take it
}

// Content is one operating system's part of an update.
type Content struct {
	Folder string    // below the root of the disk, with slashes
	Header []byte    // first bytes of a content file of this kind, good or bad
	From   time.Time // a file with this header and a modification time in [From, To) is bad
	To     time.Time
	Before *File // what lies there before the update; nil for nothing
	Bad    File  // what the update writes
	Good   File  // what the vendor delivers since
}

// File is one content file. Its content is the header and zeros.
type File struct {
	Name     string
	Modified time.Time
	Size     int64 // bytes
}

// Loop says how a machine with bad content behaves.
type Loop struct {
	Up        Range // from the end of boot to the crash
	Network   int   // percent of loops in which the network comes up before the crash
	ParkAfter Count // crashes until the machine stays at its recovery screen; zero means never
}

// NeverHit says which machines do not take the update: these, and Count more that the seed chooses.
type NeverHit struct {
	Count int
	Hosts []string // names, or patterns with * and ?
}

// FaultSpec asks for one kind of fault on some machines: Count of those that Hosts matches, or all of them when Count is 0.
type FaultSpec struct {
	Kind    Kind
	Count   int
	Hosts   string // a name or a pattern with * and ?; empty matches every machine
	Crashes Count  // HealsItself: crashes until the good content arrives
	Span    Range  // Unreachable: for; Relapses: after; SlowBoot: boot
	Silent  bool   // Unreachable: connections wait instead of being refused
	Times   int    // SilentSSH: this many connections; 0 means for ever
	Bytes   int    // Floods: size of the noise; 0 means 5,000,000
}

// Range is an inclusive range of durations in the scenario's time. The seed chooses within it.
type Range struct{ Min, Max time.Duration }

// Count is an inclusive range of whole numbers. The seed chooses within it.
type Count struct{ Min, Max int }

func (r Range) pick(u uint64) time.Duration {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + time.Duration(u%uint64(r.Max-r.Min+1))
}

func (c Count) pick(u uint64) int {
	if c.Max <= c.Min {
		return c.Min
	}
	return c.Min + int(u%uint64(c.Max-c.Min+1))
}

// content returns what a machine gets of the update; nil when it does not take it.
func (u *Update) content(h HostSpec) *Content {
	if u.EDR != "" && u.EDR != h.EDRProduct {
		return nil
	}
	if windows(h.OS) {
		return u.Windows
	}
	return u.Linux
}

func windows(os string) bool { return os == "windows" || strings.HasPrefix(os, "windows-") }
