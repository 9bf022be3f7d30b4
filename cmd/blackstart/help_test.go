package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand is the whole tree.
func everyCommand() []*cobra.Command {
	list := []*cobra.Command{newRoot()}
	for i := 0; i < len(list); i++ {
		list = append(list, list[i].Commands()...)
	}
	return list
}

func TestEveryCommandIsHelpful(t *testing.T) {
	for _, c := range everyCommand() {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short text is %q; say in a phrase what it does", path, c.Short)
		}
		if !strings.Contains(c.Example, "blackstart") {
			t.Errorf("%s has no example", path)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", path, line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no text", path, f.Name)
			}
		})
		if !c.HasSubCommands() && !c.HasParent() {
			t.Errorf("%s leads nowhere", path)
		}
	}
}

// TestExamplesParse runs every line of every example as far as its flags and arguments.
func TestExamplesParse(t *testing.T) {
	seen := 0
	for _, c := range everyCommand() {
		for line := range strings.Lines(c.Example) {
			args, ok := exampleArgs(line)
			if !ok {
				continue
			}
			seen++
			root := newRoot()
			target, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := target.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := target.ValidateArgs(target.Flags().Args()); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d examples were tried", seen)
	}
}

// exampleArgs are the words behind "blackstart" in a line of an example, up to what only a shell understands.
func exampleArgs(line string) ([]string, bool) {
	_, rest, ok := strings.Cut(strings.TrimSpace(line), "blackstart ")
	if !ok {
		return nil, false
	}
	var args []string
	var word strings.Builder
	quote, open := rune(0), false
	for _, r := range rest + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, open = r, true
		case quote == 0 && (r == ' ' || r == '\n'):
			if open {
				args = append(args, word.String())
			}
			word.Reset()
			open = false
		case quote == 0 && (r == '|' || r == '>' || r == ')'):
			if open {
				args = append(args, word.String())
			}
			return args, true
		default:
			open = true
			word.WriteRune(r)
		}
	}
	return args, true
}

func TestGroupsShowHelpAndRefuseTheUnknown(t *testing.T) {
	for _, c := range everyCommand() {
		if !c.HasSubCommands() {
			continue
		}
		path := strings.Fields(c.CommandPath())[1:]
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append(path, "no-such-command"))
		if _, exit := end(root.Execute()); exit != exitUsage {
			t.Errorf("%s no-such-command: exit %d", c.CommandPath(), exit)
		}
		if c.Annotations["group"] == "" {
			continue // it does something of its own
		}
		root = newRoot()
		root.SetOut(&out)
		root.SetArgs(path)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s: %v, %q", c.CommandPath(), err, out.String())
		}
	}
}
