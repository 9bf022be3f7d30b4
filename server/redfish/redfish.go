// Package redfish switches a host on and off, and sets what it boots from, through the Redfish service of its BMC.
//
// It is a small client of its own. It believes only what it reads back: a switch or a boot target is set when the BMC says so
// afterwards. Every call is one visit: log in, find the system, do one thing, log out. What a BMC says is hostile until it is
// bounded and cleaned, and where it sends us is only ever a path on itself.
//
// Reading order: redfish.go (what can be asked), options.go (of whom), visit.go (one visit), request.go and answer.go (one
// request), task.go (what a BMC does later), system.go, boot.go, media.go (the things themselves).
package redfish

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What a system boots from, as BootTarget says it.
const (
	Rescue = "rescue"
	Disk   = "disk"
)

// Client acts on one system of one BMC. It holds no connection and no password; it may be used by several goroutines.
// Every error of its methods is a *power.Error.
type Client struct {
	where    string // address for sentences: "192.0.2.7" or "192.0.2.7:8443"
	base     string // "https://192.0.2.7:8443"
	username string
	password string // "file:PATH" or "env:NAME"
	system   string // id, or empty when there is only one
	media    string // id, or empty for the first that takes a CD
	from     string // FromNetwork, FromMedia, or empty
	tls      *tls.Config
	timeout  time.Duration // of one call
	pace     pace
}

// pace is how patient the client is inside one call.
type pace struct {
	request time.Duration // one request with its answer
	poll    time.Duration // between two looks at the same thing
	settle  time.Duration // until a setting that was accepted must show
}

// Open checks the control's options and returns a client for it. It reads the certificate file, but no secret, and connects to
// nothing.
func Open(c recovery.Control) (*Client, error) { return open(c) }

// State reads the power state. A system that is just changing, or whose BMC does not say, is Unknown without an error.
func (c *Client) State(ctx context.Context) (power.State, error) {
	state := power.Unknown
	err := c.visit(ctx, func(ctx context.Context, v *visit) error {
		s, err := v.readSystem(ctx)
		if err != nil {
			return err
		}
		state = s.power()
		return nil
	})
	return state, err
}

// On switches the system on and returns when the BMC says that it is on.
func (c *Client) On(ctx context.Context) error {
	return c.visit(ctx, func(ctx context.Context, v *visit) error { return v.switchTo(ctx, power.On, "On", "ForceOn") })
}

// Off switches the system off, hard, and returns when the BMC says that it is off.
func (c *Client) Off(ctx context.Context) error {
	return c.visit(ctx, func(ctx context.Context, v *visit) error { return v.switchTo(ctx, power.Off, "ForceOff") })
}

// BootTarget reads what the system boots from next: Disk when no boot override leads elsewhere and the virtual CD is empty,
// otherwise Rescue, whoever has set it.
func (c *Client) BootTarget(ctx context.Context) (string, error) {
	target := ""
	err := c.visit(ctx, func(ctx context.Context, v *visit) error {
		disk, err := v.bootsFromDisk(ctx)
		if err != nil {
			return err
		}
		target = Rescue
		if disk {
			target = Disk
		}
		return nil
	})
	return target, err
}

// BootRescue makes the system boot once from imageURL. An image whose name ends in .iso is put into the virtual CD; one in .efi is
// booted by UEFI HTTP; anything else, or nothing, means the network, where DHCP names the file. It returns when the BMC shows the
// override. After an error something may be half set: BootDisk clears it.
func (c *Client) BootRescue(ctx context.Context, imageURL string) error {
	if c.from == FromMedia && suffix(imageURL) != ".iso" {
		return &power.Error{Class: recovery.Failed, Signature: "no ISO", Detail: "The boot target says from: media, and there is no ISO of the rescue system: build the image with --iso."}
	}
	return c.visit(ctx, func(ctx context.Context, v *visit) error {
		v.hide(imageURL)
		return v.bootRescue(ctx, imageURL)
	})
}

// BootDisk clears the boot override and empties the virtual CD, and returns when the BMC shows both.
func (c *Client) BootDisk(ctx context.Context) error {
	return c.visit(ctx, func(ctx context.Context, v *visit) error { return v.bootDisk(ctx) })
}

// Monitor checks that the login works, that the system is there, and that the BMC offers what On, Off and a boot override need.
// It changes nothing.
func (c *Client) Monitor(ctx context.Context) error {
	return c.visit(ctx, func(ctx context.Context, v *visit) error { return v.monitor(ctx) })
}
