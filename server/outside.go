package server

import (
	"context"
	"fmt"

	"github.com/blackstart-recovery/blackstart/server/climb"
	"github.com/blackstart-recovery/blackstart/server/netboot"
	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/redfish"
)

// control is what acts on a host from outside. Errors of its methods are *power.Error.
type control interface {
	climb.Switch
	climb.BootTarget
	Monitor(ctx context.Context) error
	State(ctx context.Context) (power.State, error)
}

// openControl opens a control by its kind. It starts nothing and connects to nothing.
func openControl(c recovery.Control) (control, error) {
	switch c.Kind {
	case recovery.ControlAgent:
		return power.Open(c), nil
	case recovery.ControlRedfish:
		client, err := redfish.Open(c)
		if err != nil {
			return nil, err
		}
		return client, nil
	}
	return nil, &power.Error{Class: recovery.Failed, Signature: "unknown kind of control",
		Detail: fmt.Sprintf("Control %s is of kind %q, which this version does not know; correct it in the fleet file.", recovery.Clean(c.Name, 80), recovery.Clean(c.Kind, 40))}
}

// imageOf says what a boot target is told to boot: the ISO where it goes into a virtual drive, else nothing, for the host asks
// the network.
func imageOf(boot *netboot.Service) func(recovery.Control) string {
	return func(c recovery.Control) string {
		if c.Kind == recovery.ControlAgent || c.Options["from"] == redfish.FromMedia {
			return boot.ISO()
		}
		return ""
	}
}

func openSwitch(c recovery.Control) (climb.Switch, error) { return openControl(c) }

func openBoot(c recovery.Control) (climb.BootTarget, error) { return openControl(c) }
