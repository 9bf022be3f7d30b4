package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt trusts its pages: on a damaged one it panics, sometimes in a goroutine of its own where nobody can recover, reads
// outside the file, or follows a circle for ever. So checkFile reads the file with ordinary reads first and checks that
// everything bbolt will follow is there: both meta pages, and from the root on each page, element, key and bucket.
//
// bbolt falls back to the older meta page when the newer is damaged. For a journal this would silently take back
// an append that was acknowledged, so here both must be whole. A crash does not tear one: 80 bytes within one sector.
//
// On disk, in the byte order of the machine:
//
//	page     id 8, flags 2, count 2, overflow 4; then the elements; then keys and values
//	meta     magic 4, version 4, page size 4, flags 4, root 8, sequence 8, freelist 8, page count 8, transaction 8, FNV-1a 8
//	branch   position 4, key size 4, page 8
//	leaf     flags 4, position 4, key size 4, value size 4
//	bucket   root page 8 (0: the page follows at once), sequence 8
const (
	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	metaSize     = 56 // without its checksum

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = 1<<64 - 1

	minPageSize = 1 << 10
	maxPageSize = 64 << 10
	maxDepth    = 32 // of a tree; real ones have three or four levels
	maxBuckets  = 2  // entries/INCIDENT
)

var order = binary.NativeEndian

type meta struct {
	pageSize                    int64
	root, freelist, pages, txid uint64
}

// checker walks the pages of one file in the order of their keys. What it has passed last is where a break is reported.
type checker struct {
	f    io.ReaderAt
	size int64
	meta meta
	seen []uint64 // one bit for each page

	buckets [][]byte // names of the buckets round the present place
	last    uint64   // number of the last whole entry of the present incident
}

// checkFile returns a *BrokenError where the structure of a bbolt file is damaged.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c := &checker{f: f, size: info.Size()}
	if err := c.check(); err != nil {
		broken := &BrokenError{Why: err.Error()}
		if len(c.buckets) == 2 && bytes.Equal(c.buckets[0], entriesBucket) {
			broken.Incident, broken.Seq = string(c.buckets[1]), c.last+1
		} else {
			c.locate(broken)
		}
		return broken
	}
	return nil
}

func (c *checker) check() error {
	m0, err := c.readMeta(0)
	if err != nil {
		c.meta.pageSize = int64(os.Getpagesize()) // a guess, for what comes after
		return fmt.Errorf("the first meta page is damaged: %w", err)
	}
	c.meta = m0
	m1, err := c.readMeta(m0.pageSize)
	if err != nil {
		return fmt.Errorf("the second meta page is damaged: %w", err)
	}
	if m1.txid > m0.txid {
		c.meta = m1
	}
	if m0.txid+m1.txid+1 != 2*c.meta.txid || m0.pageSize != m1.pageSize {
		return errors.New("the meta pages do not follow each other")
	}
	if most := uint64(c.size / c.meta.pageSize); c.meta.pages > most {
		return c.walkTo(fmt.Errorf("the file is cut: it has %d pages of %d", most, c.meta.pages))
	}
	return c.walkTo(nil)
}

// walkTo walks the whole file. It returns otherwise when the walk finds nothing.
func (c *checker) walkTo(otherwise error) error {
	c.seen = make([]uint64, min(c.meta.pages, uint64(c.size/c.meta.pageSize))/64+1)
	if c.meta.freelist != noFreelist { // only in a file that has never been written to
		p, err := c.page(c.meta.freelist)
		if err != nil {
			return err
		}
		if order.Uint16(p[8:]) != freelistPage || order.Uint16(p[10:]) != 0 {
			return errors.New("another program has written to it: it has a list of free pages")
		}
	}
	if err := c.tree(c.meta.root, 0, nil, nil); err != nil {
		return err
	}
	return otherwise
}

func (c *checker) readMeta(at int64) (meta, error) {
	b := make([]byte, pageHeader+metaSize+8)
	if _, err := c.f.ReadAt(b, at); err != nil {
		return meta{}, err
	}
	flags := order.Uint16(b[8:])
	b = b[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize])
	m := meta{
		pageSize: int64(order.Uint32(b[8:])),
		root:     order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]),
		pages:    order.Uint64(b[40:]),
		txid:     order.Uint64(b[48:]),
	}
	switch {
	case flags != metaPage, order.Uint32(b) != boltMagic, order.Uint32(b[4:]) != boltVersion:
		return meta{}, errors.New("it is none")
	case order.Uint64(b[metaSize:]) != sum.Sum64():
		return meta{}, errors.New("its checksum does not match")
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("its page size is %d", m.pageSize)
	}
	return m, nil
}

// page reads a page with its overflow. No page may be reached twice.
func (c *checker) page(id uint64) ([]byte, error) {
	size := c.meta.pageSize
	if id < 2 || id >= c.meta.pages {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	if int64(id) >= c.size/size {
		return nil, fmt.Errorf("page %d is cut off", id)
	}
	head := make([]byte, pageHeader)
	if _, err := c.f.ReadAt(head, int64(id)*size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	end := id + uint64(order.Uint32(head[12:])) // the last of its pages
	switch {
	case order.Uint64(head) != id:
		return nil, fmt.Errorf("page %d is overwritten", id)
	case end >= c.meta.pages:
		return nil, fmt.Errorf("page %d is longer than the journal", id)
	case int64(end) >= c.size/size:
		return nil, fmt.Errorf("page %d is cut off", id)
	}
	for i := id; i <= end; i++ {
		if c.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i/64] |= 1 << (i % 64)
	}
	p := make([]byte, int64(end-id+1)*size)
	if _, err := c.f.ReadAt(p, int64(id)*size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return p, nil
}

// tree checks the tree below a page. Its keys are at least from and below to; nil means no bound.
func (c *checker) tree(id uint64, depth int, from, to []byte) error {
	if depth > maxDepth {
		return errors.New("the tree has too many levels")
	}
	p, err := c.page(id)
	if err != nil {
		return err
	}
	count := int(order.Uint16(p[10:]))
	switch flags := order.Uint16(p[8:]); {
	case flags == leafPage && (count > 0 || depth == 0):
		err = c.leaf(p, from, to)
	case flags == branchPage && count > 0:
		err = c.branch(p, count, depth, from, to)
	default:
		err = errors.New("it is neither branch nor leaf")
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (c *checker) branch(p []byte, count, depth int, from, to []byte) error {
	key := func(i int) ([]byte, error) {
		at := pageHeader + i*elementSize
		if at+elementSize > len(p) {
			return nil, fmt.Errorf("element %d is outside", i)
		}
		return part(p, at, order.Uint32(p[at:]), order.Uint32(p[at+4:]))
	}
	k, err := key(0)
	if err != nil {
		return err
	}
	if bytes.Compare(k, from) < 0 {
		return errors.New("its keys are out of order")
	}
	for i := range count {
		end := to
		if i+1 < count {
			if end, err = key(i + 1); err != nil {
				return err
			}
		}
		if to != nil && bytes.Compare(k, to) >= 0 || end != nil && bytes.Compare(k, end) >= 0 {
			return errors.New("its keys are out of order")
		}
		if err := c.tree(order.Uint64(p[pageHeader+i*elementSize+8:]), depth+1, k, end); err != nil {
			return err
		}
		k = end
	}
	return nil
}

func (c *checker) leaf(p []byte, from, to []byte) error {
	prev := from
	for i := range int(order.Uint16(p[10:])) {
		e, err := leafElement(p, i)
		if err != nil {
			return err
		}
		if d := bytes.Compare(e.key, prev); d < 0 || d == 0 && i > 0 || to != nil && bytes.Compare(e.key, to) >= 0 {
			return errors.New("its keys are out of order")
		}
		prev = e.key
		switch e.flags {
		case 0:
			if len(c.buckets) == maxBuckets {
				c.last = keySeq(e.key)
			}
		case 1:
			if err := c.bucket(e.key, e.value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("element %d has the flags %x", i, e.flags)
		}
	}
	return nil
}

// bucket checks a bucket inside a bucket. On an error it leaves c.buckets as they were at that place.
func (c *checker) bucket(name, value []byte) error {
	if len(c.buckets) == maxBuckets {
		return fmt.Errorf("a bucket %q inside an incident is not ours", name)
	}
	if len(value) < bucketHeader {
		return errors.New("a bucket is too short")
	}
	c.buckets, c.last = append(c.buckets, name), 0
	if root := order.Uint64(value); root != 0 {
		if err := c.tree(root, 0, nil, nil); err != nil {
			return err
		}
	} else {
		p := value[bucketHeader:]
		if len(p) < pageHeader || order.Uint16(p[8:]) != leafPage {
			return errors.New("a bucket has no page")
		}
		if err := c.leaf(p, nil, nil); err != nil {
			return err
		}
	}
	c.buckets = c.buckets[:len(c.buckets)-1]
	return nil
}

type element struct {
	flags      uint32
	key, value []byte
}

// leafElement returns element i of a leaf page; it lies within the page.
func leafElement(p []byte, i int) (element, error) {
	at := pageHeader + i*elementSize
	if at+elementSize > len(p) {
		return element{}, fmt.Errorf("element %d is outside", i)
	}
	position, keySize, valueSize := order.Uint32(p[at+4:]), order.Uint32(p[at+8:]), order.Uint32(p[at+12:])
	key, err := part(p, at, position, keySize)
	if err != nil {
		return element{}, err
	}
	rest := p[at+int(position)+int(keySize):]
	if int64(valueSize) > int64(len(rest)) {
		return element{}, fmt.Errorf("element %d is outside", i)
	}
	return element{flags: order.Uint32(p[at:]), key: key, value: rest[:valueSize]}, nil
}

// part returns the key of the element at position at of a page.
func part(p []byte, at int, position, size uint32) ([]byte, error) {
	begin := int64(at) + int64(position)
	elements := pageHeader + int64(order.Uint16(p[10:]))*elementSize
	if size == 0 || begin < elements || begin+int64(size) > int64(len(p)) {
		return nil, errors.New("a key is outside")
	}
	return p[begin : begin+int64(size)], nil
}
