package agent

import "testing"

func TestBoot(t *testing.T) {
	id, err := bootID()
	if again, _ := bootID(); err != nil || len(id) != 36 || again != id {
		t.Errorf("boot id %q, then %q: %v", id, again, err)
	}
	for cmdline, want := range map[string]string{
		"BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n":              "normal",
		"root=/dev/sda1 single":                                      "rescue",
		"root=/dev/sda1 systemd.unit=rescue.target quiet":            "rescue",
		"systemd.unit=emergency.target":                              "rescue",
		"emergency":                                                  "rescue",
		"root=/dev/mapper/rescue-root systemd.unit=graphical.target": "normal",
		"": "normal",
	} {
		if got := modeOf(cmdline); got != want {
			t.Errorf("%q: %s, want %s", cmdline, got, want)
		}
	}
}
