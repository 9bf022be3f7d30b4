package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExpand(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string
	}{
		{"app", "app"},
		{"app[01-03]", "app01 app02 app03"},
		{"app[8-11]", "app8 app9 app10 app11"},
		{"app[098-101]", "app098 app099 app100 app101"},
		{"app[01-03,07]", "app01 app02 app03 app07"},
		{"app[1, 3,5-6].x", "app1.x app3.x app5.x app6.x"},
		{"r[1-2]-n[09-10]", "r1-n09 r1-n10 r2-n09 r2-n10"},
		{"[1-2]", "1 2"},
		{"app[0]", "app0"},
	} {
		p, problem, _ := parsePattern(c.in, maxHosts)
		if problem != "" {
			t.Errorf("%s: %s", c.in, problem)
			continue
		}
		if got := strings.Join(p.expand(), " "); got != c.want {
			t.Errorf("%s stands for %s, want %s", c.in, got, c.want)
		}
	}
}

// TestExpandRoundTrip writes down lists of numbers as ranges and wants the same lists back, in order and number.
func TestExpandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-z.-]{0,5}`), 1, 3).Draw(t, "words")
		want := []string{""}
		var written strings.Builder
		for _, word := range words {
			numbers := rapid.SliceOfNDistinct(rapid.IntRange(0, 120), 1, 8, rapid.ID).Draw(t, "numbers")
			slices.Sort(numbers)
			width := rapid.SampledFrom([]int{0, 3, 5}).Draw(t, "width")
			written.WriteString(word + "[" + asRanges(numbers, width) + "]")
			var next []string
			for _, head := range want {
				for _, n := range numbers {
					next = append(next, fmt.Sprintf("%s%s%0*d", head, word, width, n))
				}
			}
			want = next
		}
		p, problem, _ := parsePattern(written.String(), maxHosts)
		if problem != "" {
			t.Fatalf("%s: %s", written.String(), problem)
		}
		if got := p.expand(); !slices.Equal(got, want) || p.count != len(want) {
			t.Fatalf("%s: counted %d, got %q, want %q", written.String(), p.count, got, want)
		}
	})
}

// asRanges writes sorted numbers with runs joined: 1-3,7.
func asRanges(numbers []int, width int) string {
	var items []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		item := fmt.Sprintf("%0*d", width, numbers[i])
		if j > i {
			item += fmt.Sprintf("-%0*d", width, numbers[j])
		}
		items = append(items, item)
		i = j + 1
	}
	return strings.Join(items, ",")
}

func TestParseAddresses(t *testing.T) {
	for _, c := range []struct {
		in    string
		count int
		want  string
	}{
		{"10.0.0.1", 1, "10.0.0.1"},
		{"10.0.0.254", 3, "10.0.0.254 10.0.0.255 10.0.1.0"},
		{"10.0.[1-2].[7,9]", 4, "10.0.1.7 10.0.1.9 10.0.2.7 10.0.2.9"},
		{"fd00::fe", 3, "fd00::fe fd00::ff fd00::100"},
		{"fd00::[10-11]", 2, "fd00::10 fd00::11"},
		{"::ffff:10.0.0.1", 1, "10.0.0.1"},
	} {
		list, problem, _ := parseAddresses(c.in, c.count)
		if got := strings.Trim(fmt.Sprint(list), "[]"); problem != "" || got != c.want {
			t.Errorf("%s for %d: got %s %s, want %s", c.in, c.count, got, problem, c.want)
		}
	}
	for _, bad := range []string{"", "10.0.0", "10.0.0.01", "10.0.0.1/24", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "localhost", "[::1]", "10.0.0.[01-02]"} {
		if list, problem, _ := parseAddresses(bad, 1); problem == "" {
			t.Errorf("%q is accepted as %v", bad, list)
		}
	}
}

func TestParseJump(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.5":           "op@10.0.0.5:22",
		"me@10.0.0.5":        "me@10.0.0.5:22",
		"me@10.0.0.5:2222":   "me@10.0.0.5:2222",
		"me@[fd00::5]:2222":  "me@[fd00::5]:2222",
		"fd00::5":            "op@[fd00::5]:22",
		"@10.0.0.5":          "",
		"me@10.0.0.5:":       "",
		"me@10.0.0.5:0":      "",
		"me@10.0.0.5:99999":  "",
		"a@b@10.0.0.5":       "",
		"jump.example.org":   "",
		"jump.example.org:5": "",
		"":                   "",
	} {
		got, problem, _ := parseJump(in, "op")
		if got != want || (problem == "") != (want != "") {
			t.Errorf("%q: got %q (%s), want %q", in, got, problem, want)
		}
	}
}
