package rescue

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// CommandLine is what the kernel is told.
const CommandLine = "console=ttyS0 console=tty0 panic=60 blackstart=rescue"

// What the image for virtual media is made with, and Debian's package of each.
var isoParts = []struct{ path, name, from string }{
	{"/usr/lib/ISOLINUX/isolinux.bin", "isolinux.bin", "isolinux"},
	{"/usr/lib/syslinux/modules/bios/ldlinux.c32", "ldlinux.c32", "syslinux-common"},
}

// isoTools refuses at once what would only fail at the end.
func isoTools() error {
	if _, err := exec.LookPath("xorriso"); err != nil {
		return fmt.Errorf("%w: xorriso, which makes %s, is not here: install the packages xorriso, isolinux and syslinux-common", ErrConfig, ISOFile)
	}
	for _, p := range isoParts {
		if _, err := os.Stat(p.path); err != nil {
			return fmt.Errorf("%w: %s, which starts %s, is not here: install the package %s", ErrConfig, p.path, ISOFile, p.from)
		}
	}
	return nil
}

// writeISO makes rescue.iso of the kernel and initramfs in stage, to be started by a BIOS from a virtual CD.
func writeISO(ctx context.Context, stage, dir string) error {
	disc := filepath.Join(dir, "disc")
	if err := os.MkdirAll(filepath.Join(disc, "isolinux"), 0o755); err != nil {
		return err
	}
	for _, p := range isoParts {
		data, err := os.ReadFile(p.path)
		if err != nil {
			return fmt.Errorf("%s cannot be made: %w", ISOFile, err)
		}
		if err := writeFile(filepath.Join(disc, "isolinux", p.name), data); err != nil {
			return err
		}
	}
	menu := "DEFAULT rescue\nPROMPT 0\nTIMEOUT 0\nLABEL rescue\n  KERNEL /" + KernelFile + "\n  INITRD /" + InitrdFile + "\n  APPEND " + CommandLine + "\n"
	if err := writeFile(filepath.Join(disc, "isolinux", "isolinux.cfg"), []byte(menu)); err != nil {
		return err
	}
	for _, name := range []string{KernelFile, InitrdFile} {
		if err := os.Link(filepath.Join(stage, name), filepath.Join(disc, name)); err != nil {
			data, err := os.ReadFile(filepath.Join(stage, name))
			if err != nil {
				return err
			}
			if err := writeFile(filepath.Join(disc, name), data); err != nil {
				return err
			}
		}
	}
	// times, ids and owners are fixed, so that the same files give the same image
	_, err := run(ctx, "xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-r", "-J", "-V", "BLACKSTART",
		"--modification-date=1980010100000000", "--set_all_file_dates", "1980010100000000",
		"-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
		"-o", filepath.Join(stage, ISOFile), disc)
	if err != nil {
		return fmt.Errorf("%s cannot be made: %w", ISOFile, err)
	}
	return nil
}
