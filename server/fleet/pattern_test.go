package fleet

import (
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestSelect(t *testing.T) {
	f := recovery.Fleet{Name: "estate", Hosts: []recovery.Host{
		{Name: "app01", Tier: "apps", Service: "social-care", Site: "north", Council: "a", OS: "linux", Groups: []string{"pair", "odd"}},
		{Name: "app02", Tier: "apps", Service: "social-care", Site: "south", Council: "b", OS: "windows-2019", Groups: []string{"pair"}},
		{Name: "app03", Tier: "apps", Service: "housing", Site: "south", Council: "b", OS: "linux"},
		{Name: "dc.north", Tier: "base", Service: "directory", Site: "north", OS: "windows-2022"},
	}}
	for text, want := range map[string]string{
		"":                          "app01 app02 app03 dc.north",
		" , ":                       "app01 app02 app03 dc.north",
		"*":                         "app01 app02 app03 dc.north",
		"app02":                     "app02",
		"all":                       "app01 app02 app03 dc.north",
		"all,!app*":                 "dc.north",
		"app03,app01,app01":         "app01 app03",
		"app[01-02]":                "app01 app02",
		"app[01,03], dc.north":      "app01 app03 dc.north",
		"app0?":                     "app01 app02 app03",
		"*north":                    "dc.north",
		"tier=base":                 "dc.north",
		"tier=apps,!site=south":     "app01",
		"!site=south,tier=apps":     "app01",
		"!app*":                     "dc.north",
		"! app[01-02]":              "app03 dc.north",
		"service=social-*":          "app01 app02",
		"group=pair":                "app01 app02",
		"group=odd":                 "app01",
		"os=windows*":               "app02 dc.north",
		"council=b,site=north":      "app01 app02 app03 dc.north",
		"app[01-0a]":                "! has a range [01-0a] that is not made of numbers",
		"app[01":                    "! has a [ without a ]",
		"app01]":                    "! has a ] without a [",
		"app04":                     "! no host of fleet estate is called \"app04\"",
		"app[02-05]":                "! has no host \"app04\", which \"app[02-05]\" names",
		"app01,!web*":               "! no host of fleet estate is called \"web*\"",
		"tier=app":                  "! has no host with tier \"app\"",
		"colour=red":                "! chooses by \"colour\": use tier=",
		"app01,!app01":              "! leaves no host",
		"app[000000000-999999999]":  "! stands for more than",
		`app01\`:                    "! is no name and no pattern",
		"site=":                     "! has no host with site",
		"app[1-9][1-9]*[1-2],x\x1b": "! has no host \"app11*1\"",
	} {
		hosts, err := Select(f, text)
		var names []string
		for _, h := range hosts {
			names = append(names, h.Name)
		}
		if problem, bad := strings.CutPrefix(want, "! "); bad {
			if err == nil || !strings.Contains(err.Error(), problem) || hosts != nil || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q: %v, %v; want an error with %q", text, names, err, problem)
			}
			continue
		}
		if got := strings.Join(names, " "); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}
