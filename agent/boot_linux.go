package agent

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// bootID is the kernel's own: random, and new with every boot.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(data))
	if id == "" {
		return "", fmt.Errorf("the kernel tells none; is /proc mounted?")
	}
	return id, nil
}

func bootMode() string {
	data, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "" // unknown
	}
	return modeOf(string(data))
}

// modeOf reads the kernel's command line: "rescue" where it asks for less than the whole system.
func modeOf(cmdline string) string {
	rescue := []string{"rescue", "emergency", "single", "s", "S", "1", "-s", "-b"}
	for word := range strings.FieldsSeq(cmdline) {
		if unit, ok := strings.CutPrefix(word, "systemd.unit="); ok {
			word = strings.TrimSuffix(unit, ".target")
		}
		if slices.Contains(rescue, word) {
			return "rescue"
		}
	}
	return "normal"
}
