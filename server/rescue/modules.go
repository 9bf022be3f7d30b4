package rescue

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Drivers that are taken where the kernel has them: by name, or all below a folder of the kernel's.
var (
	storageDrivers = []string{
		"virtio_blk", "virtio_scsi", "virtio_pci", "virtio_mmio", "ahci", "ata_piix", "ata_generic", "pata_acpi", "nvme", "vmd", "sd_mod",
		"sr_mod", "cdrom", "mpt3sas", "mptsas", "mptspi", "mptscsih", "megaraid_sas", "aacraid", "hpsa", "smartpqi", "arcmsr", "3w-9xxx", "3w-sas",
		"isci", "mvsas", "lpfc", "qla2xxx", "fnic", "vmw_pvscsi", "hv_storvsc", "xen-blkfront", "xen-scsifront", "usb-storage", "uas", "xhci-pci",
		"ehci-pci", "ohci-pci", "uhci-hcd", "mmc_block", "sdhci-pci", "sdhci-acpi",
	}
	networkDrivers = []string{
		"virtio_net", "e1000", "e1000e", "igb", "igbvf", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "tg3", "bnx2", "bnx2x", "bnxt_en",
		"mlx4_en", "mlx5_core", "vmxnet3", "hv_netvsc", "xen-netfront", "r8169", "realtek", "broadcom", "8139too", "8139cp", "pcnet32", "be2net",
		"enic", "qede", "cxgb4", "sfc", "ena", "gve", "mana", "atlantic", "cdc_ether", "r8152",
	}
	busDrivers        = []string{"hv_vmbus", "virtio-rng", "usbhid", "hid-generic", "hyperv-keyboard", "atkbd", "i8042"}
	fileSystemDrivers = []string{"ext4", "xfs", "btrfs", "vfat", "exfat", "fuse", "ntfs3", "isofs", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"}
	volumeDrivers     = []string{
		"dm-mod", "dm-crypt", "dm-mirror", "dm-raid", "dm-snapshot", "dm-thin-pool", "dm-cache", "dm-integrity", "dm-zero", "md-mod", "linear", "raid0",
		"raid1", "raid10", "raid456", "loop",
	}
	driverFolders = []string{"kernel/crypto/", "kernel/arch/x86/crypto/"}
)

// module is a driver as its .ko file tells of itself.
type module struct {
	path    string   // below lib/modules/RELEASE
	needs   []string // names, with underscores
	before  []string // soft: better loaded before it
	aliases []string
}

// moduleName is how the kernel calls a driver: without folders and ending, with underscores.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// modules are the chosen drivers of one kernel and all that they need, by name.
type modules struct {
	release string
	chosen  map[string]module
}

// chooseModules finds the one kernel of the tree and its drivers.
func chooseModules(t *tree) (modules, error) {
	var kernels []string
	for _, f := range t.under("boot/vmlinuz-") {
		kernels = append(kernels, strings.TrimPrefix(f, "boot/vmlinuz-"))
	}
	if len(kernels) != 1 {
		return modules{}, fmt.Errorf("the packages hold %d kernels, and the rescue system wants one: choose another kernel package", len(kernels))
	}
	m := modules{kernels[0], map[string]module{}}
	base := "usr/lib/modules/" + m.release + "/"
	all := map[string]module{}
	for _, name := range t.under(base + "kernel/") {
		if !strings.HasSuffix(name, ".ko") {
			return modules{}, fmt.Errorf("the driver %s is compressed, which the rescue system cannot read: choose another kernel package", name)
		}
		mod, err := readModule(t.path(name))
		if err != nil {
			return modules{}, fmt.Errorf("the driver %s cannot be read: %w", name, err)
		}
		mod.path = strings.TrimPrefix(name, base)
		all[moduleName(name)] = mod
	}
	for name, mod := range all {
		if slices.ContainsFunc(driverFolders, func(dir string) bool { return strings.HasPrefix(mod.path, dir) }) {
			m.take(all, name)
		}
	}
	for _, names := range [][]string{storageDrivers, networkDrivers, busDrivers, fileSystemDrivers, volumeDrivers} {
		for _, name := range names {
			m.take(all, moduleName(name))
		}
	}
	return m, nil
}

// take chooses a driver with what it needs. One that the kernel has built in, or not at all, is passed over.
func (m modules) take(all map[string]module, name string) {
	mod, ok := all[name]
	if _, taken := m.chosen[name]; taken || !ok {
		return
	}
	m.chosen[name] = mod
	for _, n := range append(slices.Clone(mod.needs), mod.before...) {
		m.take(all, n)
	}
}

// readModule reads the .modinfo section: strings of the form key=value with zero bytes between them.
func readModule(file string) (module, error) {
	f, err := elf.Open(file)
	if err != nil {
		return module{}, err
	}
	defer f.Close()
	var m module
	s := f.Section(".modinfo")
	if s == nil {
		return m, nil
	}
	data, err := s.Data()
	if err != nil {
		return module{}, err
	}
	for _, field := range bytes.Split(data, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "depends":
			for _, n := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
				m.needs = append(m.needs, moduleName(n))
			}
		case "softdep":
			if _, pre, ok := strings.Cut(value, "pre:"); ok {
				pre, _, _ = strings.Cut(pre, "post:")
				for _, n := range strings.Fields(pre) {
					m.before = append(m.before, moduleName(n))
				}
			}
		case "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m, nil
}

// dep is modules.dep: each driver, then what it needs, that which is loaded first last.
func (m modules) dep() []byte {
	var b bytes.Buffer
	for _, name := range m.names() {
		var order []string
		m.order(name, map[string]bool{}, &order)
		slices.Reverse(order)
		fmt.Fprintf(&b, "%s:", m.chosen[name].path)
		for _, n := range order[1:] {
			b.WriteString(" " + m.chosen[n].path)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// order lists what must be loaded for a driver, the first first and itself last.
func (m modules) order(name string, seen map[string]bool, list *[]string) {
	mod, ok := m.chosen[name]
	if !ok || seen[name] {
		return
	}
	seen[name] = true
	for _, n := range append(slices.Clone(mod.before), mod.needs...) {
		m.order(n, seen, list)
	}
	*list = append(*list, name)
}

// alias is modules.alias: by what names the buses and the kernel ask for a driver.
func (m modules) alias() []byte {
	var b bytes.Buffer
	for _, name := range m.names() {
		for _, a := range m.chosen[name].aliases {
			fmt.Fprintf(&b, "alias %s %s\n", a, name)
		}
	}
	return b.Bytes()
}

func (m modules) names() []string { return slices.Sorted(maps.Keys(m.chosen)) }
