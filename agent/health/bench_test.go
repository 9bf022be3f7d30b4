package health

import (
	"fmt"
	"testing"
)

// BenchmarkLook is one look of a healthy agent at a Windows volume of common size, nothing having changed.
func BenchmarkLook(b *testing.B) {
	root := b.TempDir()
	for i := range 5000 {
		put(b, root, fmt.Sprintf("Windows/System32/library%04d.dll", i), nil, release)
	}
	for i := range 600 {
		put(b, root, fmt.Sprintf("Windows/System32/drivers/driver%03d.sys", i), nil, release)
	}
	for i := range 200 {
		put(b, root, fmt.Sprintf("Windows/System32/drivers/CrowdStrike/C-00000%03d-00000000-00000001.sys", i+200), header, revert)
	}
	s := NewScanner(root)
	sets := []ProbeSet{crowd()}
	b.ReportAllocs()
	for b.Loop() {
		if f := s.Content(b.Context(), sets, false)[0]; f.Good != 1 {
			b.Fatal(f)
		}
	}
}
