// SPDX-License-Identifier: MIT

// boltool looks at, changes and damages bbolt files, for test recipes. Changes go through bbolt itself; damages are
// written raw, by a small writer of pages that shares nothing with the program under test.
//
//	boltool dump FILE                  all content as text, a line an element, in key order; opens read-only
//	boltool get FILE PATH              a value in hex; exit 1 if it is not there
//	boltool put FILE PATH HEX          missing buckets on the path are made
//	boltool delete FILE PATH           a key
//	boltool delete-bucket FILE PATH
//	boltool mkbucket FILE PATH
//	boltool setseq FILE PATH NUMBER
//	boltool script FILE [SCRIPT]       operations in one transaction, from standard input without SCRIPT
//	boltool damage FILE KIND           KIND "list": every kind, with what the check must call it
//	boltool meta FILE                  both metas
//
// PATH is a JSON array of names, each a string or {"hex": "..."}; the last one is the key where one is meant. SCRIPT is a
// JSON array of {"op": "put|delete|delete-bucket|mkbucket|setseq", "path": [...]} with, for put, one of "text", "hex",
// "varint", "uvarint" (numbers, as encoding/binary writes them), for setseq "sequence". BOLTOOL_NO_FREELIST=1 opens with
// NoFreelistSync, as containerd 1.7 does its meta.db.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"
)

type name []byte

func (n *name) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*n = name(text)
		return nil
	}
	var coded struct{ Hex string }
	if err := json.Unmarshal(raw, &coded); err != nil {
		return err
	}
	data, err := hex.DecodeString(coded.Hex)
	*n = data
	return err
}

type operation struct {
	Op       string
	Path     []name
	Text     *string
	Hex      *string
	Varint   *int64
	Uvarint  *uint64
	Sequence uint64
}

func (o operation) value() ([]byte, error) {
	var number [binary.MaxVarintLen64]byte
	switch {
	case o.Text != nil:
		return []byte(*o.Text), nil
	case o.Hex != nil:
		return hex.DecodeString(*o.Hex)
	case o.Varint != nil:
		return number[:binary.PutVarint(number[:], *o.Varint)], nil
	case o.Uvarint != nil:
		return number[:binary.PutUvarint(number[:], *o.Uvarint)], nil
	}
	return nil, errors.New("put without a value")
}

// Both the transaction and a bucket are one: the database itself is the outermost bucket.
type container interface {
	Bucket([]byte) *bolt.Bucket
	CreateBucketIfNotExists([]byte) (*bolt.Bucket, error)
	DeleteBucket([]byte) error
}

func descend(tx *bolt.Tx, path []name, create bool) (container, error) {
	var at container = tx
	for _, part := range path {
		if create {
			next, err := at.CreateBucketIfNotExists(part)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", part, err)
			}
			at = next
			continue
		}
		next := at.Bucket(part)
		if next == nil {
			return nil, fmt.Errorf("no bucket %q", part)
		}
		at = next
	}
	return at, nil
}

func apply(tx *bolt.Tx, o operation) error {
	if len(o.Path) == 0 {
		return errors.New("an empty path")
	}
	above, last := o.Path[:len(o.Path)-1], o.Path[len(o.Path)-1]
	if o.Op == "mkbucket" {
		_, err := descend(tx, o.Path, true)
		return err
	}
	if o.Op == "setseq" {
		at, err := descend(tx, o.Path, false)
		if err != nil {
			return err
		}
		return at.(*bolt.Bucket).SetSequence(o.Sequence)
	}
	at, err := descend(tx, above, o.Op == "put")
	if err != nil {
		return err
	}
	if o.Op == "delete-bucket" {
		return at.DeleteBucket(last)
	}
	bucket, ok := at.(*bolt.Bucket)
	if !ok {
		return errors.New("a key in the root")
	}
	if o.Op == "delete" {
		return bucket.Delete(last)
	}
	if o.Op != "put" {
		return fmt.Errorf("unknown operation %q", o.Op)
	}
	value, err := o.value()
	if err != nil {
		return err
	}
	return bucket.Put(last, value)
}

func update(file string, operations []operation) error {
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoFreelistSync: os.Getenv("BOLTOOL_NO_FREELIST") != ""})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bolt.Tx) error {
		for i, o := range operations {
			if err := apply(tx, o); err != nil {
				return fmt.Errorf("operation %d: %w", i+1, err)
			}
		}
		return nil
	})
}

func printable(value []byte) string {
	text := string(value)
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return strconv.Quote(text)
	}
	return "0x" + hex.EncodeToString(value)
}

// Of a broken database a bucket may be its own child: a page's number leads anywhere.
const bucketsMost = 1 << 20

var bucketsSeen int

func dumpBucket(out io.Writer, path string, bucket *bolt.Bucket) error {
	if bucketsSeen++; bucketsSeen > bucketsMost || len(path) > 1<<14 {
		return errors.New("buckets without end: the database is broken")
	}
	return bucket.ForEach(func(k, v []byte) error {
		at := path + "/" + printable(k)
		if v != nil {
			_, err := fmt.Fprintf(out, "%s = %s\n", at, printable(v))
			return err
		}
		inner := bucket.Bucket(k)
		fmt.Fprintf(out, "%s/ sequence %d\n", at, inner.Sequence())
		return dumpBucket(out, at, inner)
	})
}

func dump(file string) error {
	// bbolt goes round for ever where pages of a broken database lead to each other, and remembers each step
	limit := syscall.Rlimit{Cur: 2 << 30, Max: 2 << 30}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		return err
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(k []byte, bucket *bolt.Bucket) error {
			fmt.Printf("%s/ sequence %d\n", printable(k), bucket.Sequence())
			return dumpBucket(os.Stdout, printable(k), bucket)
		})
	})
}

func get(file string, path []name) error {
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		at, err := descend(tx, path[:len(path)-1], false)
		if err != nil {
			return err
		}
		bucket, ok := at.(*bolt.Bucket)
		if !ok {
			return errors.New("a key in the root")
		}
		value := bucket.Get(path[len(path)-1])
		if value == nil {
			return errors.New("not there")
		}
		fmt.Println(hex.EncodeToString(value))
		return nil
	})
}

// ---- raw pages ----

var le = binary.LittleEndian

const (
	flagBranch, flagLeaf, flagFreelist = 1, 2, 16
	noFreelist                         = ^uint64(0)
)

type raw struct {
	b        []byte
	pageSize uint64
	slot     uint64 // the current meta's
}

func load(file string) (*raw, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(b) < 1024 {
		return nil, errors.New("too short for a database")
	}
	r := &raw{b: b, pageSize: uint64(le.Uint32(b[24:]))}
	if !r.valid(0) {
		for r.pageSize = 512; !r.valid(1); r.pageSize *= 2 {
			if r.pageSize > 16<<20 {
				return nil, errors.New("no valid meta page")
			}
		}
	}
	if !r.valid(0) || (r.valid(1) && le.Uint64(r.meta(1)[64:]) > le.Uint64(r.meta(0)[64:])) {
		r.slot = 1
	}
	return r, nil
}

func sum(meta []byte) uint64 {
	h := fnv.New64a()
	h.Write(meta[16:72])
	return h.Sum64()
}

func (r *raw) meta(slot uint64) []byte { return r.b[slot*r.pageSize:][:80] }

func (r *raw) valid(slot uint64) bool {
	if uint64(len(r.b)) < (slot+1)*r.pageSize || r.pageSize < 512 {
		return false
	}
	m := r.meta(slot)
	return le.Uint32(m[16:]) == 0xED0CDAED && le.Uint32(m[20:]) == 2 && le.Uint64(m[72:]) == sum(m)
}

func (r *raw) now() []byte          { return r.meta(r.slot) }
func (r *raw) root() uint64         { return le.Uint64(r.now()[32:]) }
func (r *raw) freelist() uint64     { return le.Uint64(r.now()[48:]) }
func (r *raw) highWater() uint64    { return le.Uint64(r.now()[56:]) }
func (r *raw) seal(slot uint64)     { le.PutUint64(r.meta(slot)[72:], sum(r.meta(slot))) }
func (r *raw) set(at int, v uint64) { le.PutUint64(r.now()[at:], v); r.seal(r.slot) }

// The bytes of a run of pages.
func (r *raw) page(id uint64) []byte {
	head := r.b[id*r.pageSize:]
	return head[:(uint64(le.Uint32(head[12:]))+1)*r.pageSize]
}

func flags(page []byte) uint16 { return le.Uint16(page[8:]) }
func count(page []byte) int    { return int(le.Uint16(page[10:])) }

type element struct {
	key, value []byte
	bucket     bool
	child      uint64
	at         int // of the element in its page
}

func elements(page []byte) []element {
	var all []element
	for i := 0; i < count(page); i++ {
		at := 16 + 16*i
		e := element{at: at}
		if flags(page) == flagBranch {
			start := at + int(le.Uint32(page[at:]))
			e.key = page[start:][:le.Uint32(page[at+4:])]
			e.child = le.Uint64(page[at+8:])
		} else {
			start := at + int(le.Uint32(page[at+4:]))
			e.bucket = page[at]&1 != 0
			e.key = page[start:][:le.Uint32(page[at+8:])]
			e.value = page[start+len(e.key):][:le.Uint32(page[at+12:])]
		}
		all = append(all, e)
	}
	return all
}

type visit struct {
	id     uint64
	isRoot bool // of its bucket
}

// Every tree page, parents first.
func (r *raw) tree() []visit {
	todo := []visit{{r.root(), true}}
	for i := 0; i < len(todo); i++ {
		for _, e := range elements(r.page(todo[i].id)) {
			if flags(r.page(todo[i].id)) == flagBranch {
				todo = append(todo, visit{e.child, false})
			} else if e.bucket && le.Uint64(e.value) != 0 {
				todo = append(todo, visit{le.Uint64(e.value), true})
			}
		}
	}
	return todo
}

// The bytes of a page that holds these elements; id 0: of an inline one.
func build(id uint64, flag uint16, all []element, pageSize uint64) []byte {
	size := 16
	for _, e := range all {
		size += 16 + len(e.key) + len(e.value)
	}
	page := make([]byte, size)
	le.PutUint64(page, id)
	le.PutUint16(page[8:], flag)
	le.PutUint16(page[10:], uint16(len(all)))
	data := 16 + 16*len(all)
	for i, e := range all {
		at := 16 + 16*i
		if flag == flagBranch {
			le.PutUint32(page[at:], uint32(data-at))
			le.PutUint32(page[at+4:], uint32(len(e.key)))
			le.PutUint64(page[at+8:], e.child)
		} else {
			if e.bucket {
				page[at] = 1
			}
			le.PutUint32(page[at+4:], uint32(data-at))
			le.PutUint32(page[at+8:], uint32(len(e.key)))
			le.PutUint32(page[at+12:], uint32(len(e.value)))
		}
		data += copy(page[data:], e.key)
		data += copy(page[data:], e.value)
	}
	if id != 0 {
		for uint64(len(page))%pageSize != 0 {
			page = append(page, 0)
		}
		le.PutUint32(page[12:], uint32(uint64(len(page))/pageSize-1))
	}
	return page
}

// Appends a page at the high water, and raises that.
func (r *raw) add(flag uint16, all ...element) uint64 {
	id := r.highWater()
	page := build(id, flag, all, r.pageSize)
	r.b = append(append([]byte(nil), r.b[:id*r.pageSize]...), page...)
	r.set(56, id+uint64(len(page))/r.pageSize)
	return id
}

// Puts a branch where a page was, which keeps its length.
func (r *raw) branchAt(id uint64, children ...element) {
	page := r.page(id)
	overflow := le.Uint32(page[12:])
	made := build(id, flagBranch, children, r.pageSize)
	copy(page, make([]byte, len(page)))
	copy(page, made)
	le.PutUint32(page[12:], overflow)
}

var errNoTarget = errors.New("nothing in this database can be damaged so")

// A leaf with at least n elements that is the root of its bucket, and copies of its elements.
func (r *raw) rootLeaf(n int) (uint64, []element, error) {
	for _, v := range r.tree() {
		page := r.page(v.id)
		if v.isRoot && flags(page) == flagLeaf && count(page) >= n {
			return v.id, elements(append([]byte(nil), page...)), nil
		}
	}
	return 0, nil, errNoTarget
}

// The page a page damage is done to: a leaf below a branch if there is one, else the last leaf with elements.
func (r *raw) victim() ([]byte, error) {
	var last []byte
	for _, v := range r.tree() {
		page := r.page(v.id)
		if flags(page) != flagLeaf || count(page) == 0 {
			continue
		}
		if !v.isRoot {
			return page, nil
		}
		last = page
	}
	if last == nil {
		return nil, errNoTarget
	}
	return last, nil
}

// An inline bucket: its value, and the page and element that hold it. withKeys: it is not empty.
func (r *raw) inlined(withKeys bool) (value []byte, page []byte, at int, err error) {
	for _, v := range r.tree() {
		p := r.page(v.id)
		if flags(p) != flagLeaf {
			continue
		}
		for _, e := range elements(p) {
			if e.bucket && le.Uint64(e.value) == 0 && (!withKeys || count(e.value[16:]) > 0) {
				return e.value, p, e.at, nil
			}
		}
	}
	return nil, nil, 0, errNoTarget
}

// Replaces a root leaf of at least three elements with a branch over leaves of them.
func (r *raw) grow(shape func(id uint64, all []element) error) error {
	id, all, err := r.rootLeaf(3)
	if err != nil {
		return err
	}
	return shape(id, all)
}

func entry(key []byte, child uint64) element { return element{key: key, child: child} }

// A change of the freelist's ids; what it returns is written back with its own count.
func (r *raw) list(change func(ids []uint64) []uint64) error {
	page := r.page(r.freelist())
	var ids []uint64
	for i := 0; i < count(page); i++ {
		ids = append(ids, le.Uint64(page[16+8*i:]))
	}
	ids = change(ids)
	if 16+8*len(ids) > len(page) {
		return errNoTarget
	}
	for i, id := range ids {
		le.PutUint64(page[16+8*i:], id)
	}
	le.PutUint16(page[10:], uint16(len(ids)))
	return nil
}

func (r *raw) onVictim(change func(page []byte)) error {
	page, err := r.victim()
	if err == nil {
		change(page)
	}
	return err
}

func (r *raw) onInline(change func(value []byte)) error {
	value, _, _, err := r.inlined(true)
	if err == nil {
		change(value)
	}
	return err
}

// Replaces the value of the first inline bucket (or, without one, of the first bucket), rebuilding its page elsewhere.
func (r *raw) revalue(change func(value []byte) []byte) error {
	for _, v := range r.tree() {
		page := append([]byte(nil), r.page(v.id)...)
		if !v.isRoot || flags(page) != flagLeaf || v.id == r.root() {
			continue
		}
		all := elements(page)
		for i := range all {
			if !all[i].bucket || le.Uint64(all[i].value) != 0 {
				continue
			}
			all[i].value = change(append([]byte(nil), all[i].value...))
			fresh := r.add(flagLeaf, all...)
			return r.repoint(v.id, fresh)
		}
	}
	return errNoTarget
}

// Makes the bucket whose root page was one page have another; the old page leaks.
func (r *raw) repoint(from, to uint64) error {
	for _, v := range r.tree() {
		page := r.page(v.id)
		if flags(page) != flagLeaf {
			continue
		}
		for _, e := range elements(page) {
			if e.bucket && le.Uint64(e.value) == from {
				le.PutUint64(e.value, to)
				return nil
			}
		}
	}
	return errNoTarget
}

type damage struct {
	kind, verdict string // verdict: bolt_check's fault kind
	stored        bool   // needs a stored freelist: bbolt is made to write one first
	do            func(r *raw) error
}

var damages = []damage{
	{"empty", "empty-file", false, func(r *raw) error { r.b = nil; return nil }},
	{"truncated", "short-file", false, func(r *raw) error { r.b = r.b[:(r.highWater()-1)*r.pageSize]; return nil }},
	{"truncated-by-a-byte", "short-file", false,
		func(r *raw) error { r.b = r.b[:r.highWater()*r.pageSize-1]; return nil }},
	{"truncated-to-metas", "short-file", false, func(r *raw) error { r.b = r.b[:2*r.pageSize]; return nil }},
	{"truncated-in-meta-1", "short-file", false, func(r *raw) error { r.b = r.b[:2*r.pageSize-1]; return nil }},
	{"truncated-to-100-bytes", "short-file", false, func(r *raw) error { r.b = r.b[:100]; return nil }},
	{"metas-torn", "no-meta", false, func(r *raw) error { r.meta(0)[72] ^= 1; r.meta(1)[72] ^= 1; return nil }},
	{"metas-zero", "no-meta", false,
		func(r *raw) error { copy(r.b, make([]byte, 2*r.pageSize)); return nil }},
	{"metas-disagree", "no-meta", false,
		func(r *raw) error { le.PutUint32(r.meta(1)[24:], uint32(r.pageSize*2)); r.seal(1); return nil }},
	{"meta-without-checksum", "no-meta", false, func(r *raw) error { le.PutUint64(r.now()[72:], 0); return nil }},
	{"big-endian", "foreign", false, func(r *raw) error {
		for slot := uint64(0); slot < 2; slot++ {
			le.PutUint32(r.meta(slot)[16:], 0xEDDA0CED)
		}
		return nil
	}},
	{"version-3", "foreign", false, func(r *raw) error {
		for slot := uint64(0); slot < 2; slot++ {
			le.PutUint32(r.meta(slot)[20:], 3)
			r.seal(slot)
		}
		return nil
	}},
	{"root-zero", "bad-tree", false, func(r *raw) error { r.set(32, 0); return nil }},
	{"root-past-end", "bad-tree", false, func(r *raw) error { r.set(32, r.highWater()); return nil }},
	{"root-freelist", "bad-tree", true, func(r *raw) error { r.set(32, r.freelist()); return nil }},
	{"page-zeroed", "bad-tree", false,
		func(r *raw) error { return r.onVictim(func(p []byte) { copy(p, make([]byte, len(p))) }) }},
	{"page-text", "bad-tree", false, func(r *raw) error {
		return r.onVictim(func(p []byte) { copy(p, bytes.Repeat([]byte(`":"SCMP_`), len(p)/8)) })
	}},
	{"page-id", "bad-tree", false, func(r *raw) error { return r.onVictim(func(p []byte) { p[0] ^= 0x40 }) }},
	{"page-flags", "bad-tree", false, func(r *raw) error { return r.onVictim(func(p []byte) { p[8] |= 4 }) }},
	{"page-count", "bad-tree", false,
		func(r *raw) error { return r.onVictim(func(p []byte) { p[10], p[11] = 0xff, 0xff }) }},
	{"page-overflow", "bad-tree", false,
		func(r *raw) error { return r.onVictim(func(p []byte) { le.PutUint32(p[12:], 0xffffffff) }) }},
	{"page-overflow-neighbour", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left, right := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:]...)
			le.PutUint32(r.page(left)[12:], 1)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, right))
			return nil
		})
	}},
	{"key-outside", "bad-tree", false,
		func(r *raw) error { return r.onVictim(func(p []byte) { le.PutUint32(p[24:], 0xffffffff) }) }},
	{"key-backwards", "bad-tree", false, func(r *raw) error { return r.onVictim(func(p []byte) { le.PutUint32(p[20:], 0) }) }},
	{"key-empty", "hazard", false, func(r *raw) error {
		return r.onVictim(func(p []byte) {
			ksize := le.Uint32(p[24:])
			le.PutUint32(p[24:], 0)
			if p[16]&1 == 0 {
				le.PutUint32(p[28:], le.Uint32(p[28:])+ksize)
			} else {
				le.PutUint32(p[20:], le.Uint32(p[20:])+ksize)
			}
		})
	}},
	{"key-order", "bad-tree", false, func(r *raw) error {
		for _, v := range r.tree() {
			page := r.page(v.id)
			if flags(page) == flagLeaf && count(page) >= 2 {
				all := elements(append([]byte(nil), page...))
				all[0], all[1] = all[1], all[0]
				copy(page[:len(page):len(page)], build(v.id, flagLeaf, all, r.pageSize))
				return nil
			}
		}
		return errNoTarget
	}},
	{"key-twice", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left, right := r.add(flagLeaf, all...), r.add(flagLeaf, all[1:]...)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, right))
			return nil
		})
	}},
	{"element-flags", "bad-tree", false, func(r *raw) error { return r.onVictim(func(p []byte) { p[16] |= 2 }) }},
	{"r1", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			below := append(append([]byte(nil), all[0].key...), 0)
			if bytes.Compare(below, all[1].key) >= 0 {
				return errNoTarget
			}
			left, right := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:]...)
			r.branchAt(id, entry(all[0].key, left), entry(below, right))
			return nil
		})
	}},
	{"r1-leftmost", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left, right := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:]...)
			r.branchAt(id, entry([]byte{0}, left), entry(all[1].key, right))
			return nil
		})
	}},
	{"r1-above", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left, right := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:]...)
			r.branchAt(id, entry(all[0].key, left), entry(all[2].key, right))
			return nil
		})
	}},
	{"r2", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			last := append(append([]byte(nil), all[len(all)-1].key...), 0)
			left, right := r.add(flagLeaf, all...), r.add(flagLeaf)
			r.branchAt(id, entry(all[0].key, left), entry(last, right))
			return nil
		})
	}},
	{"r3", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error { r.branchAt(id); return nil })
	}},
	{"r4", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			r.branchAt(id, entry(all[0].key, r.add(flagLeaf, all...)))
			return nil
		})
	}},
	{"r5", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			a, b, c := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:2]...), r.add(flagLeaf, all[2:]...)
			deeper := r.add(flagBranch, entry(all[1].key, b), entry(all[2].key, c))
			r.branchAt(id, entry(all[0].key, a), entry(all[1].key, deeper))
			return nil
		})
	}},
	{"r7", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left := r.add(flagLeaf, all...)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, left))
			return nil
		})
	}},
	{"r8", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left := r.add(flagLeaf, all[:1]...)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, r.highWater()))
			return nil
		})
	}},
	{"cycle", "bad-tree", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left := r.add(flagLeaf, all[:1]...)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, id))
			return nil
		})
	}},
	{"chain", "hazard", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			at := r.add(flagLeaf, all...)
			for i := 0; i < 60; i++ {
				at = r.add(flagBranch, entry(all[0].key, at))
			}
			r.branchAt(id, entry(all[0].key, at))
			return nil
		})
	}},
	{"bucket-shared", "bad-tree", false, func(r *raw) error {
		var first uint64
		for _, v := range r.tree() {
			page := r.page(v.id)
			if flags(page) != flagLeaf {
				continue
			}
			for _, e := range elements(page) {
				if !e.bucket || le.Uint64(e.value) == 0 {
					continue
				}
				if first != 0 {
					le.PutUint64(e.value, first)
					return nil
				}
				first = le.Uint64(e.value)
			}
		}
		return errNoTarget
	}},
	{"bucket-ancestor", "bad-tree", false, func(r *raw) error {
		for _, e := range elements(r.page(r.root())) {
			if e.bucket && len(e.value) == 16 {
				le.PutUint64(e.value, r.root())
				return nil
			}
		}
		return errNoTarget
	}},
	{"bucket-size", "bad-tree", false,
		func(r *raw) error { return r.revalue(func(v []byte) []byte { return v[:15] }) }},
	{"inline-16", "bad-tree", false, func(r *raw) error { return r.revalue(func(v []byte) []byte { return v[:16] }) }},
	{"inline-31", "bad-tree", false, func(r *raw) error { return r.revalue(func(v []byte) []byte { return v[:31] }) }},
	{"inline-trailing", "bad-tree", false,
		func(r *raw) error { return r.revalue(func(v []byte) []byte { return append(v, 0) }) }},
	{"inline-id", "hazard", false, func(r *raw) error { return r.onInline(func(v []byte) { v[16] = 9 }) }},
	{"inline-flags", "bad-tree", false, func(r *raw) error { return r.onInline(func(v []byte) { v[24] = 1 }) }},
	{"inline-count", "bad-tree", false,
		func(r *raw) error { return r.onInline(func(v []byte) { le.PutUint16(v[26:], le.Uint16(v[26:])-1) }) }},
	{"inline-nested", "hazard", false, func(r *raw) error {
		return r.revalue(func(v []byte) []byte {
			empty := append(make([]byte, 16), build(0, flagLeaf, nil, r.pageSize)...)
			inner := element{key: []byte("inner"), value: empty, bucket: true}
			return append(append([]byte(nil), v[:16]...), build(0, flagLeaf, []element{inner}, r.pageSize)...)
		})
	}},
	{"freelist-live", "bad-freelist", true,
		func(r *raw) error { return r.list(func(ids []uint64) []uint64 { return append(ids, r.root()) }) }},
	{"freelist-own", "bad-freelist", true,
		func(r *raw) error { return r.list(func(ids []uint64) []uint64 { return append(ids, r.freelist()) }) }},
	{"freelist-twice", "bad-freelist", true, func(r *raw) error {
		return r.list(func(ids []uint64) []uint64 {
			if len(ids) == 0 {
				return make([]uint64, r.pageSize)
			}
			return append(ids, ids[0])
		})
	}},
	{"freelist-past-end", "bad-freelist", true,
		func(r *raw) error { return r.list(func(ids []uint64) []uint64 { return append(ids, r.highWater()) }) }},
	{"freelist-meta", "bad-freelist", true,
		func(r *raw) error { return r.list(func(ids []uint64) []uint64 { return append(ids, 1) }) }},
	{"freelist-flags", "bad-freelist", true,
		func(r *raw) error { le.PutUint16(r.page(r.freelist())[8:], flagLeaf); return nil }},
	{"freelist-zeroed", "bad-freelist", true,
		func(r *raw) error { p := r.page(r.freelist()); copy(p, make([]byte, len(p))); return nil }},
	{"freelist-id", "bad-freelist", true, func(r *raw) error { r.page(r.freelist())[0] ^= 0x40; return nil }},
	{"freelist-count", "bad-freelist", true, func(r *raw) error {
		p := r.page(r.freelist())
		le.PutUint16(p[10:], 0xffff)
		le.PutUint64(p[16:], 1<<61)
		return nil
	}},
	{"freelist-overflow", "bad-freelist", true,
		func(r *raw) error { le.PutUint32(r.page(r.freelist())[12:], 0xffffffff); return nil }},
	{"freelist-is-tree", "bad-freelist", true, func(r *raw) error { r.set(48, r.root()); return nil }},
	{"freelist-nowhere", "bad-freelist", true, func(r *raw) error { r.set(48, r.highWater()); return nil }},
	{"freelist-page-1", "bad-freelist", true, func(r *raw) error { r.set(48, 1); return nil }},

	// Unusual, and nothing is wrong with it.
	{"legal-older-meta-torn", "sound", false, func(r *raw) error { r.meta(1 - r.slot)[72] ^= 1; return nil }},
	{"legal-newer-meta-torn", "sound", false, func(r *raw) error { r.now()[40] ^= 1; return nil }},
	{"legal-older-meta-without-checksum", "sound", false,
		func(r *raw) error { le.PutUint64(r.meta(1 - r.slot)[72:], 0); return nil }},
	{"legal-equal-txid", "sound", false, func(r *raw) error {
		copy(r.meta(1 - r.slot)[16:], r.now()[16:])
		return nil
	}},
	{"legal-parity", "sound", false, func(r *raw) error {
		r.set(64, le.Uint64(r.now()[64:])+1)
		return nil
	}},
	{"legal-txid-gap", "sound", false, func(r *raw) error { r.set(64, le.Uint64(r.now()[64:])+1000); return nil }},
	{"legal-meta-flags", "sound", false, func(r *raw) error { le.PutUint32(r.now()[28:], 4); r.seal(r.slot); return nil }},
	{"legal-trailing", "sound", false, func(r *raw) error { r.b = append(r.b, "tail"...); return nil }},
	{"legal-exact-size", "sound", false, func(r *raw) error { r.b = r.b[:r.highWater()*r.pageSize]; return nil }},
	{"legal-leak", "sound", true, func(r *raw) error {
		return r.list(func(ids []uint64) []uint64 {
			if len(ids) == 0 {
				return ids
			}
			return ids[1:]
		})
	}},
	{"legal-freelist-reversed", "sound", true, func(r *raw) error {
		return r.list(func(ids []uint64) []uint64 {
			sort.Slice(ids, func(i, k int) bool { return ids[i] > ids[k] })
			return ids
		})
	}},
	{"legal-freelist-given-up", "sound", false, func(r *raw) error { r.set(48, noFreelist); return nil }},
	{"legal-branch", "sound", false, func(r *raw) error {
		return r.grow(func(id uint64, all []element) error {
			left, right := r.add(flagLeaf, all[:1]...), r.add(flagLeaf, all[1:]...)
			r.branchAt(id, entry(all[0].key, left), entry(all[1].key, right))
			return nil
		})
	}},
	{"legal-inline-oversized", "sound", false, func(r *raw) error {
		return r.revalue(func(v []byte) []byte {
			big := element{key: []byte("big"), value: bytes.Repeat([]byte{7}, int(r.pageSize)*2)}
			return append(append([]byte(nil), v[:16]...), build(0, flagLeaf, []element{big}, r.pageSize)...)
		})
	}},
	{"legal-empty-bucket-page", "sound", false, func(r *raw) error {
		id := r.add(flagLeaf)
		return r.revalue(func(v []byte) []byte { return append(le.AppendUint64(nil, id), v[8:16]...) })
	}},
}

func doDamage(file, kind string) error {
	if kind == "list" {
		for _, d := range damages {
			fmt.Println(d.kind, d.verdict)
		}
		return nil
	}
	for _, d := range damages {
		if d.kind != kind {
			continue
		}
		r, err := load(file)
		if err != nil {
			return err
		}
		if d.stored && r.freelist() == noFreelist {
			db, err := bolt.Open(file, 0o600, nil)
			if err != nil {
				return err
			}
			db.Close()
			if r, err = load(file); err != nil {
				return err
			}
		}
		if err := d.do(r); err != nil {
			return err
		}
		return os.WriteFile(file, r.b, 0o600)
	}
	return fmt.Errorf("no damage %q; see: boltool damage FILE list", kind)
}

func metas(file string) error {
	r, err := load(file)
	if err != nil {
		return err
	}
	for slot := uint64(0); slot < 2; slot++ {
		m := r.meta(slot)
		fmt.Printf("slot %d valid %t page-size %d root %d freelist %d high-water %d txid %d\n", slot, r.valid(slot),
			le.Uint32(m[24:]), le.Uint64(m[32:]), int64(le.Uint64(m[48:])), le.Uint64(m[56:]), le.Uint64(m[64:]))
	}
	return nil
}

func run(verb, file string, rest []string) error {
	o := operation{Op: verb}
	parse := func(n int) error {
		if len(rest) != n {
			return errors.New("wrong number of words")
		}
		return json.Unmarshal([]byte(rest[0]), &o.Path)
	}
	switch verb {
	case "dump":
		return dump(file)
	case "meta":
		return metas(file)
	case "damage":
		if len(rest) != 1 {
			return errors.New("which damage?")
		}
		return doDamage(file, rest[0])
	case "script":
		var operations []operation
		in := os.Stdin
		if len(rest) > 0 {
			var err error
			if in, err = os.Open(rest[0]); err != nil {
				return err
			}
		}
		if err := json.NewDecoder(in).Decode(&operations); err != nil {
			return err
		}
		return update(file, operations)
	case "get":
		if err := parse(1); err != nil {
			return err
		}
		return get(file, o.Path)
	case "put":
		if err := parse(2); err != nil {
			return err
		}
		o.Hex = &rest[1]
	case "setseq":
		if err := parse(2); err != nil {
			return err
		}
		n, err := strconv.ParseUint(rest[1], 10, 64)
		if err != nil {
			return err
		}
		o.Sequence = n
	case "delete", "delete-bucket", "mkbucket":
		if err := parse(1); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown command %q", verb)
	}
	return update(file, []operation{o})
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: boltool dump|get|put|delete|delete-bucket|mkbucket|setseq|script|damage|meta FILE ...")
		os.Exit(16)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintf(os.Stderr, "boltool: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}
