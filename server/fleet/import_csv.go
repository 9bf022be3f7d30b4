package fleet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The fields of a host that only a list has, beside the terms.
const (
	fieldName    = "name"
	fieldAddress = "address"
	fieldPort    = "port"
	fieldJump    = "jump"
)

var csvFields = append([]string{fieldName, fieldAddress, fieldPort, termUser, fieldJump, termCrit, termAgent}, groupTerms...)

// headings are the words that people write over a column, beside the field's own name.
var headings = map[string]string{
	"host": fieldName, "hostname": fieldName, "host-name": fieldName, "server": fieldName, "server-name": fieldName,
	"ip": fieldAddress, "ip-address": fieldAddress, "ipaddress": fieldAddress, "ipv4": fieldAddress,
	"operating-system": termOS, "application": termService, "location": termSite,
}

// ImportCSV makes a fleet file of a list with a row for each host below a row of headings. Errors are as with ImportAnsible.
func ImportCSV(name string, data []byte, o ImportOptions) (Imported, error) {
	im, err := newImporter(name, o)
	if err != nil {
		return Imported{}, err
	}
	c := &csvReader{importer: im}
	if c.open(data) {
		if err := c.headings(); err != nil {
			return Imported{}, err
		}
		c.rows()
	}
	return im.finish()
}

type csvReader struct {
	*importer
	in      *csv.Reader
	head    []string
	columns []string // the field of each column, or nothing
}

// open prepares the reading, or adds why it cannot be done.
func (c *csvReader) open(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxBytes {
		c.add(top, "split the list", "the file is larger than %d MiB", maxBytes>>20)
		return false
	}
	r := reader{problems: c.problems}
	ok := r.readable(data)
	c.problems = r.problems
	if !ok {
		return false
	}
	delimiter := c.options.Delimiter
	if rest, found := bytes.CutPrefix(data, []byte("sep=")); found && len(rest) > 1 { // a spreadsheet's own word on it
		if delimiter == 0 {
			delimiter = rune(rest[0])
		}
		data = slices.Concat([]byte("     "), rest[1:])
	}
	if delimiter == 0 {
		delimiter = findDelimiter(data)
	}
	if delimiter == 0 {
		c.add(top, "say it with --delimiter", "it is not clear which character stands between the cells")
		return false
	}
	c.in = csv.NewReader(bytes.NewReader(data))
	c.in.Comma, c.in.FieldsPerRecord, c.in.TrimLeadingSpace, c.in.ReuseRecord = delimiter, -1, delimiter != '\t', true
	return true
}

// findDelimiter is what stands most often between the cells of the first line that says something; 0 if that is not clear.
func findDelimiter(data []byte) rune {
	for line := range bytes.Lines(data) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		count := map[rune]int{}
		quoted := false
		for _, r := range string(line) {
			if r == '"' {
				quoted = !quoted
			} else if !quoted {
				count[r]++
			}
		}
		best := ','
		for _, r := range ";\t" {
			if count[r] > 0 && count[best] > 0 {
				return 0
			}
			if count[r] > 0 {
				best = r
			}
		}
		return best
	}
	return ','
}

// next reads the next row that has anything in it. A row that cannot be read is told and passed over.
func (c *csvReader) next() (row []string, ok bool) {
	for {
		row, err := c.in.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil, false
		case errors.As(err, &bad):
			c.add(at{bad.Line, max(bad.Column, 1)}, `put a cell that holds a quotation mark into quotation marks, and write the mark twice`, "this row cannot be read: %v", bad.Err)
			continue
		case err != nil:
			c.add(top, "check the file", "the list cannot be read: %v", err)
			return nil, false
		}
		if slices.ContainsFunc(row, func(s string) bool { return strings.TrimSpace(s) != "" }) {
			return row, true
		}
	}
}

// place is where a cell of the current row stands.
func (c *csvReader) place(i int) at {
	line, col := c.in.FieldPos(i)
	return at{line, col}
}

// headings finds each field's column, by --map or by its heading.
func (c *csvReader) headings() error {
	row, ok := c.next()
	if !ok {
		return nil
	}
	c.columns = make([]string, len(row))
	taken := map[string]int{}
	for i, h := range row {
		row[i] = strings.TrimSpace(h)
	}
	c.head = slices.Clone(row)
	for i, h := range c.head {
		if h == "" {
			c.head[i] = fmt.Sprintf("column %d", i+1)
		}
	}
	for _, m := range c.options.Map {
		cut := strings.LastIndexByte(m, '=')
		if cut < 1 || !slices.Contains(csvFields, m[cut+1:]) {
			return fmt.Errorf("--map %s: write it as COLUMN=FIELD, where FIELD is %s", quote(m), either(csvFields))
		}
		i := slices.Index(row, m[:cut])
		if i < 0 {
			return fmt.Errorf("--map %s: there is no column %s in %s: %s", quote(m), quote(m[:cut]), c.file, c.nearest(m[:cut], row, "look at its first line"))
		}
		if _, twice := taken[m[cut+1:]]; twice || c.columns[i] != "" {
			return fmt.Errorf("--map %s: the column or the field is mapped already: keep one", quote(m))
		}
		taken[m[cut+1:]], c.columns[i] = i, m[cut+1:]
	}
	mapped := len(taken) > 0 // then it is meant: other columns of the same heading stand aside
	for i, h := range row {
		field := strings.Join(strings.FieldsFunc(strings.ToLower(h), func(r rune) bool { return r == ' ' || r == '_' || r == '-' }), "-")
		if known, ok := headings[field]; ok {
			field = known
		}
		if c.columns[i] != "" || !slices.Contains(csvFields, field) {
			continue
		}
		if first, twice := taken[field]; twice {
			if !mapped {
				c.add(c.place(i), "say with --map which one is meant", "columns %s and %s are both the %s", quote(c.head[first]), quote(h), field)
			}
			continue
		}
		taken[field], c.columns[i] = i, field
	}
	if _, ok := taken[fieldName]; !ok {
		c.add(c.place(0), "say with --map COLUMN=name which one it is", "no column is the hosts' names")
	}
	return nil
}

func (c *csvReader) rows() {
	for {
		row, ok := c.next()
		if !ok {
			break
		}
		if len(c.hosts) == maxHosts {
			c.add(c.place(0), "split the list", "there are more than %d hosts", maxHosts)
			break
		}
		if len(row) != len(c.columns) {
			c.add(c.place(0), "check its delimiters and quotation marks", "this row has %s, but the headings are %d", plural(len(row), "cell"), len(c.columns))
			continue
		}
		c.row(row)
	}
}

func (c *csvReader) row(row []string) {
	h := &importHost{at: c.place(0), terms: map[string]string{}}
	for i, cell := range row {
		if cell = strings.TrimSpace(cell); cell == "" {
			continue
		}
		if c.columns[i] == "" {
			c.aside[c.head[i]]++
			continue
		}
		if problem, do := c.cell(h, c.columns[i], cell); problem != "" {
			c.add(c.place(i), do, "%s %s", c.columns[i], problem)
		}
	}
	name := slices.Index(c.columns, fieldName)
	if name < 0 { // said already
		return
	}
	h.at = c.place(name)
	if h.name == "" {
		if strings.TrimSpace(row[name]) == "" {
			c.add(h.at, "write it, or remove the row", "this host has no name")
		}
		return
	}
	if h.address == "" && h.hint == "" {
		h.address, _, _, _ = importAddress(h.name) // its name may be one
	}
	c.hosts = append(c.hosts, h)
}

// cell takes one cell over.
func (c *csvReader) cell(h *importHost, field, value string) (problem, do string) {
	switch field {
	case fieldName:
		if problem, do := checkName(value); problem != "" {
			return problem, do
		}
		h.name = value
	case fieldAddress:
		h.address, h.hint, problem, do = importAddress(value)
	case fieldPort:
		if problem := checkPort(value); problem != "" {
			return problem, "write a port from 1 to 65535"
		}
		h.port, _ = strconv.Atoi(value) // checked
	case fieldJump:
		h.jump, h.hints, problem, do = jumpHops(strings.Join(strings.Fields(strings.ReplaceAll(value, ",", " ")), ","))
	default:
		value, problem, do = c.term(field, value)
		if problem != "" {
			return problem, do
		}
		switch field {
		case termTier:
			c.tier(value)
		case termUser:
			h.user = value
			return "", ""
		}
		h.terms[field] = value
	}
	return problem, do
}
