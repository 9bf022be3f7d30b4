package playbook

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

// TestBadInput: every message says where, what and what to do, and all come at once.
func TestBadInput(t *testing.T) {
	const at = "demo/manifest.yaml:"
	tests := []struct {
		name     string
		old, new string // what is replaced in the good manifest
		want     []string
	}{
		{"not YAML", "title: A demonstration", "title: [A", []string{
			at + "3:6: not valid YAML: did not find expected ',' or ']'; check the indentation, quotes and brackets here and just above"}},
		{"tab", "  edr: demo-edr", "\tedr: demo-edr", []string{
			at + "4:1: not valid YAML: found character that cannot start any token; check the indentation, quotes and brackets here and just above"}},
		{"two documents", "title: A demonstration", "title: x\n---\na: b", []string{
			"demo/manifest.yaml: there is more than one document; keep the first and remove the line ---"}},
		{"not UTF-8", "A demonstration", "A \xff", []string{
			"demo/manifest.yaml: not valid YAML: invalid leading UTF-8 octet (value: 255); save it as plain UTF-8 text"}},
		{"empty", demoManifest, "# nothing\n", []string{
			"demo/manifest.yaml: the file is empty; write the playbook's manifest into it"}},
		{"a list", demoManifest, "- a\n", []string{
			at + "1:1: a manifest must be a mapping of the keys name, title, match, reboot, bad-content, good-content, scripts, preserve, timeout, verify-within, soak, debts, sources"}},
		{"everything missing", demoManifest, "title: x\n", []string{
			at + "1:1: the key name is missing; add it",
			at + "1:1: the key match is missing; say which edr the playbook is for",
			at + "1:1: the key reboot is missing; add it",
			at + "1:1: the key bad-content is missing; without a probe for it nothing proves that a host is well",
			at + "1:1: the key good-content is missing; without a probe for it nothing proves that a host is well",
			at + "1:1: the key scripts is missing; name a script for at least one of linux, rescue-linux, windows-safe-mode",
			at + "1:1: the key timeout is missing; add it",
			at + "1:1: the key verify-within is missing; add it",
			at + "1:1: the key soak is missing; add it",
			at + "1:1: the key sources is missing; say whose advice the playbook follows"}},
		{"unknown key", "reboot: helps", "reboots: helps\nreboot: helps", []string{
			at + `6:1: unknown key "reboots" in a manifest; the keys are name, title, match, reboot, bad-content, good-content, scripts, preserve, timeout, verify-within, soak, debts, sources`}},
		{"twice", "reboot: helps", "reboot: helps\nreboot: required", []string{
			at + "7:1: the key reboot stands twice in a manifest; remove one"}},
		{"merge key", "match:\n", "match:\n  <<: {edr: x}\n", []string{
			at + `4:3: unknown key "<<" in match; the keys are edr, os`}},
		{"alias", "title: A demonstration", "title: &a x\nreboot: *a", []string{
			at + "3:9: reboot is an alias; write the value out",
			at + "7:1: the key reboot stands twice in a manifest; remove one"}},
		{"empty value", "title: A demonstration", "title:", []string{
			at + "2:7: title is empty; give it a value or remove the key"}},
		{"a list for a value", "title: A demonstration", "title: [a]", []string{
			at + "2:8: title must be a single value"}},
		{"two lines", "title: A demonstration", `title: "a\nb"`, []string{
			at + "2:8: title must be one line of plain text"}},
		{"name", "name: demo\n", "name: Demo_1\n", []string{
			at + `1:7: name is "Demo_1"; use lower-case letters and digits with single hyphens between them`,
			at + `1:7: name is "Demo_1" but the folder is called "demo"; make them equal`}},
		{"os", "os: [windows, linux]", "os: [Windows, linux, linux]", []string{
			at + `5:8: os is "Windows"; use lower-case letters and digits with single hyphens between them`,
			at + "5:24: os linux stands twice; remove one"}},
		{"edr", "edr: demo-edr", "edr: Demo EDR", []string{
			at + `4:8: edr is "Demo EDR"; use lower-case letters and digits with single hyphens between them`}},
		{"reboot", "reboot: helps", "reboot: maybe", []string{
			at + `6:9: reboot is "maybe"; use one of required, helps, forbidden`}},
		{"probe without content", "    header: AA 01\n", "    min-size: 10\n", []string{
			at + "8:5: the probe decides by name alone, and good and bad files share names; add header, modified-from, modified-to or sha256"}},
		{"probe is text", "good-content:\n  - name: good\n    path: /opt/demo/*.bin\n    modified-from: 2024-07-19T05:27:00Z\n", "good-content: [x]\n", []string{
			at + "11:16: a probe of good-content must be a mapping of the keys name, path, ignore-case, header, modified-from, modified-to, sha256, min-size"}},
		{"no probes", "good-content:\n  - name: good\n    path: /opt/demo/*.bin\n    modified-from: 2024-07-19T05:27:00Z\n", "good-content: []\n", []string{
			at + "11:15: good-content is empty; give it an element or remove the key"}},
		{"relative path", "path: /opt/demo/*.bin\n    header", "path: opt/demo/*.bin\n    header", []string{
			at + `9:11: path is "opt/demo/*.bin": a probe's path starts with / and lies below the host's root`}},
		{"dots in a path", "path: /opt/demo/*.bin\n    header", "path: /opt/../etc/x\n    header", []string{
			at + `9:11: path is "/opt/../etc/x": the path has the element ..; write it out from the root`}},
		{"shell in a path", "path: /opt/demo/*.bin\n    header", "path: /opt/$(reboot)\n    header", []string{
			at + `9:11: path is "/opt/$(reboot)": a path holds letters, digits, spaces, the wildcards * and ? and . _ - ( ) + , = @ { } ~ only; put ? for any other character`}},
		{"quote in a path", "path: /opt/demo/*.bin\n    header", "path: \"/opt/x'y\"\n    header", []string{
			at + `9:11: path is "/opt/x'y": a path holds letters, digits, spaces, the wildcards * and ? and . _ - ( ) + , = @ { } ~ only; put ? for any other character`}},
		{"double slash", "path: /opt/demo/*.bin\n    header", "path: /opt//x\n    header", []string{
			at + `9:11: path is "/opt//x": the path has an empty element; write single slashes and no slash at the end`}},
		{"any file", "path: /opt/demo/*.bin\n    header", "path: /opt/*\n    header", []string{
			at + `9:11: path is "/opt/*": the last element is all wildcards and would match any file; name the files more closely`}},
		{"header", "header: AA 01", "header: AA 0G", []string{
			at + `10:13: header is "AA 0G"; write 1 to 64 bytes in hex like AA AA 01 00, in quotes if it is all digits`}},
		{"local time", "2024-07-19T05:27:00Z", "2024-07-19T05:27:00+01:00", []string{
			at + `14:20: modified-from is "2024-07-19T05:27:00+01:00"; write a UTC time in whole seconds like 2024-07-19T04:09:00Z`}},
		{"empty window", "2024-07-19T05:27:00Z", "2024-07-19T05:27:00Z\n    modified-to: 2024-07-19T05:27:00Z", []string{
			at + "15:18: modified-to is not after modified-from, so nothing can match; swap or correct them"}},
		{"digest", "header: AA 01", "sha256: ABC", []string{
			at + `10:13: sha256 is "ABC"; write the file's SHA-256 as 64 lower-case hex digits`}},
		{"min-size", "header: AA 01", "header: AA 01\n    min-size: -1", []string{
			at + `11:15: min-size is "-1"; write a whole number of bytes, 1 or more`}},
		{"ignore-case", "header: AA 01", "header: AA 01\n    ignore-case: yes", []string{
			at + `11:18: ignore-case is "yes"; write true or false`}},
		{"traversal", "linux: repair.sh", "linux: ../../etc/shadow.sh", []string{
			at + `16:10: script "../../etc/shadow.sh" is not a plain file name; put the script into the playbook's own folder and name it without a path`}},
		{"absolute script", "linux: repair.sh", "linux: /bin/x.sh", []string{
			at + `16:10: script "/bin/x.sh" is not a plain file name; put the script into the playbook's own folder and name it without a path`}},
		{"wrong kind of script", "linux: repair.sh", "windows-safe-mode: repair.sh", []string{
			at + `16:22: script "repair.sh" cannot run in windows-safe-mode; name a file that ends in .ps1`}},
		{"missing script", "linux: repair.sh", "linux: repare.sh", []string{
			at + "16:10: script repare.sh is not in the folder; add it or correct the name"}},
		{"unknown environment", "linux: repair.sh", "linux: repair.sh\n  solaris: repair.sh", []string{
			at + `17:3: unknown key "solaris" in scripts; the keys are linux, rescue-linux, windows-safe-mode`}},
		{"no scripts", "  linux: repair.sh", "  {}", []string{
			at + "16:3: scripts is empty; name a script for at least one of linux, rescue-linux, windows-safe-mode"}},
		{"duration", "timeout: 5m", "timeout: 5", []string{
			at + `17:10: timeout is "5", which is no duration; write it like 90s, 5m or 1h30m`}},
		{"too long", "timeout: 5m", "timeout: 48h", []string{
			at + "17:10: timeout is 48h; use a duration from 1s to 24h0m0s"}},
		{"zero", "verify-within: 20m", "verify-within: 0s", []string{
			at + "18:16: verify-within is 0s; use a duration from 1s to 24h0m0s"}},
		{"debts", "sources:", "debts:\n  - {id: a, what: b, environments: [rescue-linux, linux, linux]}\n  - {id: a, what: c}\n  - {id: B}\nsources:", []string{
			at + `21:37: the debt is for the environment "rescue-linux", for which there is no script; correct it or remove it`,
			at + "21:58: the environment linux stands twice; remove one",
			at + "22:10: the debt a stands twice; remove one",
			at + "23:5: the key what is missing; add it",
			at + `23:10: id is "B"; use lower-case letters and digits with single hyphens between them`}},
		{"sources", "url: https://vendor.example/advice\n    retrieved: 2024-07-20", "url: vendor.example\n    retrieved: 20 July", []string{
			at + `22:10: url is "vendor.example"; write the full address, which starts with https://`,
			at + `23:16: retrieved is "20 July"; write the day the advice was read like 2024-07-19`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(demoManifest, test.old) {
				t.Fatalf("the good manifest holds no %q", test.old)
			}
			_, err := Load(demo(strings.Replace(demoManifest, test.old, test.new, 1)))
			wantErrors(t, err, test.want)
		})
	}
}

// TestBadFolder: the same for what surrounds the manifest.
func TestBadFolder(t *testing.T) {
	with := func(name, text string) fstest.MapFS {
		m := demo(demoManifest)
		m["demo/"+name] = &fstest.MapFile{Data: []byte(text)}
		return m
	}
	many := demo(demoManifest)
	for i := range maxFiles {
		many["demo/f"+strings.Repeat("x", i)] = &fstest.MapFile{}
	}
	tests := []struct {
		name string
		fsys fstest.MapFS
		want []string
	}{
		{"near miss", fstest.MapFS{"demo/manifest.yml": {}}, []string{"demo/manifest.yml: a playbook's manifest is called manifest.yaml; rename it"}},
		{"near miss in case", fstest.MapFS{"demo/Manifest.yaml": {}}, []string{"demo/Manifest.yaml: a playbook's manifest is called manifest.yaml; rename it"}},
		{"hidden", with(".DS_Store", "x"), []string{"demo/.DS_Store: does not belong into a playbook, whose digest covers every file; remove it, or rename it with letters, digits, . _ and -"}},
		{"backup", with("repair.sh~", "x"), []string{"demo/repair.sh~: does not belong into a playbook, whose digest covers every file; remove it, or rename it with letters, digits, . _ and -"}},
		{"huge", with("big.bin", strings.Repeat("x", maxFileBytes+1)), []string{"demo/big.bin: is larger than 1024 KiB; make it smaller"}},
		{"huge manifest", with("manifest.yaml", strings.Repeat("#", maxManifest+1)), []string{"demo/manifest.yaml: is larger than 64 KiB; make it smaller"}},
		{"many", many, []string{"demo: holds more than 64 files and folders; move what is no part of the playbook elsewhere"}},
		{"empty script", with("repair.sh", "\n"), []string{"demo/manifest.yaml:16:10: script repair.sh is empty; write it or remove the environment"}},
		{"binary script", with("repair.sh", "\x7fELF\x00"), []string{"demo/manifest.yaml:16:10: script repair.sh is not text; name a script"}},
		{"CRLF script", with("repair.sh", "#!/bin/sh\r\n# BLACKSTART-RESULT\r\n"), []string{"demo/manifest.yaml:16:10: script repair.sh has Windows line ends, on which a shell stumbles; save it with line feeds only"}},
		{"no result line", with("repair.sh", "true\n"), []string{"demo/manifest.yaml:16:10: script repair.sh prints no BLACKSTART-RESULT line, without which no repair counts; print it last"}},
		{"deletes", with("repair.sh", "# BLACKSTART-RESULT\n# rm is not run here\n\trm -f /x\n"), []string{"demo/manifest.yaml:1:1: script repair.sh deletes files in line 3; have it copy them aside first and write preserve: true"}},
		{"two playbooks", func() fstest.MapFS {
			m := fstest.MapFS{"a/manifest.yaml": {Data: []byte("# a\n")}, "b/manifest.yaml": {Data: []byte("# b\n")}}
			return m
		}(), []string{"a/manifest.yaml: the file is empty; write the playbook's manifest into it", "b/manifest.yaml: the file is empty; write the playbook's manifest into it"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(test.fsys)
			wantErrors(t, err, test.want)
		})
	}
}

func TestDeletes(t *testing.T) {
	for text, want := range map[string]int{
		"rm -f x": 1, "\n  rm x": 2, "if a; then rm x; fi": 1, "x=$(rm y)": 1, "find . -delete": 1, "Remove-Item $x": 1,
		"[IO.File]::Delete($x)": 1, "$f.Delete()": 1, "unlink x": 1,
		"# rm x": 0, "echo removed": 0, "form x": 0, "rmdir": 0, "alarm x": 0,
	} {
		if got := deletes([]byte(text)); got != want {
			t.Errorf("%q: line %d, want %d", text, got, want)
		}
	}
}

func wantErrors(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("\n got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	for _, line := range want {
		if strings.Contains(line, ".yaml:") {
			var p *Problem
			if !errors.As(err, &p) {
				t.Error("no *Problem inside")
			}
		}
	}
}
