package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

// Backends are all kinds of repository, by the name that an order has for them.
func Backends() map[string]Backend {
	return map[string]Backend{
		"restic":     NewRestic(),
		"postgresql": postgresqlBackend{},
		"exec":       execBackend{},
	}
}

// Engines are all engines, by the name that an order has for them.
func Engines() map[string]Engine {
	return map[string]Engine{
		"postgresql": pgEngine{},
		"sqlite":     sqliteEngine{},
		"exec":       execEngine{},
	}
}

const restartLimit = 30 * time.Second // for the system to take the order in

// Restart has the operating system restart this host. It returns when that was taken in.
func Restart() error {
	for _, argv := range restartCommands(runtime.GOOS) {
		if _, err := os.Stat(argv[0]); err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), restartLimit)
		defer cancel()
		e, err := command{path: argv[0], args: argv[1:]}.run(ctx)
		if err == nil && e.exit != 0 {
			err = fmt.Errorf("%s ended with %d: %s", argv[0], e.exit, e.said)
		}
		return err
	}
	return errors.New("no program that restarts this host was found")
}

// restartCommands are the programs that restart a host; the first that is there is used.
func restartCommands(system string) [][]string {
	if system == "windows" {
		root := os.Getenv("SystemRoot")
		if root == "" {
			root = `C:\Windows`
		}
		return [][]string{{root + `\System32\shutdown.exe`, "/r", "/t", "0", "/d", "p:4:1"}}
	}
	return [][]string{
		{"/usr/sbin/shutdown", "-r", "now"}, {"/sbin/shutdown", "-r", "now"},
		{"/usr/bin/systemctl", "reboot"}, {"/usr/sbin/reboot"}, {"/sbin/reboot"},
	}
}
