//go:build machines && e2e && linux

package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

// machinesLimit bounds the test inside its world.
const machinesLimit = 10 * time.Minute

// TestMachines lets six machines loop, each with a real kernel panic, and recovers them: through the race, through the rescue
// system, and where that is not to be had, by hand. The coordinator is killed once. At the end the disks, the BMCs' own logs and
// the report must tell the same.
func TestMachines(t *testing.T) {
	if os.Getenv(worldDir) == "" {
		buildRescue(t, fetchMachineParts(t))
		runInWorld(t, machinesLimit)
		return
	}
	s := newBlackout(t)
	s.tell("the disks are made")
	for _, m := range s.room.machines {
		if m.name != windows { // its incident comes later; two cores are few
			m.fence(t, "on")
		}
	}
	s.serve()
	eventually(t, "every machine has panicked", 5*time.Minute, func() bool {
		return !slices.ContainsFunc(s.room.machines, func(m *vm) bool { return m.name != windows && m.panics() == 0 })
	})
	s.tell("every machine has panicked")
	s.declare("the update of the morning", "edr-content-linux")
	s.play(s.comesBack(raced), s.byHand(), s.relapses(), s.killedInRescue(), s.comesBack(stuck), s.passed(), s.crashesLater())
	s.close("edr-content-linux")

	s.declare("Channel File 291", "crowdstrike-channel-file-291")
	s.play(s.comesBack(windows), s.passed())
	s.close("crowdstrike-channel-file-291")
	s.tell("all are back")
	s.stop()
	s.serving = false
	s.check()
}
