#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Archives byte by byte: a writer that can also write what no archiver should, and the corpus made with it.

    tests/corpus/make_tar.py DIRECTORY      writes DIRECTORY/ok-*.tar and bad-*.tar

ok-: Go's archive/tar reads it to the end. bad-: it refuses it, or the answer depends on its version.
"""

import os
import sys

BLOCK = 512
END = bytes(2 * BLOCK)
TIME = 1600000000


# ---------------------------------------------------------------------------------------- the writer

def number(value, width):
    """Octal with a NUL, or base-256 where that does not fit."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = bytearray((value & (1 << 8 * width) - 1).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


MAGIC = {"ustar": b"ustar\x0000", "gnu": b"ustar  \0", "v7": bytes(8), "star": b"ustar\x0000"}


def header(name=b"", kind=b"0", size=0, mode=0o644, uid=0, gid=0, mtime=TIME, link=b"", dev=(0, 0), prefix=b"",
           magic="ustar", put=(), checksum=None):
    """One header block. put: (offset, bytes) written over it before the sum is made."""
    b = bytearray(BLOCK)

    def at(offset, data):
        b[offset:offset + len(data)] = data
    at(0, name[:100])
    at(100, number(mode, 8))
    at(108, number(uid, 8))
    at(116, number(gid, 8))
    at(124, number(size, 12))
    at(136, number(mtime, 12))
    at(156, kind)
    at(157, link[:100])
    at(257, MAGIC[magic] if isinstance(magic, str) else magic)
    if magic != "v7":
        at(329, number(dev[0], 8))
        at(337, number(dev[1], 8))
    if magic == "star":
        at(508, b"tar\0")
    at(345, prefix[:155])
    for offset, data in put:
        at(offset, data)
    b[148:156] = b" " * 8
    total = sum(b) if checksum is None else checksum(b)
    at(148, b"%06o\0 " % total if isinstance(total, int) else total)
    return bytes(b)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def record(key, value):
    key = key if isinstance(key, bytes) else key.encode()
    value = value if isinstance(value, bytes) else str(value).encode()
    n = len(key) + len(value) + 3
    size = n + len(str(n))
    size = n + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)


def pax(records, kind=b"x", name=b"PaxHeaders/x", **fields):
    """A pax header. records: pairs, or the block's bytes."""
    data = records if isinstance(records, bytes) else b"".join(record(k, v) for k, v in records)
    return header(name, kind, len(data), **fields) + padded(data)


def gnu_long(kind, text, **fields):
    return header(b"././@LongLink", kind, len(text) + 1, magic="gnu", **fields) + padded(text + b"\0")


def entry(name, data=b"", kind=b"0", xattrs=(), records=(), **fields):
    """A member: pax header where it needs one, header, data."""
    name = name if isinstance(name, bytes) else name.encode()
    link = fields.pop("link", b"")
    link = link if isinstance(link, bytes) else link.encode()
    records = list(records) + [("SCHILY.xattr." + k, v) for k, v in xattrs]
    if len(name) > 100:
        records.insert(0, ("path", name))
    if len(link) > 100:
        records.insert(0, ("linkpath", link))
    fields.setdefault("size", len(data))
    fields.setdefault("mode", 0o755 if kind == b"5" else 0o777 if kind == b"2" else 0o644)
    return (pax(records) if records else b"") + header(name, kind, link=link, **fields) + padded(data)


def directory(name, **fields):
    return entry(name if isinstance(name, bytes) or name.endswith("/") else name + "/", kind=b"5", **fields)


def symlink(name, target, **fields):
    return entry(name, kind=b"2", link=target, **fields)


def hard_link(name, target, **fields):
    return entry(name, kind=b"1", link=target, **fields)


def sparse_0_0(name, chunks, size, **fields):
    """chunks: (offset, data)."""
    records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(chunks))]
    for offset, data in chunks:
        records += [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", len(data))]
    return entry(name, b"".join(d for _, d in chunks), records=records, **fields)


def sparse_0_1(name, chunks, size, **fields):
    text = ",".join("%d,%d" % (offset, len(data)) for offset, data in chunks)
    records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(chunks)), ("GNU.sparse.map", text),
               ("GNU.sparse.name", name)]
    return entry("GNUSparseFile.0/" + name, b"".join(d for _, d in chunks), records=records, **fields)


def sparse_1_0(name, chunks, size, version=(1, 0), more=b"", count=None, text=None, **fields):
    if text is None:
        text = "%d\n" % (len(chunks) if count is None else count) + "".join(
            "%d\n%d\n" % (offset, len(data)) for offset, data in chunks)
    records = [("GNU.sparse.major", version[0]), ("GNU.sparse.minor", version[1]), ("GNU.sparse.name", name),
               ("GNU.sparse.realsize", size)]
    data = padded(text.encode()) + b"".join(d for _, d in chunks) + more
    return entry("GNUSparseFile.0/" + name, data, records=records, **fields)


def old_gnu_sparse(name, chunks, size, extensions=0):
    """typeflag S: four pairs in the header, 21 in each extension block."""
    pairs = [number(o, 12) + number(len(d), 12) for o, d in chunks]
    first, rest = b"".join(pairs[:4]), pairs[4:]
    data = b"".join(d for _, d in chunks)
    put = [(386, first), (482, b"\1" if rest or extensions else b"\0"), (483, number(size, 12))]
    out = header(name.encode(), b"S", len(data), magic="gnu", put=put)
    while rest or extensions > 0:
        block = b"".join(rest[:21]).ljust(504, b"\0")
        rest, extensions = rest[21:], extensions - 1
        out += (block + (b"\1" if rest or extensions > 0 else b"\0")).ljust(BLOCK, b"\0")
    return out + padded(data)


# ---------------------------------------------------------------------------------------- the corpus

def signed_sum(b):
    return sum(c if c < 128 else c - 256 for c in b)


def corpus():
    f = entry("f", b"hello\n")
    g = entry("g", b"second\n")
    yield "ok-empty", b""
    yield "ok-end-only", END
    yield "ok-one-zero-block", bytes(BLOCK)
    yield "ok-no-end", f
    yield "ok-no-end-no-padding", header(b"f", size=6) + b"hello\n"
    yield "ok-half-padding", header(b"f", size=6) + b"hello\n" + bytes(100)
    yield "ok-one-zero-then-end", f + bytes(BLOCK)
    yield "bad-zero-block-then-header", f + bytes(BLOCK) + g + END
    yield "bad-zero-block-then-part", f + bytes(BLOCK) + bytes(17)
    yield "ok-garbage-after-end", f + END + b"garbage" * 300
    yield "bad-half-header", f + g[:100]
    yield "bad-half-data", f + header(b"g", size=600) + bytes(200)
    yield "bad-checksum", f + header(b"g", checksum=lambda b: sum(b) + 1) + END
    yield "ok-signed-checksum", header(b"f\xe9\xff", checksum=signed_sum) + END
    yield "ok-checksum-spaces", header(b"f", checksum=lambda b: b"  %o\0 " % sum(b)) + END
    yield "bad-checksum-text", header(b"f", checksum=lambda b: b"x%o\0" % sum(b)) + END
    # numbers
    yield "ok-numbers-trimmed", header(b"f", put=[(100, b"  644 \0\0"), (108, b"\0\0 7\0\0\0\0")]) + END
    yield "ok-number-ends-at-nul", header(b"f", put=[(100, b"644\x009 \0\0")]) + END
    yield "ok-number-empty", header(b"f", put=[(100, bytes(8)), (108, b" " * 8), (136, bytes(12))]) + END
    yield "ok-number-full", header(b"f", put=[(100, b"00000644"), (108, b"77777777")]) + END
    yield "bad-number-inner-space", header(b"f", put=[(108, b"1 2\0\0\0\0\0")]) + END
    yield "bad-number-8", header(b"f", put=[(108, b"0000008\0")]) + END
    yield "bad-number-minus", header(b"f", put=[(108, b"-000001\0")]) + END
    yield "bad-number-plus", header(b"f", put=[(108, b"+000001\0")]) + END
    yield "bad-number-size", header(b"f", put=[(124, b"x")]) + END
    yield "bad-number-device-of-file", header(b"f", put=[(329, b"x")]) + END
    yield "ok-number-device-v7", header(b"f", magic="v7", put=[(329, b"x")]) + END
    yield "ok-base256", header(b"f", uid=1 << 40, gid=3000000, mtime=1 << 40, mode=b"\x80\0\0\0\0\0\1\xed") + END
    yield "ok-base256-negative", header(b"f", uid=-1, gid=-2, mtime=-5) + END
    yield "ok-base256-smallest", header(b"f", mtime=b"\xff\xff\xff\xff\x80" + bytes(7)) + END
    yield "bad-base256-64-bits", header(b"f", mtime=b"\x80\0\0\0\x80" + bytes(7)) + END
    yield "bad-base256-65-bits", header(b"f", mtime=b"\x80\0\0\1" + bytes(8)) + END
    yield "bad-base256-negative-size", header(b"f", size=-1) + END
    yield "ok-negative-size-of-symlink", header(b"f", b"2", size=-1, link=b"t") + END
    yield "bad-negative-size-before-pax", pax([("size", 0)]) + header(b"f", size=-1) + END
    # magic, prefix
    yield "ok-prefix", header(b"f", prefix=b"p" * 155) + END
    yield "ok-prefix-100-155", header(b"n" * 100, prefix=b"p" * 154) + END
    yield "ok-prefix-empty-name", header(b"", prefix=b"p") + END
    yield "ok-ustar-odd-version", header(b"f", prefix=b"p", magic=b"ustar\0xy") + END
    yield "ok-gnu-no-prefix", header(b"f", magic="gnu") + END
    yield "ok-gnu-times", header(b"f", magic="gnu", put=[(345, number(TIME + 5, 12)), (357, number(TIME, 12))]) + END
    yield "ok-gnu-old-go-prefix", header(b"f", magic="gnu", prefix=b"some/long/prefix") + END
    yield "ok-gnu-odd-prefix-bytes", header(b"f", magic="gnu", prefix=b"caf\xc3\xa9/y") + END
    yield "ok-star-prefix-131", header(b"f", magic="star", prefix=b"p" * 131,
                                       put=[(476, number(TIME, 12)), (488, number(TIME, 12))]) + END
    yield "bad-star-atime", header(b"f", magic="star", put=[(476, b"z")]) + END
    yield "ok-v7", header(b"f", magic="v7", prefix=b"not read") + END
    yield "ok-other-magic", header(b"f", magic=b"whatever", prefix=b"not read") + END
    # types
    yield "ok-nul-type", header(b"f", b"\0", 2) + padded(b"xy") + END
    yield "ok-nul-type-slash", header(b"f/", b"\0", 512) + END
    yield "ok-file-slash", header(b"f/", b"0", 2) + padded(b"xy") + END
    yield "ok-dir-size", header(b"f/", b"5", 512) + END
    yield "bad-link-with-data", f + header(b"l", b"1", 6, link=b"f") + padded(b"hello\n") + END
    yield "ok-types", b"".join((
        f, hard_link("l", "f"), symlink("s", "f"), header(b"c", b"3", dev=(1, 3)), header(b"b", b"4", dev=(7, 0)),
        directory("d"), header(b"p", b"6"), END))
    # long names
    yield "ok-gnu-long-name", gnu_long(b"L", b"n" * 300) + header(b"short", magic="gnu") + END
    yield "ok-gnu-long-link", gnu_long(b"K", b"t" * 300) + header(b"s", b"2", link=b"x", magic="gnu") + END
    yield "ok-gnu-both", gnu_long(b"L", b"d/" * 80 + b"n") + gnu_long(b"K", b"t" * 300) + header(b"s", b"2") + END
    yield "ok-gnu-long-empty", header(b"././@LongLink", b"L", 0, magic="gnu") + header(b"kept", magic="gnu") + END
    yield "ok-gnu-long-nul-first", header(b"x", b"L", 3, magic="gnu") + padded(b"\0ab") + header(b"kept") + END
    yield "ok-gnu-long-no-nul", header(b"x", b"L", 3, magic="gnu") + padded(b"abc") + header(b"lost") + END
    yield "ok-gnu-twice", gnu_long(b"L", b"first") + gnu_long(b"L", b"second") + header(b"x") + END
    yield "ok-gnu-over-pax", pax([("path", "from-pax")]) + gnu_long(b"L", b"from-gnu") + header(b"x") + END
    yield "ok-long-name-then-end", gnu_long(b"L", b"nobody") + END
    yield "ok-pax-then-end", pax([("path", "nobody")])
    yield "ok-pax-then-half-padding", header(b"x", b"x", 6) + record("a", "b")
    yield "bad-pax-cut", header(b"x", b"x", 600) + record("a", "b")
    # pax
    yield "ok-pax-path", pax([("path", "new/name")]) + header(b"old") + END
    yield "ok-pax-empty-value", pax([("path", ""), ("uid", ""), ("linkpath", "")]) + header(b"kept", uid=7) + END
    yield "ok-pax-last-of-two-wins", pax([("path", "one"), ("path", "two")]) + header(b"x") + END
    yield "ok-pax-last-empty", pax([("path", "one"), ("path", "")]) + header(b"kept") + END
    yield "ok-pax-twice-replaces", pax([("path", "one"), ("uid", 5)]) + pax([("gid", 6)]) + header(b"kept") + END
    yield "ok-pax-x-then-g", pax([("path", "lost")]) + pax([("comment", "c")], b"g") + header(b"kept") + END
    yield "ok-pax-global", pax([("comment", "c"), ("path", "g/name"), ("uid", 5)], b"g") + header(b"f") + END
    yield "ok-pax-global-bad-number", pax([("uid", "x")], b"g") + header(b"f") + END
    yield "bad-pax-global-by-chance", pax([("uid", "x"), ("path", "y")], b"g") + header(b"f") + END
    yield "ok-pax-numbers", pax([("uid", "+5"), ("gid", "-6"), ("size", "007"), ("mtime", "1.5")]) + header(
        b"f", size=3) + padded(b"seven!\n") + END
    yield "bad-pax-size-negative", pax([("size", "-1")]) + header(b"f") + END
    yield "bad-pax-number", pax([("uid", "1e5")]) + header(b"f") + END
    yield "bad-pax-number-space", pax([("uid", " 1")]) + header(b"f") + END
    yield "bad-pax-number-large", pax([("uid", "9223372036854775808")]) + header(b"f") + END
    yield "ok-pax-number-largest", pax([("uid", "9223372036854775807"), ("gid", "-9223372036854775808")]) + header(
        b"f") + END
    yield "ok-pax-times", pax([("mtime", "1600000000.123456789123"), ("atime", "-1.5"), ("ctime", "0.")]) + header(
        b"f") + END
    yield "ok-pax-time-minus-half", pax([("mtime", "-0.5")]) + header(b"f") + END
    yield "bad-pax-time-no-seconds", pax([("mtime", ".5")]) + header(b"f") + END
    yield "bad-pax-time-exponent", pax([("mtime", "1e5")]) + header(b"f") + END
    yield "bad-pax-time-two-dots", pax([("mtime", "1.2.3")]) + header(b"f") + END
    yield "bad-pax-ctime", pax([("ctime", "x")]) + header(b"f") + END
    yield "ok-pax-unknown", pax([("VENDOR.x", b"\0\xff"), ("hdrcharset", "BINARY")]) + header(b"f") + END
    yield "bad-pax-nul-in-key", pax([(b"a\0b", "c")]) + header(b"f") + END
    yield "bad-pax-nul-in-path", pax([("path", b"a\0b")]) + header(b"f") + END
    yield "bad-pax-nul-in-uname", pax([("uname", b"a\0b")]) + header(b"f") + END
    yield "bad-pax-no-equals", pax(b"6 abc\n") + header(b"f") + END
    yield "bad-pax-empty-key", pax(b"5 =c\n") + header(b"f") + END
    yield "bad-pax-too-short", pax(b"4 a=") + header(b"f") + END
    yield "bad-pax-no-newline", pax(b"6 a=bcd") + header(b"f") + END
    yield "bad-pax-long-length", pax(b"90 a=b\n") + header(b"f") + END
    yield "bad-pax-no-space", pax(b"abcdef") + header(b"f") + END
    yield "bad-pax-trailing-nul", pax(record("a", "b") + b"\0\0") + header(b"f") + END
    yield "ok-pax-plus-length", pax(b"+8 a=bc\n") + header(b"f") + END
    yield "ok-pax-zeros-length", pax(b"0000012 a=b\n") + header(b"f") + END
    yield "ok-pax-shortest", pax(b"5 a=\n") + header(b"f") + END
    yield "ok-pax-newline-in-value", pax([("comment", "a\nb")]) + header(b"f") + END
    yield "ok-pax-equals-in-value", pax([("comment", "a=b=c")]) + header(b"f") + END
    yield "ok-pax-xattrs", pax([("SCHILY.xattr.user.b", "2"), ("SCHILY.xattr.user.a", b"\0\xff"),
                                ("SCHILY.xattr.user.b", "3"), ("SCHILY.xattr.user.e", "")]) + header(b"f") + END
    yield "ok-pax-xattr-no-name", pax([("SCHILY.xattr.", "x")]) + header(b"f") + END
    yield "ok-pax-1-mib", pax([("comment", "c" * ((1 << 20) - 20))]) + header(b"f") + END
    yield "bad-pax-above-1-mib", pax([("comment", "c" * (1 << 20))]) + header(b"f") + END
    yield "ok-pax-many-xattrs", pax([("SCHILY.xattr.user.%05d" % (i * 7919 % 5000), "v") for i in range(5000)]) + \
        header(b"f") + END
    # sparse
    chunks = [(0, b"a" * 512), (4096, b"b" * 512)]
    odd = [(3, b"abc"), (100, b""), (700, b"de")]
    yield "ok-sparse-0.0", sparse_0_0("s", chunks, 8192) + g + END
    yield "ok-sparse-0.1", sparse_0_1("s", chunks, 8192) + g + END
    yield "ok-sparse-1.0", sparse_1_0("s", chunks, 8192) + g + END
    yield "ok-sparse-1.0-odd", sparse_1_0("s", odd, 1000) + g + END
    yield "ok-sparse-0.1-odd", sparse_0_1("s", odd, 702) + g + END
    yield "ok-sparse-hole-only", sparse_1_0("s", [(8192, b"")], 8192) + g + END
    yield "ok-sparse-empty-map", sparse_1_0("s", [], 8192) + g + END
    yield "ok-sparse-empty-file", sparse_1_0("s", [], 0) + g + END
    yield "ok-sparse-0.0-empty-map", entry("s", b"", records=[("GNU.sparse.major", 0), ("GNU.sparse.minor", 0),
                                                              ("GNU.sparse.numblocks", 0),
                                                              ("GNU.sparse.size", 4096)]) + g + END
    yield "ok-sparse-many", sparse_1_0("s", [(i * 1024, b"x" * (i % 3)) for i in range(300)], 400000) + g + END
    yield "ok-sparse-unknown-version", sparse_1_0("s", chunks, 8192, version=(2, 0)) + g + END
    yield "ok-sparse-skipped", sparse_1_0("g", chunks, 8192, kind=b"7") + g + END
    yield "bad-sparse-left-over", sparse_1_0("s", chunks, 8192, more=b"more") + g + END
    yield "bad-sparse-0.1-left-over", entry("s", b"abcdef", records=[
        ("GNU.sparse.size", 10), ("GNU.sparse.numblocks", 1), ("GNU.sparse.map", "0,3")]) + END
    yield "bad-sparse-data-missing", entry("s", b"abc", records=[
        ("GNU.sparse.size", 10), ("GNU.sparse.numblocks", 1), ("GNU.sparse.map", "0,6")]) + END
    yield "bad-sparse-overlap", sparse_1_0("s", [(0, b"aaaa"), (2, b"bbbb")], 100) + END
    yield "bad-sparse-order", sparse_1_0("s", [(50, b"aaaa"), (2, b"bbbb")], 100) + END
    yield "bad-sparse-past-end", sparse_1_0("s", [(98, b"aaaa")], 100) + END
    yield "bad-sparse-negative", sparse_1_0("s", [], 100, text="1\n-1\n0\n") + END
    yield "bad-sparse-overflow", sparse_1_0("s", [], 100, text="1\n9223372036854775807\n5\n") + END
    yield "bad-sparse-count-large", sparse_1_0("s", [], 100, text="4611686018427387904\n") + END
    yield "bad-sparse-count-negative", sparse_1_0("s", [], 100, text="-1\n") + END
    yield "bad-sparse-count-text", sparse_1_0("s", [], 100, text="x\n") + END
    yield "bad-sparse-map-cut", sparse_1_0("s", [], 100, text="5\n0\n") + END
    yield "bad-sparse-map-above-1-mib", sparse_1_0("s", [], 100, text="1000000\n" + "0\n0\n" * 300000) + END
    yield "bad-sparse-1.0-no-data", entry("s", b"", records=[("GNU.sparse.major", 1), ("GNU.sparse.minor", 0)]) + END
    yield "bad-sparse-size-text", sparse_1_0("s", [], "x") + END
    yield "bad-sparse-symlink", entry("s", kind=b"2", link="t", records=[
        ("GNU.sparse.numblocks", 0), ("GNU.sparse.major", 0), ("GNU.sparse.minor", 1)]) + END
    yield "bad-sparse-0.0-order", entry("s", b"", records=[("GNU.sparse.numbytes", 1), ("GNU.sparse.offset", 1)]) + END
    yield "bad-sparse-0.0-comma", entry("s", b"", records=[("GNU.sparse.offset", "1,2")]) + END
    yield "bad-sparse-0.1-count", entry("s", b"", records=[("GNU.sparse.numblocks", 2), ("GNU.sparse.map", "0,0")]) + END
    yield "bad-sparse-0.1-no-count", entry("s", b"", records=[("GNU.sparse.map", "0,0")]) + END
    yield "ok-sparse-0.1-by-map", entry("s", b"ab", records=[("GNU.sparse.map", "1,2"), ("GNU.sparse.numblocks", 1),
                                                             ("GNU.sparse.size", 5)]) + END
    yield "ok-old-sparse", old_gnu_sparse("s", chunks, 8192) + g + END
    yield "ok-old-sparse-extended", old_gnu_sparse("s", [(i * 1024, b"x" * 3) for i in range(60)], 100000) + g + END
    yield "ok-old-sparse-empty-extension", old_gnu_sparse("s", chunks, 8192, extensions=2) + g + END
    yield "bad-old-sparse-ustar", header(b"s", b"S") + END
    yield "bad-old-sparse-cut", old_gnu_sparse("s", chunks, 8192, extensions=2)[:700]
    yield "bad-old-sparse-overlap", old_gnu_sparse("s", [(0, b"abc"), (1, b"def")], 100) + END
    # names
    yield "ok-name-full", header(b"n" * 100, link=b"l" * 100) + END
    yield "ok-name-bytes", header(b"latin\xe9\xff") + END
    yield "ok-name-empty", header(b"") + END
    # what a person would try
    yield "ok-deep", entry("d/" * 2000 + "f", b"x") + END
    yield "ok-many-components", entry("./" * 500000 + "f", b"x") + END
    yield "bad-huge-size", header(b"f", size=(1 << 63) - 1) + b"x" * 512
    yield "bad-text", b"this is no archive at all, just some text that goes on for a while.\n" * 20
    yield "bad-gzip", b"\x1f\x8b\x08\0\0\0\0\0" + b"x" * 1000


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, data in corpus():
        with open(os.path.join(sys.argv[1], name + ".tar"), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
