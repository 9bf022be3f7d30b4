package netboot

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestIdentitiesAreRead(t *testing.T) {
	const mac, uuid = "52:54:00:ab:cd:ef", "11111111-2222-3333-4444-55555555abcd"
	for query, want := range map[string]string{
		"mac=52-54-00-AB-cd-ef": mac,
		"mac=52:54:00:ab:CD:EF": mac,
		"mac=525400abcdef":      mac,
		"mac=52%3A54%3A00%3Aab%3Acd%3Aef&uuid=11111111-2222-3333-4444-55555555ABCD": mac + " " + uuid,
		"mac=&uuid=11111111-2222-3333-4444-55555555abcd":                            " " + uuid,
		"mac=52-54-00-ab-cd-ef&mac=&mac=02:00:00:00:00:01&mac=525400abcdef":         mac + ",02:00:00:00:00:01",
		"mac=00:00:00:00:00:00&uuid=00000000-0000-0000-0000-000000000000":           "",
		"mac=ff:ff:ff:ff:ff:ff&uuid=FFFFFFFF-ffff-ffff-ffff-ffffffffffff":           "",
		"":             "",
		"serial=4&x=y": "",
	} {
		id, err := parseIdentity(query)
		if got := strings.Join(id.macs, ",") + " " + id.uuid; err != nil || strings.TrimRight(got, " ") != want {
			t.Errorf("%q: %q %v, want %q", query, got, err, want)
		}
	}
}

func TestWhatIsNoIdentityIsRefused(t *testing.T) {
	for _, query := range []string{
		"mac=x", "mac=52-54-00-00-00", "mac=52-54-00-00-00-0g", "mac=52:54-00-00-00-00", "mac=5254.0000.0001", "mac=52 54 00 00 00 01",
		"mac=a2a4a00a00a00a001", "mac=525400000001;reboot", "mac=%00", "mac=52-54-00-00-00-01%0a", "mac=%", "mac=1;mac=2",
		"uuid=1", "uuid=11111111222233334444555555555555", "uuid={11111111-2222-3333-4444-555555555555}", "uuid=1111111-12222-3333-4444-555555555555",
		"uuid=11111111-2222-3333-4444-55555555555g",
		"uuid=11111111-2222-3333-4444-555555555555&uuid=21111111-2222-3333-4444-555555555555",
		strings.Repeat("mac=525400000001&", maxMACs+1), "mac=525400000001&x=" + strings.Repeat("5", maxQuery),
	} {
		if id, err := parseIdentity(query); !errors.Is(err, errBadIdentity) {
			t.Errorf("%.60q is read as %v (%v)", query, id, err)
		}
	}
}

func TestHostsAreFoundByTheirIdentity(t *testing.T) {
	ix, doubts := newIndex(estate)
	if got := strings.Join(doubts, "; "); !strings.Contains(got, "52:54:00:00:00:05 is of twin-1 and of twin-2") || !strings.Contains(got, "cccccccc-2222-3333-4444-555555555555 is of clone-1 and of clone-2") {
		t.Errorf("doubts: %s", got)
	}
	for query, want := range map[string]string{
		"mac=525400000001":                                                            "web-1",
		"mac=525400000011":                                                            "web-1",
		"uuid=11111111-2222-3333-4444-555555555555":                                   "web-1",
		"uuid=AAAAAAAA-2222-3333-4444-555555555555":                                   "web-2",
		"mac=525400000099&uuid=aaaaaaaa-2222-3333-4444-555555555555":                  "web-2",     // a new network card
		"mac=525400000001&uuid=99999999-2222-3333-4444-555555555555":                  "web-1",     // a new main board
		"mac=525400000001&mac=525400000011&uuid=11111111-2222-3333-4444-555555555555": "web-1",     // all agree
		"mac=525400000004&uuid=cccccccc-2222-3333-4444-555555555555":                  "clone-2",   // the MAC wins over a shared UUID
		"mac=525400000001&uuid=cccccccc-2222-3333-4444-555555555555":                  "web-1",     // the same
		"mac=525400000001&uuid=aaaaaaaa-2222-3333-4444-555555555555":                  "!conflict", // two hosts
		"mac=525400000001&mac=525400000002":                                           "!conflict",
		"mac=525400000005":                                                            "!conflict", // two hosts have it
		"mac=525400000005&uuid=11111111-2222-3333-4444-555555555555":                  "!conflict",
		"uuid=cccccccc-2222-3333-4444-555555555555":                                   "!conflict",
		"mac=525400000099":                                                            "!unknown",
		"":                                                                            "!unknown",
		"mac=00:00:00:00:00:00&uuid=00000000-0000-0000-0000-000000000000":             "!unknown",
	} {
		id, err := parseIdentity(query)
		if err != nil {
			t.Fatal(err)
		}
		host, err := ix.find(id)
		switch {
		case errors.Is(err, errConflict):
			host = "!conflict"
		case errors.Is(err, errUnknown):
			host = "!unknown"
		case err != nil:
			t.Fatal(err)
		}
		if host != want {
			t.Errorf("%s: %s, want %s", query, host, want)
		}
	}
}

// Firmware and hypervisors disagree on the byte order of a UUID's first half.
func TestUUIDsAreFoundInBothByteOrders(t *testing.T) {
	ix, doubts := newIndex([]recovery.Host{{Name: "a", UUID: "00112233-4455-6677-8899-aabbccddeeff"}})
	host, err := ix.find(identity{uuid: "33221100-5544-7766-8899-aabbccddeeff"})
	if host != "a" || err != nil || len(doubts) != 0 {
		t.Errorf("%q %v %v", host, err, doubts)
	}
}

func TestIdentitiesOfNoUseAreTold(t *testing.T) {
	_, doubts := newIndex([]recovery.Host{{Name: "a", MACs: []string{"x", "00:00:00:00:00:00"}, UUID: "y"}, {Name: "b", UUID: "ffffffff-ffff-ffff-ffff-ffffffffffff"}})
	if len(doubts) != 4 {
		t.Errorf("%q", doubts)
	}
}

func FuzzIdentity(f *testing.F) {
	for _, query := range []string{
		"mac=52-54-00-00-00-01&uuid=11111111-2222-3333-4444-555555555555", "mac=525400000001&mac=", "mac=%35&uuid=%zz", "mac=1;uuid=2", "uuid=é", "&&=&",
		"mac=52:54:00:00:00:01", "mac=a2a4a00a00a00a001",
	} {
		f.Add(query)
	}
	ix, _ := newIndex(estate)
	f.Fuzz(func(t *testing.T, query string) {
		id, err := parseIdentity(query)
		if err != nil {
			if !errors.Is(err, errBadIdentity) || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("%q", err)
			}
			return
		}
		again := url.Values{"mac": id.macs, "uuid": {id.uuid}}
		for _, mac := range id.macs {
			if read, ok := parseMAC(mac); !ok || read != mac || len(mac) != 17 || strings.ToLower(mac) != mac {
				t.Fatalf("MAC %q is not in its one form", mac)
			}
		}
		if read, ok := parseUUID(id.uuid); !ok || read != id.uuid || id.uuid != "" && swapped(swapped(id.uuid)) != id.uuid {
			t.Fatalf("UUID %q is not in its one form", id.uuid)
		}
		second, err := parseIdentity(again.Encode())
		if err != nil || strings.Join(second.macs, " ") != strings.Join(id.macs, " ") || second.uuid != id.uuid {
			t.Fatalf("%v is read again as %v (%v)", id, second, err)
		}
		host, err := ix.find(id)
		if (host == "") != (err != nil) {
			t.Fatalf("%v: %q and %v", id, host, err)
		}
	})
}
