// SPDX-License-Identifier: MIT

// Reads archives from standard input, each behind its length (4 bytes, little-endian), with Go's archive/tar, and prints
// what tests/differential/tar.c prints.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sort"
	"strings"
	"time"
)

// As containerd sees the entry: FileInfo, PAXRecords, and times that are cut to what a disk can hold.
func show(w io.Writer, h *tar.Header) {
	mode := h.FileInfo().Mode()
	bits := uint32(mode.Perm())
	if mode&os.ModeSetuid != 0 {
		bits |= 04000
	}
	if mode&os.ModeSetgid != 0 {
		bits |= 02000
	}
	if mode&os.ModeSticky != 0 {
		bits |= 01000
	}
	bound := func(t time.Time) time.Time {
		if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, 1<<63-1)) {
			return time.Unix(0, 0)
		}
		return t
	}
	atime := h.AccessTime
	if atime.Before(h.ModTime) {
		atime = h.ModTime
	}
	atime, mtime := bound(atime), bound(h.ModTime)
	if h.Typeflag == tar.TypeXGlobalHeader {
		fmt.Fprintf(w, "g %x\n", h.Name)
		return
	}
	size := h.Size
	if h.Typeflag >= '1' && h.Typeflag <= '6' {
		size = 0
	}
	fmt.Fprintf(w, "%02x %x %x %d %o %d %d %d %d %d.%d %d.%d", h.Typeflag, h.Name, h.Linkname, size, bits, uint32(h.Uid),
		uint32(h.Gid), h.Devmajor, h.Devminor, mtime.Unix(), mtime.Nanosecond(), atime.Unix(), atime.Nanosecond())
	keys := []string{}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.") {
			keys = append(keys, k[len("SCHILY.xattr."):])
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(w, " %x=%x", k, h.PAXRecords["SCHILY.xattr."+k])
	}
	fmt.Fprintln(w)
}

func read(w io.Writer, data []byte) {
	tr := tar.NewReader(struct{ io.Reader }{bytes.NewReader(data)})
	for {
		h, err := tr.Next()
		if err == io.EOF {
			fmt.Fprintln(w, "end")
			return
		}
		if err != nil {
			fmt.Fprintln(w, "refused")
			return
		}
		show(w, h)
		if h.Typeflag == tar.TypeReg && !strings.HasPrefix(h.Name, "skip") {
			hash := fnv.New64a()
			n, err := io.Copy(hash, io.LimitReader(tr, 1<<24))
			if err != nil {
				fmt.Fprintln(w, "refused")
				return
			}
			fmt.Fprintf(w, "data %d %016x\n", n, hash.Sum64())
			if n == 1<<24 {
				fmt.Fprintln(w, "long")
				return
			}
		}
	}
}

func main() {
	in, w := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriterSize(os.Stdout, 1<<20)
	defer w.Flush()
	for number := 0; ; number++ {
		var n uint32
		if binary.Read(in, binary.LittleEndian, &n) != nil {
			return
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		fmt.Fprintf(w, "== %d\n", number)
		read(w, data)
	}
}
