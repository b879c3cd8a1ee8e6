// SPDX-License-Identifier: MIT

// Compares bolt.c and bolt_edit.c with bbolt itself, on databases that bbolt wrote: at every step the check must call them
// sound and read what bbolt reads; an edit of ours must leave what the same operations of bbolt leave, survive bbolt's own
// check and its next writes, and, cut short by a power cut, leave the old content. Damages must be called what they are.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

var (
	editProgram = flag.String("edit", "", "the driver of bolt.c and bolt_edit.c")
	tool        = flag.String("boltool", "", "tests/golden/boltool")
	directory   = flag.String("dir", "", "where the databases go")
	seed        = flag.Int64("seed", 0, "0: from the clock")
	rounds      = flag.Int("rounds", 25, "random databases")
	random      *rand.Rand
	tally       struct{ checks, edits, cuts, bytes int }
)

type config struct {
	pageSize   int
	noFreelist bool
	freelist   bolt.FreelistType
	keys       int // size of the pool of key names
	mapped     int // bytes mapped at once: bbolt waits for its readers before it maps more
}

func (c config) String() string {
	return fmt.Sprintf("pages of %d, freelist stored %t, %s", c.pageSize, !c.noFreelist, c.freelist)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (c config) open(file string) *bolt.DB {
	db, err := bolt.Open(file, 0o600, &bolt.Options{
		Timeout: 10 * time.Minute, PageSize: c.pageSize, NoFreelistSync: c.noFreelist, FreelistType: c.freelist,
		InitialMmapSize: c.mapped})
	must(err)
	db.NoSync = true
	return db
}

// ---- operations ----

type operation struct {
	verb  string
	path  [][]byte
	value []byte
	coded string // the value as the driver reads it
	n     uint64
}

func (o operation) String() string {
	var parts []string
	for _, part := range o.path {
		parts = append(parts, hex.EncodeToString(part))
	}
	line := o.verb + " " + strings.Join(parts, "/")
	if o.verb == "put" {
		return line + " " + o.coded
	}
	if o.verb == "seq" {
		return fmt.Sprintf("%s %d", line, o.n)
	}
	return line
}

func pattern(n int, first byte) []byte {
	value := make([]byte, n)
	for i := range value {
		value[i] = first + byte(i*7)
	}
	return value
}

func (c config) randomKey() []byte {
	key := []byte(fmt.Sprintf("key %05d", random.Intn(c.keys)))
	switch random.Intn(400) {
	case 0:
		key = append(key, pattern(random.Intn(3*c.pageSize), 1)...)
	case 1:
		key = []byte{byte(random.Intn(256))}
	case 2:
		key = []byte(fmt.Sprintf("bucket %d", random.Intn(4)))
	}
	if len(key) > bolt.MaxKeySize {
		key = key[:bolt.MaxKeySize]
	}
	return key
}

func randomPath() [][]byte {
	var path [][]byte
	for depth := 1 + random.Intn(4); depth > 0; depth-- {
		path = append(path, []byte(fmt.Sprintf("bucket %d", random.Intn(4))))
	}
	return path
}

func (c config) randomValue() ([]byte, string) {
	n := random.Intn(40)
	switch random.Intn(60) {
	case 0:
		n = random.Intn(4 * c.pageSize)
	case 1:
		n = 0
	case 2:
		if random.Intn(20) == 0 {
			n = random.Intn(1 << 20)
		}
	}
	first := byte(random.Intn(256))
	return pattern(n, first), fmt.Sprintf("*%d:%d", n, first)
}

func (c config) randomOperation() operation {
	o := operation{path: randomPath()}
	switch random.Intn(20) {
	case 0:
		o.verb = "bkt"
	case 1:
		o.verb, o.n = "seq", uint64(random.Intn(1000))
	case 2:
		o.verb = "rem" // a bucket
		if len(o.path) < 3 && random.Intn(3) > 0 {
			o.path = append(o.path, c.randomKey())
		}
	case 3, 4, 5, 6, 7:
		o.verb = "rem"
		o.path = append(o.path, c.randomKey())
	default:
		o.verb = "put"
		o.path = append(o.path, c.randomKey())
		o.value, o.coded = c.randomValue()
	}
	return o
}

func (c config) randomOperations(n int) []operation {
	var all []operation
	if random.Intn(5) == 0 { // one bucket, many of its keys
		path, verb := randomPath(), []string{"put", "rem"}[random.Intn(2)]
		for i := 0; i < c.keys; i++ {
			o := operation{verb: verb, path: append(path[:len(path):len(path)], []byte(fmt.Sprintf("key %05d", i)))}
			o.value, o.coded = c.randomValue()
			if random.Intn(20) > 0 {
				all = append(all, o)
			}
		}
	}
	for len(all) < n {
		all = append(all, c.randomOperation())
	}
	return all
}

// Both the transaction and a bucket are one: the database itself is the outermost bucket.
type container interface {
	Bucket([]byte) *bolt.Bucket
	CreateBucketIfNotExists([]byte) (*bolt.Bucket, error)
	DeleteBucket([]byte) error
}

var errRefused = errors.New("refused")

// What the operation means, in bbolt's own words.
func (o operation) apply(tx *bolt.Tx) error {
	var at container = tx
	parts, last := o.path, o.path[len(o.path)-1]
	if o.verb == "put" || o.verb == "rem" {
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		if o.verb == "put" || o.verb == "bkt" {
			next, err := at.CreateBucketIfNotExists(part)
			if err == bolt.ErrIncompatibleValue {
				return errRefused
			}
			must(err)
			at = next
			continue
		}
		next := at.Bucket(part)
		if next == nil {
			if o.verb == "seq" {
				return errRefused
			}
			return nil
		}
		at = next
	}
	switch o.verb {
	case "put":
		if err := at.(*bolt.Bucket).Put(last, o.value); err == bolt.ErrIncompatibleValue {
			return errRefused
		} else {
			must(err)
		}
	case "rem":
		if at.Bucket(last) != nil {
			must(at.DeleteBucket(last))
		} else if b, ok := at.(*bolt.Bucket); ok {
			must(b.Delete(last))
		}
	case "seq":
		if b := at.(*bolt.Bucket); b.Sequence() < o.n {
			must(b.SetSequence(o.n))
		}
	}
	return nil
}

func applyAll(db *bolt.DB, all []operation) (refused string) {
	must(db.Update(func(tx *bolt.Tx) error {
		for i, o := range all {
			if o.apply(tx) == errRefused {
				refused += fmt.Sprintf("refused %d\n", i+1)
			}
		}
		return nil
	}))
	return refused
}

// ---- looking ----

func dumpBucket(out *bytes.Buffer, path string, b *bolt.Bucket) {
	must(b.ForEach(func(k, v []byte) error {
		at := path + hex.EncodeToString(k)
		if v == nil {
			inner := b.Bucket(k)
			fmt.Fprintf(out, "%s bucket %d\n", at, inner.Sequence())
			dumpBucket(out, at+"/", inner)
		} else if len(v) > 40 {
			h := fnv.New64a()
			h.Write(v)
			fmt.Fprintf(out, "%s = #%d:%016x\n", at, len(v), h.Sum64())
		} else {
			fmt.Fprintf(out, "%s = %x\n", at, v)
		}
		return nil
	}))
}

func dump(db *bolt.DB) string {
	var out bytes.Buffer
	must(db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(k []byte, b *bolt.Bucket) error {
			fmt.Fprintf(&out, "%x bucket %d\n", k, b.Sequence())
			dumpBucket(&out, hex.EncodeToString(k)+"/", b)
			return nil
		})
	}))
	return out.String()
}

// bbolt 1.3.6 leaks pages when it deletes nested buckets: told from damage by its words.
func bboltCheck(db *bolt.DB, mayLeak bool) {
	must(db.View(func(tx *bolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil && !(mayLeak && strings.HasSuffix(err.Error(), "unreachable unfreed")) {
				first = fmt.Errorf("bbolt's check: %w", err)
			}
		}
		return first
	}))
}

func drive(args ...string) string {
	out, err := exec.Command(*editProgram, args...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == 1) {
		panic(fmt.Sprintf("edit %v: %v: %.2000s", args, err, out))
	}
	return string(out)
}

// The check finds nothing, and no page that is laid out as bbolt would not.
func mustBeSound(file string, mayLeak bool) {
	var keys, buckets, reachable, free, leaked, odd, depth int
	out := drive("check", file)
	n, _ := fmt.Sscanf(out, "sound %d %d %d %d %d %d %d", &keys, &buckets, &reachable, &free, &leaked, &odd, &depth)
	if n != 7 || odd != 0 || (leaked != 0 && !mayLeak) {
		panic("bbolt's database called: " + out)
	}
	tally.checks++
}

func differ(what, a, b string) {
	if a == b {
		return
	}
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			other := "(end)"
			if i < len(y) {
				other = y[i]
			}
			panic(fmt.Sprintf("%s: line %d of %d and %d: %.300s <> %.300s", what, i+1, len(x), len(y), x[i], other))
		}
	}
	panic(what + ": the second is longer")
}

func copyFile(from, to string) {
	data, err := os.ReadFile(from)
	must(err)
	must(os.WriteFile(to, data, 0o600))
}

func at(name string) string { return filepath.Join(*directory, name) }

// ---- the steps ----

// Some transactions of bbolt, now and then with a reader open or a rollback between.
func (c config) bboltWrites(file string, all [][]operation) {
	readers := random.Intn(4) == 0
	if readers {
		c.mapped = 256 << 20
	}
	db := c.open(file)
	for _, operations := range all {
		var reader *bolt.Tx
		if readers && random.Intn(2) == 0 {
			var err error
			reader, err = db.Begin(false)
			must(err)
		}
		if random.Intn(6) == 0 {
			tx, err := db.Begin(true)
			must(err)
			for _, o := range operations {
				_ = o.apply(tx)
			}
			must(tx.Rollback())
		}
		applyAll(db, operations)
		if random.Intn(8) == 0 {
			applyAll(db, nil) // empty commits move the metas
		}
		if reader != nil {
			must(reader.Rollback())
		}
	}
	bboltCheck(db, true)
	must(db.Close())
	mustBeSound(file, true)
}

func writeScript(file string, all []operation) {
	var out bytes.Buffer
	for _, o := range all {
		out.WriteString(o.String() + "\n")
	}
	must(os.WriteFile(file, out.Bytes(), 0o600))
}

// Our edit of main.db against bbolt's of a copy; then both are written to by bbolt.
func (c config) editCycle(all []operation, after [][]operation) {
	file, reference, script, cut := at("main.db"), at("reference.db"), at("script"), at("cut.db")
	copyFile(file, reference)
	writeScript(script, all)

	before := drive("dump", file)
	for i := 0; i < 2; i++ {
		copyFile(file, cut)
		drive("cut", cut, script, fmt.Sprint(random.Int63()))
		mustBeSound(cut, true)
		differ("after a power cut during our edit", before, drive("dump", cut))
		tally.cuts++
		db := c.open(cut)
		bboltCheck(db, true)
		differ("after a power cut during our edit, as bbolt reads it", before, dump(db))
		must(db.Close())
	}

	db := c.open(reference)
	refused := applyAll(db, all)
	expected := dump(db)
	must(db.Close())

	told := drive("apply", file, script)
	lines := strings.SplitAfter(told, "\n")
	last := lines[len(lines)-2]
	var appended int
	if n, _ := fmt.Sscanf(last, "changed %d", &appended); n != 1 && last != "unchanged\n" {
		panic("edit: " + told)
	}
	tally.bytes += appended
	tally.edits++
	differ("operations refused by bbolt and by us", refused, strings.Join(lines[:len(lines)-2], ""))
	mustBeSound(file, !strings.HasPrefix(last, "changed"))
	differ("our edit as we read it", expected, drive("dump", file))
	if refused == "" && idempotent(all) {
		if again := drive("apply", file, script); !strings.HasSuffix(again, "unchanged\n") {
			panic("the edit done again: " + again)
		}
	}
	db = c.open(file)
	bboltCheck(db, !strings.HasPrefix(last, "changed"))
	differ("our edit as bbolt reads it", expected, dump(db))
	must(db.Close())
	mustBeSound(file, !strings.HasPrefix(last, "changed"))

	var contents [2]string
	for i, name := range []string{file, reference} {
		db = c.open(name)
		for _, operations := range after {
			applyAll(db, operations)
			bboltCheck(db, true)
		}
		contents[i] = dump(db)
		must(db.Close())
		mustBeSound(name, true)
		differ("what bbolt wrote, as we read it", contents[i], drive("dump", name))
	}
	differ("bbolt's writes after our edit and after its own", contents[1], contents[0])
}

// Operations of which none is on a name that another one is on or beneath do nothing the second time.
func idempotent(all []operation) bool {
	whole, within := map[string]bool{}, map[string]bool{}
	for _, o := range all {
		for i := range o.path {
			prefix := string(bytes.Join(o.path[:i+1], []byte{0}))
			if whole[prefix] || (i == len(o.path)-1 && within[prefix]) {
				return false
			}
			within[prefix] = true
		}
		whole[string(bytes.Join(o.path, []byte{0}))] = true
	}
	return true
}

func randomConfig() config {
	c := config{noFreelist: random.Intn(2) == 0, freelist: bolt.FreelistArrayType}
	// not 512: bbolt 1.3.6 needs 4096 bytes to open what it made
	c.pageSize = []int{1024, 4096, 4096, 4096, 16384, 65536}[random.Intn(6)]
	c.keys = []int{5, 50, 500, 3000}[random.Intn(4)]
	if random.Intn(2) == 0 {
		c.freelist = bolt.FreelistMapType
	}
	return c
}

func randomDatabases() {
	for i := 0; i < *rounds; i++ {
		c := randomConfig()
		file := at("main.db")
		_ = os.Remove(file)
		var writes [][]operation
		for n := random.Intn(5); n >= 0; n-- {
			writes = append(writes, c.randomOperations(random.Intn(2*c.keys)))
		}
		c.bboltWrites(file, writes)
		for cycle := random.Intn(3); cycle >= 0; cycle-- {
			switch random.Intn(6) {
			case 0: // a hot backup has the newer meta in slot 0 whatever its number
				db := c.open(file)
				must(db.View(func(tx *bolt.Tx) error { return tx.CopyFile(at("copy.db"), 0o600) }))
				must(db.Close())
				must(os.Rename(at("copy.db"), file))
				mustBeSound(file, true)
			case 1:
				_ = os.Remove(at("compact.db"))
				source, target := c.open(file), c.open(at("compact.db"))
				must(bolt.Compact(target, source, 65536))
				must(source.Close())
				must(target.Close())
				must(os.Rename(at("compact.db"), file))
				mustBeSound(file, true)
			case 2:
				c.noFreelist = !c.noFreelist
			}
			after := [][]operation{c.randomOperations(random.Intn(c.keys + 5)), c.randomOperations(random.Intn(30))}
			c.editCycle(c.randomOperations(1+random.Intn(60)), after)
		}
	}
}

// Buckets of more elements than a page can count, made by either side, and shrunk again.
func bigBuckets() {
	c := config{pageSize: 4096, noFreelist: true, freelist: bolt.FreelistMapType, keys: 200}
	file := at("main.db")
	_ = os.Remove(file)
	numbered := func(verb string, from, to int) []operation {
		var all []operation
		for i := from; i < to; i++ {
			o := operation{verb: verb, path: [][]byte{[]byte("bucket 0"), []byte("bucket 1"), []byte(fmt.Sprintf("%07d", i))}}
			if verb == "put" {
				o.value, o.coded = pattern(i%9, byte(i)), fmt.Sprintf("*%d:%d", i%9, byte(i))
			}
			all = append(all, o)
		}
		return all
	}
	c.bboltWrites(file, [][]operation{c.randomOperations(300)})
	c.editCycle(numbered("put", 0, 65600), [][]operation{numbered("rem", 65500, 65590), numbered("put", 65500, 65600)})
	c.editCycle(numbered("rem", 1000, 65400), [][]operation{c.randomOperations(50)})
}

// A freelist of more pages than its header can count.
func longFreelist() {
	c := config{pageSize: 512, freelist: bolt.FreelistArrayType, keys: 100}
	file := at("main.db")
	_ = os.Remove(file)
	db := c.open(file)
	must(db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("bucket 0"))
		must(err)
		b.FillPercent = 1
		for i := 0; i < 70000; i++ {
			must(b.Put([]byte(fmt.Sprintf("%07d", i)), pattern(400, byte(i))))
		}
		_, err = tx.CreateBucket([]byte("bucket 1"))
		return err
	}))
	must(db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("bucket 0")) }))
	must(db.Close())
	mustBeSound(file, true)
	c.editCycle(c.randomOperations(20), [][]operation{c.randomOperations(20)})
}

// As etcd writes: revisions as keys, batches, compaction from below, no freelist on disk.
func etcdLike() {
	c := config{pageSize: 4096, noFreelist: true, freelist: bolt.FreelistMapType, keys: 10}
	file := at("main.db")
	_ = os.Remove(file)
	revision, compacted := uint64(0), uint64(0)
	key := func(n uint64) []byte {
		return append(binary.BigEndian.AppendUint64(nil, n), "_\x00\x00\x00\x00\x00\x00\x00\x00"...)
	}
	name := []byte("key")
	for step := 0; step < 6; step++ {
		db := c.open(file)
		for batch := 0; batch < 40; batch++ {
			must(db.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(name)
				must(err)
				b.FillPercent = 0.9
				m, err := tx.CreateBucketIfNotExists([]byte("meta"))
				must(err)
				for i := 0; i < 100; i++ {
					revision++
					must(b.Put(key(revision), pattern(50+random.Intn(900), byte(revision))))
				}
				if batch%10 == 9 {
					for ; compacted < revision-2500 && revision > 2500; compacted++ {
						must(b.Delete(key(compacted)))
					}
				}
				return m.Put([]byte("consistent_index"), key(revision)[:8])
			}))
		}
		bboltCheck(db, true)
		content := dump(db)
		must(db.Close())
		mustBeSound(file, true)
		differ("etcd-like content", content, drive("dump", file))
		if step%3 == 1 {
			var all []operation
			for i := 0; i < 500; i++ {
				all = append(all, operation{verb: "rem", path: [][]byte{name, key(compacted + uint64(random.Intn(3000)))}})
			}
			all = append(all, operation{verb: "seq", path: [][]byte{name}, n: 17})
			c.editCycle(all, [][]operation{{{verb: "rem", path: [][]byte{name, key(revision)}}}})
		}
	}
}

// Every damage of the list, on databases of several shapes.
func damages() {
	out, err := exec.Command(*tool, "damage", "-", "list").Output()
	must(err)
	for _, c := range []config{
		{pageSize: 4096, freelist: bolt.FreelistArrayType, keys: 40},
		{pageSize: 1024, noFreelist: true, freelist: bolt.FreelistMapType, keys: 300},
	} {
		base, file := at("base.db"), at("damaged.db")
		_ = os.Remove(base)
		// a root leaf with three elements, an inline bucket in a page of its own, a tree with branches, free pages
		writes := [][]operation{c.randomOperations(c.keys), nil, c.randomOperations(c.keys)}
		for i := 0; i < 4; i++ {
			for k := 0; k < 40; k++ {
				path := [][]byte{[]byte("damage"), []byte(fmt.Sprintf("inner %d", i)), []byte(fmt.Sprintf("%03d", k))}
				o := operation{verb: "put", path: path}
				o.value, o.coded = pattern(c.pageSize/100, byte(k)), "-"
				writes[1] = append(writes[1], o)
			}
		}
		for k := 0; k < 2000; k++ {
			o := operation{verb: "put", path: [][]byte{[]byte("damage"), []byte("tree"), []byte(fmt.Sprintf("%04d", k))}}
			o.value = pattern(20, byte(k))
			writes[1] = append(writes[1], o)
		}
		small := operation{verb: "put", path: [][]byte{[]byte("damage"), []byte("small"), []byte("a")}, value: []byte("1")}
		writes[1] = append(writes[1], small)
		c.bboltWrites(base, writes)
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			kind, verdict, _ := strings.Cut(line, " ")
			copyFile(base, file)
			if told, err := exec.Command(*tool, "damage", file, kind).CombinedOutput(); err != nil {
				panic(fmt.Sprintf("boltool: %s: %s", kind, told))
			}
			found := drive("check", file)
			if !strings.HasPrefix(strings.TrimPrefix(found, "fault "), verdict+" ") {
				panic(fmt.Sprintf("%s (%v): want %s, got %s", kind, c, verdict, found))
			}
			if verdict == "sound" {
				content := drive("dump", file)
				db := c.open(file)
				differ(kind, dump(db), content)
				for i := 0; i < 3; i++ {
					applyAll(db, c.randomOperations(40))
				}
				bboltCheck(db, true)
				must(db.Close())
				mustBeSound(file, true)
			}
		}
	}
}

func main() {
	flag.Parse()
	if *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	fmt.Printf("# seed %d\n", *seed)
	failed := 0
	for i, test := range []struct {
		name string
		do   func()
	}{
		{"random databases of bbolt, edited in turn by bbolt and us", randomDatabases},
		{"buckets of more than 65534 elements", bigBuckets},
		{"a freelist of more than 65535 pages", longFreelist},
		{"an etcd-like run", etcdLike},
		{"every damage is called what it is, and nothing legal is", damages},
	} {
		random = rand.New(rand.NewSource(*seed + int64(i)))
		began := time.Now()
		func() {
			defer func() {
				if trouble := recover(); trouble != nil {
					failed++
					where := strings.ReplaceAll(string(debug.Stack()), "\n", "\n# ")
					fmt.Printf("# %s\n# %v\n# files: %s\nnot ok - %s\n", where, trouble, *directory, test.name)
				} else {
					fmt.Printf("ok - %s # %.1f s\n", test.name, time.Since(began).Seconds())
				}
			}()
			test.do()
		}()
		if failed > 0 {
			break // the files are those of the failure
		}
	}
	fmt.Printf("# %d databases called sound, %d edits of %d bytes, %d power cuts\n", tally.checks, tally.edits, tally.bytes,
		tally.cuts)
	if failed > 0 {
		os.Exit(1)
	}
}
