package redfish

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThePageKnowsEverySignatureAndOption compares docs/redfish.md with the code, so that neither changes alone.
func TestThePageKnowsEverySignatureAndOption(t *testing.T) {
	text, err := os.ReadFile("../../docs/redfish.md")
	good(t, err)
	page := string(text)
	for _, option := range known {
		if !strings.Contains(page, "| `"+option+"` |") {
			t.Errorf("the page does not explain the option %s", option)
		}
	}
	files, err := filepath.Glob("*.go")
	good(t, err)
	signature := regexp.MustCompile(`(?:fail\(recovery\.\w+, |Signature: )"([^"]+)"`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		code, err := os.ReadFile(file)
		good(t, err)
		for _, match := range signature.FindAllStringSubmatch(string(code), -1) {
			found++
			if words := strings.TrimSpace(match[1]); !strings.Contains(page, words) {
				t.Errorf("%s: the page does not know the signature %q", file, words)
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d signatures were found in the code; this test looks for them in the wrong way", found)
	}
}
