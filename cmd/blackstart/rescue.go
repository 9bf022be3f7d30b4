package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/rescue"
)

func newRescue(o *options) *cobra.Command {
	c := &cobra.Command{Use: "rescue", Short: "Build the system that hosts are started into when their own does not come up", Example: "  blackstart rescue build --out rescue --url http://10.0.0.5:7480 --ssh-ca responders_ca.pub"}
	c.AddCommand(newRescueBuild(o))
	return c
}

// rescueAccount is what `rescue build -o json` prints.
type rescueAccount struct {
	Out     string  `json:"out"`
	Seconds float64 `json:"seconds"`
	rescue.Manifest
}

func newRescueBuild(o *options) *cobra.Command {
	var cfg rescue.Config
	var keys, authorities []string
	c := &cobra.Command{
		Use: "build --out DIR --url URL", Short: "Build the rescue image from Debian's packages", Args: cobra.NoArgs,
		Long: `Build makes a small kernel and initramfs from Debian's own packages, for network boot, and with --iso an image for virtual media. In it are an SSH server for the given keys, what it takes to open NTFS, BitLocker, LUKS, LVM and Linux volumes, and no secret: the host key comes with each boot.

It needs a Debian machine with a network, not root: packages are checked by apt and kept in a cache folder, and the machine's own stay as they are. The same packages and keys give the same bytes. Build it in peace time.`,
		Example: "  blackstart rescue build --out rescue --url http://10.0.0.5:7480 --ssh-key ~/.ssh/id_ed25519.pub\n" +
			"  blackstart rescue build --out rescue --url http://10.0.0.5:7480 --ssh-ca responders_ca.pub --kernel linux-image-cloud-amd64 --iso",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needed(c, cfg.Out, "out", "DIR"); err != nil {
				return err
			}
			if err := needed(c, cfg.URL, "url", "http://IP:PORT"); err != nil {
				return err
			}
			if len(keys)+len(authorities) == 0 {
				return usage("rescue build needs --ssh-key FILE.pub or --ssh-ca FILE.pub: without one nobody could log in to the rescue system")
			}
			var err error
			if cfg.Keys, err = publicKeys("ssh-key", keys); err != nil {
				return err
			}
			if cfg.CAs, err = publicKeys("ssh-ca", authorities); err != nil {
				return err
			}
			if !o.json() {
				cfg.Tell = func(what string) { fmt.Fprintln(c.ErrOrStderr(), "blackstart: "+what+" …") }
			}
			begun := time.Now()
			m, err := rescue.Build(c.Context(), cfg)
			if errors.Is(err, rescue.ErrConfig) {
				return usage("%w", err)
			}
			if err != nil {
				return err
			}
			acc := rescueAccount{cfg.Out, time.Since(begun).Round(time.Millisecond).Seconds(), m}
			if o.json() {
				return printJSON(c, acc)
			}
			acc.print(c)
			return nil
		},
	}
	fl := c.Flags()
	fl.StringVar(&cfg.Out, "out", "", "`folder` for the image; it is made when it does not exist")
	fl.StringVar(&cfg.URL, "url", "", "the coordinator's rescue `URL` as hosts reach it, http://IP:PORT")
	fl.StringArrayVar(&keys, "ssh-key", nil, "`file` with public keys that may log in; may be repeated")
	fl.StringArrayVar(&authorities, "ssh-ca", nil, "`file` with the public key of an authority whose user certificates may log in as root; may be repeated")
	fl.StringVar(&cfg.Kernel, "kernel", rescue.DefaultKernel, "Debian kernel `package`; linux-image-cloud-amd64 is smaller, for virtual machines only")
	fl.BoolVar(&cfg.ISO, "iso", false, "also write "+rescue.ISOFile+" for virtual media (needs xorriso and isolinux)")
	fl.StringVar(&cfg.Cache, "cache", "", "`folder` for package lists and packages, about 100 MB; default is in the user's cache folder")
	return c
}

func publicKeys(flag string, files []string) ([]ssh.PublicKey, error) {
	var all []ssh.PublicKey
	for _, file := range files {
		keys, err := rescue.ReadKeys(file)
		if err != nil {
			return nil, usage("--%s: %w", flag, err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

func (a rescueAccount) print(c *cobra.Command) {
	var rows []table.Row
	for _, name := range sortedKeys(a.Files) {
		rows = append(rows, table.Row{filepath.Join(a.Out, name), fmt.Sprintf("%.1f MB", float64(a.Files[name].Size)/1e6), a.Files[name].SHA256})
	}
	printTable(c, table.Row{"FILE", "SIZE", "SHA256"}, rows)
	say(c, "\nLinux %s, %s, %s; %s, %s; hosts find the coordinator at %s", a.Kernel, plural(len(a.Packages), "package"), plural(len(a.Drivers), "driver"),
		plural(len(a.Keys), "SSH key"), plural(len(a.CAs), "SSH CA"), a.URL)
}
