package remedy

import (
	"context"
	"fmt"
	"os"

	"github.com/pkg/sftp"
)

// push puts the script by SFTP at a path in the attempt's folder. On an error the connection may still live.
func (a *attempt) push(ctx context.Context, l *link, path string) error {
	session, err := l.client.NewSession()
	if err != nil {
		return fmt.Errorf("no session for SFTP: %w", err)
	}
	defer func() { _ = session.Close() }()
	_, err = within(ctx, a.r.cfg.Timeouts.Push, func() { _ = session.Close() }, func() (struct{}, error) {
		in, err := session.StdinPipe()
		if err != nil {
			return struct{}{}, err
		}
		out, err := session.StdoutPipe()
		if err != nil {
			return struct{}{}, err
		}
		if err := session.RequestSubsystem("sftp"); err != nil {
			return struct{}{}, fmt.Errorf("SFTP is off: %w", err)
		}
		client, err := sftp.NewClientPipe(out, in)
		if err != nil {
			return struct{}{}, fmt.Errorf("SFTP does not answer: %w", err)
		}
		defer func() { _ = client.Close() }()
		file, err := client.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return struct{}{}, fmt.Errorf("SFTP: %w", err)
		}
		_, err = file.Write(a.scripts.Repair)
		if closing := file.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return struct{}{}, fmt.Errorf("SFTP: %w", err)
		}
		return struct{}{}, nil
	})
	return err
}
