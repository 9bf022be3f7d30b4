package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/netboot"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Boot is how hosts that start from the network get the rescue system.
type Boot struct {
	Listener net.Listener
	URL      string // how hosts reach the listener: http://IP:PORT
	ImageDir string // as `blackstart rescue build` writes it
}

// RescueSecretFile is the name of the file in the data folder from which the host keys of rescue systems are derived.
const RescueSecretFile = "rescue.secret"

const rescueSecretSize = 32

// newNetboot makes the service; it asks the coordinator that is set later, before anything is served.
func newNetboot(cfg Config, c **coordinator.Coordinator) (*netboot.Service, error) {
	secret, err := rescueSecret(cfg.Dir)
	if err != nil {
		return nil, err
	}
	return netboot.New(netboot.Config{
		ImageDir: cfg.Boot.ImageDir, URL: cfg.Boot.URL, Secret: secret, Hosts: cfg.Fleet.Hosts, Log: cfg.Log.Named("netboot"),
		Ask: func(ctx context.Context, host, peer string) (incident, attempt string, err error) {
			return (*c).Boot(ctx, host, peer)
		},
		Running: func() []netboot.Boot {
			ctx, cancel := context.WithTimeout(context.Background(), runningTimeout)
			defer cancel()
			list, err := (*c).RescueBoots(ctx)
			if err != nil {
				return nil
			}
			boots := make([]netboot.Boot, len(list))
			for i, b := range list {
				boots[i] = netboot.Boot{Incident: b.Incident, Attempt: b.Attempt, Host: b.Host}
			}
			return boots
		},
	})
}

// runningTimeout is how long the coordinator may take to say which hosts are in rescue.
const runningTimeout = 5 * time.Second

// rescueSecret reads the secret, or makes it once.
func rescueSecret(dir string) ([]byte, error) {
	file := filepath.Join(dir, RescueSecretFile)
	secret, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeRescueSecret(dir, file)
	case err != nil:
		return nil, fmt.Errorf("the secret of the rescue systems: %w", err)
	case len(secret) != rescueSecretSize:
		return nil, fmt.Errorf("%s holds %d bytes and not %d: it is damaged; remove it while no host is in rescue, and a new one is made", file, len(secret), rescueSecretSize)
	}
	return secret, nil
}

// makeRescueSecret writes a fresh secret, whole or not at all.
func makeRescueSecret(dir, file string) ([]byte, error) {
	secret := make([]byte, rescueSecretSize)
	_, _ = rand.Read(secret)                                // it never fails
	f, err := os.CreateTemp(dir, "."+RescueSecretFile+".*") // 0600
	if err != nil {
		return nil, fmt.Errorf("the secret of the rescue systems cannot be kept: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(secret)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Link(f.Name(), file) // not over another one
	}
	if err != nil {
		return nil, fmt.Errorf("the secret of the rescue systems cannot be kept: %w", err)
	}
	return secret, nil
}

// RescueRungs counts the hosts that have a rung by way of the rescue system.
func RescueRungs(f recovery.Fleet) (hosts int) {
	for _, h := range f.Hosts {
		for _, r := range h.Ladder {
			if r.Kind == recovery.RungRescue {
				hosts++
				break
			}
		}
	}
	return hosts
}
