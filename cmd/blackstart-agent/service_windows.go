package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows/svc"
)

const noWait = 0

func (s settings) systemRoot() string {
	if s.root != "" {
		return s.root
	}
	if drive := os.Getenv("SystemDrive"); drive != "" {
		return drive + `\`
	}
	return `C:\`
}

// serve runs under the service manager and writes its log to agent.log in the settings' folder, because a service has no
// standard error.
func serve(s settings) error {
	inService, err := svc.IsWindowsService()
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	if !inService {
		return fmt.Errorf("only the service manager starts this; use `blackstart-agent run` by hand")
	}
	log, err := openLog(filepath.Join(s.dir, "agent.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	return svc.Run("blackstart-agent", &service{settings: s, log: log})
}

type service struct {
	settings settings
	log      *logFile
}

// Execute is called by the service manager. A stop and a shutdown both end the agent, which says its last words.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	status <- svc.Status{State: svc.StartPending}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- phoneHome(ctx, s.settings, s.log) }()
	const accepts = svc.AcceptStop | svc.AcceptShutdown
	status <- svc.Status{State: svc.Running, Accepts: accepts}
	for {
		select {
		case err := <-done:
			if err != nil {
				fmt.Fprintln(s.log, "blackstart-agent:", err)
				return true, exitFailed
			}
			return false, exitDone
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: 5000}
				cancel()
			}
		}
	}
}
