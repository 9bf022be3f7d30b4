package redfish

import (
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestAnImageLeftInTheDriveIsRescue(t *testing.T) {
	b := startBMC(t, quirks{})
	c, m := b.client(), b.machine()
	m.insert("http://192.0.2.9/installer.iso")
	target(t, c, Rescue)
	good(t, c.BootDisk(t.Context()))
	target(t, c, Disk)
	if m.inserted {
		t.Error("the image is still in the drive")
	}
}

func TestReplacesAnotherImageAndKeepsItsOwn(t *testing.T) {
	b := startBMC(t, quirks{})
	c, m := b.client(), b.machine()
	m.insert("http://192.0.2.9/installer.iso")
	good(t, c.BootRescue(t.Context(), fakeISO))
	if m.image != fakeISO || !m.inserted {
		t.Errorf("the drive holds %q", m.image)
	}
	before := len(b.changes())
	good(t, c.BootRescue(t.Context(), fakeISO))
	for _, change := range b.changes()[before:] {
		if strings.Contains(change, "VirtualMedia") {
			t.Errorf("the image was there, and it asked for %s", change)
		}
	}
}

func TestAPersonsImageIsLeftToThem(t *testing.T) {
	b := startBMC(t, quirks{})
	m := b.machine()
	m.insert("their.iso")
	m.connected = "Applet"
	want(t, b.client().BootRescue(t.Context(), fakeISO), recovery.Failed, "virtual CD in use", "from a console; ask them")
	if changes := b.changes(); len(changes) != 0 || m.image != "their.iso" {
		t.Errorf("the drive holds %q after %q", m.image, changes)
	}
}

func TestADriveThatDoesNotObeyIsAFailure(t *testing.T) {
	b := startBMC(t, quirks{mediaDeaf: true})
	c := b.client()
	c.timeout = time.Second
	want(t, c.BootRescue(t.Context(), fakeISO), recovery.Failed, "virtual CD does not change", "does not show it in its virtual CD")
	if b.machine().enabled != "Disabled" {
		t.Error("the override was set for a drive that is empty")
	}
	b = startBMC(t, quirks{mediaStuck: true})
	b.machine().insert(fakeISO)
	c = b.client()
	c.timeout = time.Second
	want(t, c.BootDisk(t.Context()), recovery.Failed, "virtual CD does not change", "still shows an image in it")
	b.left(t)
}

// Where there is no drive, or none for this account, nothing can be in it from us.
func TestWithoutADriveTheOverrideDecides(t *testing.T) {
	for name, q := range map[string]quirks{"none": {mediaUnder: "none"}, "not for this account": {mediaSecret: true}} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, q)
			c := b.client()
			target(t, c, Disk)
			want(t, c.BootRescue(t.Context(), fakeISO), recovery.Failed, "no virtual CD", "no virtual CD")
			good(t, c.BootRescue(t.Context(), ""))
			target(t, c, Rescue)
			good(t, c.BootDisk(t.Context()))
		})
	}
}

func TestTheNamedDriveIsUsed(t *testing.T) {
	b := startBMC(t, quirks{})
	good(t, b.client("media", "CD1").BootRescue(t.Context(), fakeISO))
	if b.machine().image != fakeISO {
		t.Errorf("the drive holds %q", b.machine().image)
	}
	want(t, b.client("media", "CD9").BootRescue(t.Context(), fakeISO), recovery.Failed, "BMC does not have the virtual media", `no virtual media "CD9", only Floppy1, CD1`)
}

// Who wants the rescue system from the virtual CD never gets a network boot instead.
func TestFromMediaWantsAnISO(t *testing.T) {
	b := startBMC(t, quirks{})
	c := b.client("from", FromMedia)
	want(t, c.BootRescue(t.Context(), ""), recovery.Failed, "no ISO", "build the image with --iso")
	if changes := b.changes(); len(changes) > 0 {
		t.Errorf("it asked for %v", changes)
	}
	good(t, c.BootRescue(t.Context(), fakeISO))
	target(t, c, Rescue)
	control := b.control("from", "tape")
	if _, err := Open(control); err == nil {
		t.Error("from: tape was taken")
	}
}
