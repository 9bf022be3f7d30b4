package netboot

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// unpack reads a cpio archive in the "newc" form: the files' contents by name. It fails on what Linux would not unpack.
func unpack(t *testing.T, all []byte) map[string]string {
	t.Helper()
	if len(all)%512 != 0 {
		t.Errorf("the archive of %d bytes does not end on a block", len(all))
	}
	files := map[string]string{}
	for at := 0; ; {
		if len(all) < at+110 || string(all[at:at+6]) != "070701" {
			t.Fatalf("no entry at %d", at)
		}
		field := func(n int) int {
			v, err := strconv.ParseUint(string(all[at+6+8*n:at+14+8*n]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(v)
		}
		mode, size, length := field(1), field(6), field(11)
		name := strings.TrimSuffix(string(all[at+110:at+110+length]), "\x00")
		body := (at + 110 + length + 3) &^ 3
		if name == "TRAILER!!!" {
			return files
		}
		if mode&0o077 != 0 && strings.Contains(name, "/ssh_host_ed25519_key") && !strings.HasSuffix(name, ".pub") {
			t.Errorf("%s has mode %o", name, mode)
		}
		if mode&modeFile != 0 {
			files[name] = string(all[body : body+size])
		}
		at = (body + size + 3) &^ 3
	}
}

func TestAShellReadsTheQuotedValues(t *testing.T) {
	for _, text := range []string{"", "web-1/1", "a b", "o'brien", "'; reboot #", "$(reboot) `x` \\ \"", "line\nline", "ö", "a\x00b"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "X="+quote(text)+"\nprintf %s \"$X\"").Output()
		if err != nil || string(out) != strings.ReplaceAll(text, "\x00", "") {
			t.Errorf("%q is read as %q (%v)", text, out, err)
		}
	}
}
