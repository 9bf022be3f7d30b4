package restore

import (
	"strings"
	"testing"
	"time"
)

var expectMoment = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func TestExpect(t *testing.T) {
	many := strings.Repeat("9", 60)
	for _, c := range []struct {
		expr    string
		columns []string
		want    bool
	}{
		{"equal", []string{"812", "812"}, true},
		{"equal", []string{"812", "811"}, false},
		{"equal", []string{"7", "7", "8"}, false},
		{"equal", []string{"10", "10.0", "1e1"}, true},
		{"equal", []string{"a", "a"}, true},
		{"equal", []string{"a", "A"}, false},
		{"equal", []string{many + "1", many + "2"}, false}, // the same as float64
		{"equal", []string{"", ""}, false},                 // two NULLs
		{"equal", nil, false},
		{"= 0", []string{"0"}, true},
		{"= 0", []string{"0.00"}, true},
		{"=0", []string{"-0"}, true},
		{"= 0", []string{"00000001"}, false},
		{"= 0", []string{""}, false},
		{"= 0", nil, false},
		{"= ok", []string{"ok"}, true},
		{"= ok", []string{"OK"}, false},
		{"= all good", []string{"all", "good"}, true},
		{"= 0", []string{"0", "rows"}, true},
		{"= 0.1", []string{".1"}, true},
		{"!= 0", []string{"1"}, true},
		{"!= 0", []string{"0.0"}, false},
		{"!= 0", []string{""}, false},
		{"!= 0", nil, false},
		{"!= none", []string{"some"}, true},
		{"< 10", []string{"9.999"}, true},
		{"< 10", []string{"10"}, false},
		{"< 10", []string{"9e0"}, true},
		{"<= 10", []string{"10.0"}, true},
		{"<= 10", []string{"10.01"}, false},
		{"> -5", []string{"-4"}, true},
		{"> -5", []string{"-5"}, false},
		{">= 1000", []string{"1000"}, true},
		{">= 1000", []string{"999"}, false},
		{">= 1000", []string{" 1000 "}, true},
		{">= 9007199254740993", []string{"9007199254740992"}, false}, // equal as float64
		{">= 1000", []string{"lots"}, false},
		{">= 1000", []string{"0x7d0"}, false},
		{">= 1000", []string{"3000/2"}, false},
		{">= 1000", []string{"1e999999999"}, false}, // would fill the memory
		{">= 1000", []string{"1e308"}, true},
		{">= 1000", []string{"Infinity"}, false},
		{"< 1000", []string{"NaN"}, false},
		{">= 1", []string{strings.Repeat("1", maxNumber+1)}, false},
		{">= 1", []string{""}, false},
	} {
		got, detail, err := expect(c.expr, c.columns, time.Time{})
		if err != nil || got != c.want || detail == "" {
			t.Errorf("expect(%q, %.60q) = %v, %q, %v; want %v", c.expr, c.columns, got, detail, err, c.want)
		}
	}
}

func TestExpectWithin(t *testing.T) {
	for _, c := range []struct {
		expr    string
		columns []string
		want    bool
	}{
		{"within 26h", []string{"2026-03-09T10:00:00Z"}, true}, // to the second
		{"within 26h", []string{"2026-03-09T09:59:59Z"}, false},
		{"within 26h", []string{"2026-03-09T12:00:00+02:00"}, true},
		{"within 26h", []string{"2026-03-09T11:59:59+02:00"}, false},
		{"within 26h", []string{"2026-03-10 11:59:59.123456+00"}, true},   // PostgreSQL's timestamptz
		{"within 1h", []string{"2026-03-10 16:45:00.5+05:30"}, true},      // and in India
		{"within 1h", []string{"2026-03-10 16:45:00+05"}, true},           // 11:45
		{"within 1h", []string{"2026-03-10 15:45:00+05"}, false},          // 10:45
		{"within 1h", []string{"2026-03-10 11:30:00"}, true},              // SQLite's, and PostgreSQL's timestamp
		{"within 1h", []string{"2026-03-10", "11:30:00"}, true},           // split at its blank
		{"within 1h", []string{"2026-03-10", "10:30:00"}, false},          // not taken for midnight
		{"within 1h", []string{"2026-03-10 11:30:00", "42 rows"}, true},   // further columns
		{"within 1h", []string{"2026-03-10", "11:30", "ok"}, true},        // a word after it
		{"within 1h", []string{"2026-03-10", "11:30:00", "UTC"}, true},    // date -u
		{"within 1h", []string{"2026-03-10", "11:30:00", "CET"}, false},   // says nothing without its offset
		{"within 1h", []string{"2026-03-10", "12:30:00", "+0100"}, true},  // git, date --iso
		{"within 1d", []string{"2026-03-10"}, true},                       // a day begins at midnight UTC
		{"within 11h59m", []string{"2026-03-10"}, false},                  //
		{"within 1h", []string{"1773142200"}, true},                       // 11:30
		{"within 1h", []string{"1773142200.75"}, true},                    //
		{"within 1h", []string{"1773140399"}, false},                      // 10:59:59
		{"within 1h", []string{"1773142200000"}, false},                   // milliseconds
		{"within 1h", []string{"999999999999"}, false},                    // far away
		{"within 3650d", []string{"0"}, false},                            //
		{"within 3650d", []string{"2016-03-13T12:00:00Z"}, true},          //
		{"within 1d12h", []string{"2026-03-09T00:00:00Z"}, true},          //
		{"within 1d12h", []string{"2026-03-08T23:59:59Z"}, false},         //
		{"within 1h", []string{"2026-03-10T12:10:00Z"}, true},             // clocks differ
		{"within 1h", []string{"2026-03-10T12:10:01Z"}, false},            // but not so much
		{"within 1h", []string{"9999-12-31T00:00:00Z"}, false},            //
		{"within 1h", []string{"infinity"}, false},                        //
		{"within 1h", []string{"yesterday"}, false},                       //
		{"within 1h", []string{""}, false},                                // max() of no rows
		{"within 1h", nil, false},                                         //
		{"within 1h", []string{"2026-02-30 11:30:00"}, false},             // there is no such day
		{"  within   90m ", []string{"2026-03-10T10:30:00Z"}, true},       //
		{"within 1h", []string{"-1"}, false},                              //
		{"within 1h", []string{"2026-03-10T11:30:00Z", "2001-1-1"}, true}, //
	} {
		got, detail, err := expect(c.expr, c.columns, expectMoment)
		if err != nil || got != c.want || detail == "" {
			t.Errorf("expect(%q, %q) = %v, %q, %v; want %v", c.expr, c.columns, got, detail, err, c.want)
		}
	}
}

// What is said has the answer, what was expected, and why.
func TestExpectDetail(t *testing.T) {
	for _, c := range []struct {
		expr    string
		columns []string
		want    string
	}{
		{"equal", []string{"812", "811"}, "the answer is 812 | 811; expected equal"},
		{"= 0", []string{"0"}, "the answer is 0"},
		{">= 5", []string{"\x1b[31mred\n"}, "the answer is [31mred; expected >= 5: that is no number"},
		{">= 5", []string{""}, "the answer is empty, or NULL; expected >= 5"},
		{">= 5", nil, "there is no answer, not one row; expected >= 5"},
		{"within 1h", []string{"2026-03-01 10:00:00"}, "the answer is 2026-03-01 10:00:00; expected within 1h: the data is of 2026-03-10T12:00:00Z"},
		{
			"within 1h", []string{"2026-03-11 10:00:00"},
			"the answer is 2026-03-11 10:00:00; expected within 1h: the data is of 2026-03-10T12:00:00Z, which is earlier: a clock is wrong, or the data is of another moment",
		},
	} {
		if _, detail, err := expect(c.expr, c.columns, expectMoment); err != nil || detail != c.want {
			t.Errorf("expect(%q, %q) says %q, %v; want %q", c.expr, c.columns, detail, err, c.want)
		}
	}
	if _, detail, _ := expect("= 0", []string{strings.Repeat("long ", 10000)}, expectMoment); len(detail) > 2*maxAnswer {
		t.Errorf("an answer of 50 kB is told in %d bytes", len(detail))
	}
}

// What cannot be used is an error, and no answer of a check.
func TestExpectRefuses(t *testing.T) {
	for _, expr := range []string{
		"", " ", "equals", "equal 3", "Equal", "within", "within ", "within 0h", "within -3h", "within 3651d", "within 2h3d", "within 1.5d", "within 26", "within d", "within 2d-1h",
		"within +2d", "= ", "==", "== 0", "=< 5", "=> 5", "!", "!5", "! = 5", "<> 0", "< many", ">= 1,000", "> 0x10", "< 1e9999", "5", "> ", "= a\nb", "= \x1b[0m",
		"= " + strings.Repeat("a", maxExpect),
	} {
		if err := checkExpect(expr); err == nil {
			t.Errorf("checkExpect(%q) takes it", expr)
		}
		if ok, _, err := expect(expr, []string{"1", "1"}, expectMoment); ok || err == nil {
			t.Errorf("expect(%q) = %v, %v; want an error", expr, ok, err)
		}
	}
	if ok, _, err := expect("equal", []string{"1"}, expectMoment); ok || err == nil {
		t.Errorf("equal of one column = %v, %v; want an error", ok, err)
	}
	if ok, _, err := expect("within 1h", []string{"1773142200"}, time.Time{}); ok || err == nil {
		t.Errorf("within without a moment = %v, %v; want an error", ok, err)
	}
}

// The columns belong to the caller.
func TestExpectLeavesTheAnswerAlone(t *testing.T) {
	columns := []string{" 1 ", " 1"}
	if ok, _, err := expect("equal", columns, expectMoment); !ok || err != nil || columns[0] != " 1 " || columns[1] != " 1" {
		t.Errorf("%v, %v, and the columns are %q", ok, err, columns)
	}
}

func FuzzExpect(f *testing.F) {
	for _, expr := range []string{"equal", "= 0", "!= x", "< 1e300", "<= -1.5", "> 007", ">= 1000", "within 26h", "within 14d", "within 1d12h", "== 0", "within 9999999h", "=\x00", "=\xfe", "=0 "} {
		for _, answer := range []string{"", "0", "812|812", "1e999", "2026-03-10 11:30:00+00", "2026-03-10|11:30:00|UTC", "1773142200.123456789", "NaN", "\x1b[31m", "\x7f"} {
			f.Add(expr, answer)
		}
	}
	f.Fuzz(func(t *testing.T, expr, answer string) {
		columns := strings.Split(answer, "|")
		ok, detail, err := expect(expr, columns, expectMoment)
		switch known := checkExpect(expr); {
		case known != nil && err == nil:
			t.Errorf("%q is refused (%v) and used", expr, known)
		case err != nil && (ok || detail != ""):
			t.Errorf("%q of %q: %v beside %v and %q", expr, answer, err, ok, detail)
		case err == nil && detail != clean(detail, len(detail)):
			t.Errorf("%q of %q says %q, which is not clean", expr, answer, detail)
		case ok && strings.TrimSpace(columns[0]) == "":
			t.Errorf("%q holds of nothing", expr)
		}
	})
}
