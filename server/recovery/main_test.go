package recovery

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("rapid.nofailfile", "true") // the seed is printed; a failure leaves no file behind
	os.Exit(m.Run())
}
