# SPDX-License-Identifier: MIT
"""Layers whose meaning is a matter of containerd's rules, and random ones."""

import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "corpus"))
from make_tar import (END, TIME, corpus, directory, entry, gnu_long, hard_link, header, padded, pax,  # noqa: E402
                      old_gnu_sparse, sparse_0_0, sparse_0_1, sparse_1_0, symlink)

CAPABILITY = struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0)
OTHER_CAPABILITY = struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0)


def acl(*entries):
    """entries: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i & 0xffffffff) for t, p, i in entries)


ACL_MASK = acl((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1))
ACL_MINIMAL = acl((1, 6, -1), (4, 4, -1), (32, 0, -1))
ACL_DEFAULT = acl((1, 7, -1), (2, 5, 1000), (4, 5, -1), (16, 5, -1), (32, 1, -1))


class Vector:
    """fails: containerd must refuse it (True), must not (False), or either (None).
    modes: base, direct or both. base: what lies beneath in direct mode, one layer or a list from the bottom up."""

    def __init__(self, name, data, modes="both", fails=False, base=None):
        self.name, self.data, self.modes, self.fails, self.base = name, data, modes, fails, base


def end(*members):
    return b"".join(members) + END


# What lies beneath a layer in direct mode.
BASE = end(
    directory("d", mode=0o2750, uid=5, gid=6, mtime=TIME - 1000, xattrs=[("user.k", "v"), ("trusted.t", "no")]),
    entry("d/f", b"lower\n"), directory("d/sub", mode=0o700, uid=9, mtime=TIME - 2000), entry("d/sub/g", b"g\n"),
    directory("usr/bin"), symlink("bin", "usr/bin"), entry("usr/bin/x", b"#!/bin/sh\n", mode=0o755),
    entry("lowfile", b"low\n"), directory("acl", xattrs=[("system.posix_acl_default", ACL_DEFAULT)]),
    directory("acl/below"), directory("sticky", mode=0o1777), symlink("to-sticky", "sticky"), directory("etc"),
    entry("etc/passwd", b"root\n"), directory("deep/er/est", mode=0o711, uid=3))


def paths():
    f = entry
    yield Vector("path-root-entry", end(directory("./", mode=0o700, uid=7, gid=8, mtime=TIME + 5), f("a", b"1")))
    yield Vector("path-absolute", end(f("/abs", b"1"), f("/d2/abs", b"2")))
    yield Vector("path-escape", end(f("../../esc", b"1"), f("../x/../../y/z", b"2")))
    yield Vector("path-lexical", end(directory("x"), f("./x/../y", b"1"), f("x//./z//", b"2"), f("nox/../w", b"3")))
    yield Vector("path-prefix", header(b"f", prefix=b"p" * 154) + header(b"n" * 99, size=1, prefix=b"d/" * 70) + padded(
        b"x") + END)
    yield Vector("path-gnu-long", gnu_long(b"L", b"l" * 200 + b"/" + b"m" * 200) + header(b"short", magic="gnu") +
                 gnu_long(b"L", b"sym") + gnu_long(b"K", b"t" * 500) + header(b"s", b"2", magic="gnu") + END)
    yield Vector("path-pax", end(f("n/" * 150 + "end", b"x")))
    yield Vector("path-bytes", end(f(b"latin\xe9", b"1"), f(b"\xff\xfe/\x01\x7f", b"2"), f("nl\nnl", b"3"), f(" ", b"4")))
    yield Vector("path-empty-name", end(f("", b"1"), f("a", b"2")))
    yield Vector("path-dots", end(f(".", b"1"), f("..", b"2"), directory("../.."), f("a/..", b"3"), symlink("/", "x"),
                                  f("...", b"4"), f("..a", b"5")))
    yield Vector("path-dot-types", end(header(b".", b"7"), header(b"./", b"S", magic="gnu"), f("a")))
    real = directory("real", mtime=TIME - 5)
    yield Vector("parent-relative", end(real, symlink("r", "real"), f("r/f", b"1"), directory("r/d/e"), f("r/d/e/g")))
    yield Vector("parent-absolute", end(real, symlink("r", "/real"), f("r/f", b"1")))
    yield Vector("parent-escaping", end(symlink("esc", "../../../etc"), f("esc/f", b"1")))
    yield Vector("parent-dangling", end(symlink("dang", "nonexist"), f("dang/f", b"1"), f("dang/g/h", b"2")))
    # links between directories that are deeper than descriptors are kept open, and a file of the link's name in its place
    one, two = "/".join(["p"] + ["a%d" % i for i in range(18)]), "/".join(["q"] + ["b%d" % i for i in range(18)])
    yield Vector("links-deep", end(f(one + "/x", b"deep"), f(two + "/x-own", b"own"), hard_link(two + "/x", one + "/x"),
                                   hard_link(two + "/y", one + "/x"), f(one + "/y", b"another")))
    yield Vector("parent-looping", end(symlink("a", "b"), symlink("b", "a"), f("a/f", b"1")), fails=True)
    yield Vector("parent-self", end(symlink("a", "a"), f("a/f", b"1")), fails=True)
    yield Vector("parent-lexical", end(directory("x"), directory("deep/dir"), symlink("x/q", "../deep/dir"),
                                       symlink("x/p", "q/../r"), f("x/p/f", b"1")))
    yield Vector("parent-kernel-first", end(directory("deep/dir"), symlink("q", "deep/dir"), symlink("p", "q/../r"),
                                            f("p/f", b"1")))
    yield Vector("parent-kernel-absolute", end(directory("deep/dir"), symlink("q", "deep/dir"), directory("x"),
                                               symlink("x/p", "/q/../r"), f("x/p/f", b"1")))
    yield Vector("parent-through-links", end(directory("var"), symlink("var/run", "/run-here"), directory("x"),
                                             symlink("x/q", "../var/run"), f("x/q/foo", b"1"), f("x/q/a/b", b"2")))
    yield Vector("parent-through-inner-link", end(
        directory("a/b/c"), directory("z"), symlink("a/l", "b"), symlink("z/q", "../a/l/c"), f("z/q/f", b"1"),
        symlink("a/b/c/up", "../../l"), f("z/q/up/f2", b"2")))
    yield Vector("parent-through-inner-link-up", end(
        directory("a/b/c"), directory("z"), symlink("a/l", "b/../../a/b"), symlink("z/q", "../a/l/c/k"),
        symlink("a/b/c/k", "m"), f("z/q/f", b"1")))
    yield Vector("parent-trailing-slash", end(symlink("l", "t/"), symlink("m", "./t/./u//"), f("l/f", b"1"), f("m/f", b"2")))
    yield Vector("parent-dot-dot-target", end(directory("a/b"), symlink("a/b/up", ".."), f("a/b/up/f", b"1"),
                                              symlink("a/b/top", "../../.."), f("a/b/top/g", b"2")))
    yield Vector("parent-replaced-later", end(directory("t"), symlink("l", "t"), f("l/one", b"1"), directory("l"),
                                              f("l/two", b"2")))
    yield Vector("parent-is-file", end(f("a", b"1"), f("a/b", b"2")), fails=True)
    yield Vector("parent-is-file-deep", end(f("a", b"1"), f("a/b/c", b"2")), fails=True)
    yield Vector("parent-link-to-file", end(f("a", b"1"), symlink("l", "a"), f("l/b", b"2")), fails=True)
    for n, fails in ((255, False), (256, True)):
        yield Vector("parent-%d-links" % n, end(
            *[symlink("l%d" % i, "l%d" % (i + 1)) for i in range(n - 1)], symlink("l%d" % (n - 1), "dir"), f("l0/f", b"1")),
            fails=fails)
    yield Vector("path-long", end(f("/".join(["c" * 200] * 18), b"1")))
    yield Vector("path-4096", end(f("/".join(["c" * 255] * 16), b"1")), fails=True)
    yield Vector("name-255", end(f("n" * 255, b"1"), directory("m" * 255)))
    yield Vector("name-256", end(f("n" * 256, b"1")), fails=True)
    yield Vector("name-256-as-parent", end(f("n" * 256 + "/f", b"1")), fails=True)
    yield Vector("path-over-lower-link", end(f("bin/y", b"1"), f("to-sticky/z", b"2")))


def order():
    f = entry
    yield Vector("order-file-twice", end(f("a", b"first", mode=0o600), f("a", b"second!", mode=0o755, uid=4)))
    yield Vector("order-file-twice-linked", end(f("a", b"first"), hard_link("b", "a"), f("a", b"second!"),
                                                hard_link("c", "b"), hard_link("d2", "a")))
    yield Vector("order-file-over-dir", end(directory("a"), f("a/x", b"1"), f("a", b"2"), f("b", b"3")))
    yield Vector("order-dir-over-file", end(f("a", b"1"), directory("a"), f("a/x", b"2")))
    yield Vector("order-dir-over-symlink", end(directory("t"), symlink("a", "t"), directory("a", mtime=TIME + 7), f("a/x")))
    yield Vector("order-symlink-over-dir", end(
        directory("t", mtime=TIME - 9), directory("a", mtime=TIME - 8), f("a/x"), symlink("a", "t"), f("a/y", b"2")))
    yield Vector("order-symlink-over-dir-chain", end(
        directory("a", mtime=TIME - 8), f("t2", b"file"), symlink("m", "t2"), symlink("a", "m", mtime=TIME - 7)))
    yield Vector("order-dir-by-link-name", end(directory("t", mtime=TIME - 9), symlink("a", "t"),
                                               directory("a/in", mtime=TIME - 3), f("a/in/f")))
    yield Vector("order-dir-becomes-file", end(directory("a", mtime=TIME - 100), f("a", b"1", mtime=TIME)))
    yield Vector("order-dir-becomes-root-link", end(directory("a", mtime=TIME - 100), symlink("a", "/")))
    yield Vector("order-children-first", end(f("a/b/c", b"1"), directory("a/b", mode=0o700, mtime=TIME - 3),
                                             directory("a", mode=0o711, uid=3, mtime=TIME - 4)))
    yield Vector("order-dir-twice", end(directory("a", mode=0o700, xattrs=[("user.a", "1")]),
                                        directory("a", mode=0o750, uid=2, mtime=TIME + 9, xattrs=[("user.b", "2")])))
    yield Vector("order-implicit-then-explicit", end(f("d/new", b"1"), directory("d", mode=0o755, mtime=TIME - 1)))
    yield Vector("order-explicit-then-implicit", end(directory("d", mode=0o755, mtime=TIME - 1), f("d/new", b"1")))
    yield Vector("order-implicit-many", end(f("d/sub/new", b"1"), f("acl/below/new", b"2"), f("sticky/new", b"3"),
                                            f("deep/er/est/new", b"4"), f("none/at/all", b"5")))
    yield Vector("order-implicit-through-lower-link", end(f("to-sticky/new", b"1"), f("bin/y", b"2")))
    yield Vector("order-dir-removed-later", end(directory("a"), f("a/.wh.x"), f(".wh.a")), modes="base", fails=True)
    yield Vector("order-symlink-twice", end(symlink("a", "one"), symlink("a", "two")))
    yield Vector("order-symlink-then-file", end(symlink("a", "/etc/passwd"), f("a", b"mine")))


def whiteouts():
    f = entry
    yield Vector("wh-base-earlier-file", end(f("a", b"1"), f("b", b"2"), f(".wh.a"), directory("e"), f("e/x"), f("e/.wh.x")),
                 modes="base")
    yield Vector("wh-base-nothing", end(f(".wh.none"), f("no/such/.wh.f")), modes="base")
    yield Vector("wh-base-tree", end(directory("keep"), f("a/b/c"), f(".wh.a"), f("a/d")), modes="base")
    yield Vector("wh-base-opaque", end(
        directory("o"), f("o/unpacked", b"1"), f("o/imp/in", b"2"), f("o/.wh..wh..opq"), f("o/after", b"3")), modes="base")
    yield Vector("wh-base-opaque-explicit-inside", end(
        directory("o"), directory("o/e"), f("o/e/x"), f("o/i/x"), directory("o/i/e"), f("o/.wh..wh..opq")), modes="base",
        fails=None)
    yield Vector("wh-base-opaque-remembers", end(
        f("o/a/x"), directory("o/a"), f("o/.wh.a"), f("o/a/y"), f("o/.wh..wh..opq"), directory("o/a")), modes="base",
        fails=None)
    yield Vector("wh-base-opaque-remembers-g", end(
        pax([("comment", "c")], b"g", name=b"o/a"), f("o/a/y"), f("o/b/y"), f("o/.wh..wh..opq")), modes="base")
    yield Vector("wh-base-opaque-root", end(f("x/y/z"), f("q"), f(".wh..wh..opq"), f("r")), modes="base")
    yield Vector("wh-base-linked", end(f("a", b"1"), hard_link("b", "a"), f(".wh.a"), hard_link("c", "b")), modes="base")
    yield Vector("wh-base-symlink", end(directory("t"), f("t/x"), symlink("l", "t"), f(".wh.l"), f("t/y")), modes="base")
    yield Vector("wh-plain", end(f("d/.wh.f"), f(".wh.lowfile")), modes="direct")
    yield Vector("wh-owner", end(f("d/.wh.f", uid=12, gid=13, mode=0o777, mtime=TIME - 50)), modes="direct")
    yield Vector("wh-missing-parents", end(f("no/such/.wh.f")), modes="direct")
    yield Vector("wh-then-file", end(f(".wh.lowfile"), f("lowfile", b"new")), modes="direct")
    yield Vector("wh-then-dir", end(f(".wh.d"), directory("d"), f("d/new", b"1")), modes="direct")
    yield Vector("wh-dir-typed", end(directory("d/.wh.f"), f("etc/x")))
    yield Vector("wh-symlink-typed", end(symlink("d/.wh.f", "target"), symlink(".wh..wh..opq", "x")))
    yield Vector("wh-every-type", end(header(b"d/.wh.a", b"7", 0), header(b"d/.wh.b", b"D"), header(b"d/.wh.c", b"1"),
                                      header(b"d/.wh.e", b"3", dev=(1, 3)), old_gnu_sparse("d/.wh.s", [(0, b"x")], 100)))
    yield Vector("wh-opaque", end(directory("d", mode=0o755), f("d/.wh..wh..opq"), f("d/new", b"1")), modes="direct")
    yield Vector("wh-opaque-root", end(f(".wh..wh..opq"), f("only", b"1")), modes="direct")
    yield Vector("wh-opaque-implicit", end(f("d/.wh..wh..opq"), f("new/dir/.wh..wh..opq")), modes="direct")
    yield Vector("wh-opaque-late", end(f("d/new", b"1"), f("d/.wh..wh..opq"), directory("d", mode=0o711)), modes="direct")
    yield Vector("wh-opaque-replaced", end(directory("d"), f("d/.wh..wh..opq"), f("d", b"file"), directory("d")),
                 modes="direct")
    yield Vector("wh-aufs", end(f(".wh..wh.plnk"), f(".wh..wh.aufs"), f("d/.wh..wh.orph")), modes="direct")
    yield Vector("wh-aufs-inside", end(directory(".wh..wh.plnk/sub"), f(".wh..wh.plnk/12.34", b"x")))
    yield Vector("wh-as-parent", end(f("a/.wh.b/inside", b"1"), f("a/.wh.c")))
    yield Vector("wh-global", end(pax([("comment", "c")], b"g", name=b"d/.wh.f"),
                                  pax([("path", "etc/.wh.passwd")], b"g")))
    yield Vector("wh-linked", end(f("d/.wh.f"), hard_link("other", "d/f", mode=0o640, uid=3), f("x")), modes="direct")
    yield Vector("wh-name-255", end(f(".wh." + "n" * 255), f("d/.wh." + "m" * 252)), modes="direct")
    yield Vector("wh-name-256", end(f(".wh." + "n" * 256)), modes="direct", fails=True)
    yield Vector("wh-twice", end(f(".wh.x"), f(".wh.x")), modes="direct", fails=True)
    yield Vector("wh-after-file", end(f("x", b"1"), f(".wh.x")), modes="direct", fails=True)
    yield Vector("wh-after-dir", end(directory("x"), f(".wh.x")), modes="direct", fails=True)
    for name in (".wh.", ".wh..", ".wh..."):
        yield Vector("wh-invalid-%d" % len(name), end(f("d/" + name)), fails=True)
    yield Vector("wh-below", end(f(".wh.d"), f("d/new", b"1")), modes="direct", fails=True)
    yield Vector("wh-below-base", end(f(".wh.d"), f("d/new", b"1")), modes="base")
    yield Vector("wh-many", end(*[f("d/.wh.n%d" % i, uid=i) for i in range(50)]), modes="direct")


def links():
    f = entry
    yield Vector("link-file", end(f("a", b"one"), hard_link("b", "a"), hard_link("z/c", "b")))
    yield Vector("link-symlink", end(symlink("s", "nowhere"), hard_link("t", "s", uid=4), hard_link("u", "t")))
    yield Vector("link-absolute", end(f("x/a", b"one"), hard_link("b", "/x/a"), hard_link("c", "./x//a")))
    yield Vector("link-through-link", end(directory("real"), f("real/a", b"1"), symlink("l", "real"), hard_link("b", "l/a")))
    yield Vector("link-dot-dot", end(f("a", b"1"), directory("x"), hard_link("b", "x/../a"), hard_link("c", "../../a")))
    yield Vector("link-trailing-slash", end(f("a", b"1"), symlink("l", "a"), hard_link("b", "a/"), hard_link("c", "l/")))
    yield Vector("link-device", end(header(b"dev", b"3", dev=(1, 3)), hard_link("dev2", "dev", mode=0o600),
                                    header(b"p", b"6"), hard_link("p2", "p", uid=9)))
    for name, target in (("forward", "later"), ("missing", "none"), ("empty", ""), ("to-dot-dot", ".."), ("to-dot", "."),
                         ("lower", "lowfile"), ("dir", "e"), ("dir-slash", "e/"), ("below-file", "a/x"),
                         ("self", "b"), ("up-from-missing", "none/../a/..")):
        yield Vector("link-" + name, end(f("a", b"1"), directory("e"), hard_link("b", target), f("later", b"2")), fails=True)
    yield Vector("link-over-target-tree", end(f("x/a", b"1"), hard_link("x", "x/a")), fails=True)
    yield Vector("link-self-replaces", end(f("b", b"1"), hard_link("b", "b")), fails=True)
    yield Vector("link-declared-size", header(b"a", size=1) + padded(b"x") + header(b"b", b"1", 77, link=b"a") + END)
    yield Vector("link-metadata", end(f("a", b"1", mode=0o600, uid=1, mtime=TIME - 9, xattrs=[("user.a", "1")]),
                                      hard_link("b", "a", mode=0o4755, uid=2, gid=3, mtime=TIME + 9,
                                                xattrs=[("user.b", "2"), ("user.a", "3")])))
    yield Vector("link-capability-lost", end(f("a", b"1", mode=0o755, xattrs=[("security.capability", CAPABILITY)]),
                                             hard_link("b", "a", mode=0o755)))
    yield Vector("link-capability-lost-by-replaced", end(
        f("a", b"1", mode=0o755, xattrs=[("security.capability", CAPABILITY), ("user.a", "1")]),
        hard_link("b", "a", mode=0o640, uid=3, xattrs=[("user.a", "2")]), f("b", b"2")))
    yield Vector("link-capability-lost-by-removed", end(
        f("a", b"1", mode=0o755, xattrs=[("security.capability", CAPABILITY)]), hard_link("b", "a", mode=0o640), f(".wh.b")),
        modes="base")
    yield Vector("link-capability-kept", end(
        f("a", b"1", mode=0o755, xattrs=[("security.capability", CAPABILITY)]),
        hard_link("b", "a", mode=0o755, xattrs=[("security.capability", OTHER_CAPABILITY)])))
    yield Vector("link-owner-kept", end(f("a", b"1", uid=5, gid=6),
                                        hard_link("b", "a", records=[("uid", -1), ("gid", 4294967295)])))
    yield Vector("link-to-replaced", end(f("a", b"1"), hard_link("b", "a"), directory("a"), f("a/x"), hard_link("c", "b")))
    yield Vector("link-many", end(f("a", b"x" * 5000), *[hard_link("l%d" % i, "a") for i in range(100)]))


def types():
    f = entry
    for name, dev in (("0-0", (0, 0)), ("1-3", (1, 3)), ("4097-3", (4097, 3)), ("minus", (-1, -1)),
                      ("259-1048575", (259, 1048575)), ("5-2m", (5, 2 << 20))):
        yield Vector("dev-char-" + name, end(header(b"c", b"3", mode=0o620, dev=dev, uid=1)), fails=None)
        yield Vector("dev-block-" + name, end(header(b"b", b"4", mode=0o1660, dev=dev)), fails=None)
    yield Vector("dev-v7", end(header(b"c", b"3", magic="v7", put=[(329, b"0000001\0")])))
    yield Vector("fifo", end(header(b"p", b"6", mode=0o7644, uid=2, gid=3)))
    for kind in "7SVDMNAZ9":
        yield Vector("type-" + kind, end(f("a"), header(b"t", kind.encode(), 0, magic="gnu")), fails=True)
    g = [("comment", "c")]
    yield Vector("global-first", end(pax(g, b"g", name=b"pax_global_header"), f("a", b"1")))
    yield Vector("global-existing", end(f("a", b"1"), f("b", b"2"), pax(g, b"g", name=b"a")))
    yield Vector("global-existing-dir", end(directory("e"), f("e/x"), pax(g, b"g", name=b"e"), f("e/y")))
    yield Vector("global-parents", end(pax(g, b"g", name=b"GlobalHead.0.0/deep/x"), f("a")))
    yield Vector("global-dir-name", end(pax(g, b"g", name=b"some/dir/"), f("a")))
    yield Vector("global-through-link", end(directory("t"), f("t/x"), symlink("l", "t"), pax(g, b"g", name=b"l/x")))
    yield Vector("nul-slash", header(b"x/", b"\0", 512) + END)
    yield Vector("nul-file", header(b"x", b"\0", 2) + padded(b"xy") + END)
    yield Vector("file-slash", header(b"x/", b"0", 2) + padded(b"xy") + END)
    yield Vector("dir-size", header(b"x/", b"5", 77) + END)
    yield Vector("symlink-odd", end(symlink("a", "."), symlink("b", "x" * 1000), symlink("c", b"\xff\x01"), symlink("e", "/")))
    yield Vector("symlink-empty", end(symlink("a", "")), fails=True)
    yield Vector("symlink-long", end(symlink("a", "t/" * 2040)), fails=None)  # XFS keeps 1024 bytes
    yield Vector("symlink-too-long", end(symlink("a", "t" * 4096)), fails=True)


def metadata():
    f = entry
    yield Vector("mode-special", end(f("a", mode=0o6755, uid=1), f("b", mode=0o1644), directory("c", mode=0o7777), f("e", mode=0),
                                     directory("f2", mode=0)))
    yield Vector("mode-setgid-dir", end(directory("s", mode=0o2775, gid=50), f("s/file", b"1"), f("s/imp/file", b"2"),
                                        directory("s/exp")))
    yield Vector("mode-setgid-dir-leave-group", end(
        directory("s", mode=0o2775, gid=50), f("s/file", b"1", records=[("gid", -1), ("uid", 4294967295)]),
        directory("s/exp", records=[("gid", -1)]), f("s/.wh.w", records=[("gid", -1)])))
    yield Vector("mode-type-bits", end(f("a", mode=0o100644), directory("b", mode=0o40755), f("c", mode=0o120777)))
    yield Vector("mode-base256", end(f("a", mode=-1)))
    for i, uid in enumerate((3000000, 4294967294, -1, 4294967295, -2, (1 << 32) + 5, (1 << 63) - 1)):
        yield Vector("uid-%d" % i, end(f("a", uid=uid, gid=uid), directory("b", records=[("uid", uid), ("gid", uid)]),
                                       symlink("c", "t", records=[("gid", uid)])), fails=None)
    for i, t in enumerate(("-5", "-1.5", "-0.5", "0", "1.123456789123", "9200000000.123456789123", "10413792000",
                           "9223372036.854775807", "9223372036.854775808", "9223372036", "99999999999999")):
        yield Vector("mtime-%d" % i, end(f("a", records=[("mtime", t)]), directory("b", records=[("mtime", t)]),
                                         symlink("c", "t", records=[("mtime", t)]), header(b"p", b"6")))
    yield Vector("atime", end(f("a", records=[("atime", TIME - 10)]), f("b", records=[("atime", TIME + 10)]),
                              directory("c", records=[("atime", "99999999999")])))
    yield Vector("xattr-kinds", end(
        f("a", b"1", xattrs=[("user.a", "1"), ("user.empty", ""), ("user.nul", b"a\0b\0"), ("security.x", "s"),
                             ("trusted.t", "t"), ("user.overlay.opaque", "y"), ("trusted.overlay.opaque", "y")]),
        directory("b", xattrs=[("user.b", b"\xff\0\xfe"), ("security.x", "s"), ("trusted.overlay.opaque", "y"),
                               ("user.overlay.opaque", "y"), ("user.overlay.origin", "z")])))
    yield Vector("xattr-symlink", end(symlink("s", "t", xattrs=[("user.a", "1"), ("security.x", "s"), ("trusted.t", "t")])))
    yield Vector("xattr-device", end(entry("p", kind=b"6", xattrs=[("user.a", "1"), ("security.x", "s")])))
    yield Vector("xattr-unknown-namespace", end(f("a", xattrs=[("foo.bar", "1"), ("nodot", "2"), ("system.foo", "3")])),
                 fails=None)
    yield Vector("xattr-large", end(f("a", xattrs=[("user.big", "x" * 2000)])))
    yield Vector("xattr-too-large", end(f("a", xattrs=[("user.big", "x" * 70000)])), fails=True)
    yield Vector("xattr-name-too-long", end(f("a", xattrs=[("user." + "n" * 260, "x")])), fails=True)
    yield Vector("xattr-no-name", end(f("a", xattrs=[("", "x")])), fails=True)
    yield Vector("xattr-other-schemes", end(f("a", records=[("LIBARCHIVE.xattr.user.a", "MQ"), ("SCHILY.acl.access", "u::rw-"),
                                                            ("RHT.security.selinux", "x"), ("SCHILY.fflags", "nodump")])))
    yield Vector("capability", end(f("a", b"1", mode=0o755, xattrs=[("security.capability", CAPABILITY)]),
                                   f("b", b"1", mode=0o4755, uid=3, xattrs=[("security.capability", CAPABILITY)])))
    yield Vector("capability-invalid", end(f("a", xattrs=[("security.capability", "short")])), fails=True)
    yield Vector("acl-mask", end(f("a", mode=0o640, xattrs=[("system.posix_acl_access", ACL_MASK)]),
                                 f("b", mode=0o777, xattrs=[("system.posix_acl_access", ACL_MASK)])))
    yield Vector("acl-minimal", end(f("a", mode=0o640, xattrs=[("system.posix_acl_access", ACL_MINIMAL)])))
    yield Vector("acl-default", end(
        directory("e", xattrs=[("system.posix_acl_default", ACL_DEFAULT)]), f("e/file", b"1", mode=0o640),
        directory("e/dir"), f("e/imp/file"), symlink("e/s", "t"), header(b"e/p", b"6"), f("e/dir/x"), f("e/.wh.w"),
        hard_link("e/l", "e/file"), directory("plain"), hard_link("plain/l", "e/file", mode=0o666)))
    yield Vector("acl-default-late", end(f("e/file", b"1"), directory("e", xattrs=[("system.posix_acl_default", ACL_DEFAULT)]),
                                         f("e/file2", b"2")))
    yield Vector("acl-default-from-below", end(f("acl/new", b"1"), f("acl/below/new", b"2")), modes="direct")


def sparse():
    chunks = [(0, b"a" * 512), (40960, b"b" * 700)]
    for name, make in (("0.0", sparse_0_0), ("0.1", sparse_0_1), ("1.0", sparse_1_0)):
        yield Vector("sparse-" + name, make("s", chunks, 100000) + entry("g", b"next") + END)
        yield Vector("sparse-%s-only-hole" % name, make("s", [(8192, b"")], 8192) + END)
    yield Vector("sparse-empty-map", sparse_1_0("s", [], 8192) + END)
    yield Vector("sparse-in-dir", sparse_1_0("e/s", chunks, 100000, mode=0o600, uid=3) + END)
    yield Vector("sparse-left-over", sparse_1_0("s", chunks, 100000, more=b"x") + END, fails=True)
    yield Vector("sparse-left-over-skipped", sparse_1_0(".", chunks, 100000, more=b"x") + END)
    yield Vector("sparse-unknown-version", sparse_1_0("s", chunks, 100000, version=(7, 7)) + END)


def sizes():
    noise = random.Random(1)
    for n in (1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 3 << 20):
        yield Vector("size-%d" % n, end(entry("f", noise.randbytes(n), mtime=TIME + n)))
    yield Vector("size-zeros", end(entry("f", bytes(300000))))


def streams():
    for name, data in corpus():
        if len(data) < 1 << 20:
            yield Vector("corpus-" + name, data, modes="base", fails=None)


# What a directory made on the way takes from which of the layers beneath.
def stacks():
    bottom = end(
        directory("one", mode=0o700, uid=1, xattrs=[("user.from", "bottom")]), entry("one/x"),
        directory("two", mode=0o700, uid=1, xattrs=[("user.from", "bottom")]), entry("two/x"),
        directory("gone", mode=0o700, uid=1), entry("gone/x"), directory("covered", mode=0o700, uid=1), entry("covered/x"),
        directory("real", mode=0o750, uid=4), directory("real/in", mode=0o705, uid=5), entry("real/in/x"),
        directory("hidden/in", mode=0o701, uid=6))
    middle = end(
        directory("two", mode=0o711, uid=2, xattrs=[("user.from", "middle")]), entry("two/.wh..wh..opq"), entry(".wh.gone"),
        entry("covered", b"a file"), symlink("link", "real"), symlink("abs", "/real/in"), directory("hidden"),
        entry("hidden/.wh..wh..opq"))
    for name, member in (
            ("topmost", entry("two/new")), ("below", entry("one/new")), ("whiteout-stops", entry("gone/new")),
            ("file-stops", entry("covered/new")), ("through-link", entry("link/new")), ("through-absolute-link", entry("abs/new")),
            ("link-then-dir", entry("link/in/new")), ("opaque-does-not-stop", entry("hidden/in/new")),
            ("whiteout-only", entry("two/.wh.x")), ("all", b"".join(
                entry(n + "/new", n.encode()) for n in ("two", "one", "gone", "covered", "link/in", "abs", "hidden/in")))):
        yield Vector("stack-" + name, end(member), modes="direct", base=[bottom, middle])


# Two layers that hide, replace and link, as images do.
def realistic():
    base = end(
        directory("bin"), entry("bin/sh", b"\x7fELF" + b"s" * 9000, mode=0o755), hard_link("bin/ash", "bin/sh", mode=0o755),
        directory("etc"), entry("etc/passwd", b"root:x:0:0\n"), symlink("lib", "usr/lib"), directory("usr/lib"),
        entry("usr/lib/libc.so", b"c" * 70000), directory("var/cache", mode=0o700), entry("var/cache/a"), entry("var/cache/b"))
    upper = end(
        directory("etc", mtime=TIME + 3), entry("etc/passwd", b"root:x:0:0\nuser:x:1:1\n"), entry("etc/.wh.hosts"),
        directory("var"), directory("var/cache", mode=0o755), entry("var/cache/.wh..wh..opq"), entry("var/cache/c", b"c"),
        entry("bin/.wh.ash"), directory("srv"), entry("srv/data", b"d" * 200000), hard_link("srv/data2", "srv/data"))
    yield Vector("image-base", base, modes="base")
    yield Vector("image-upper", upper, modes="direct", base=base)


def shuffled(seed):
    """A layer of entries drawn at random, over few names, so that they meet."""
    r = random.Random(seed)
    dirs, files, made = ["a", "b", "c", "d", "etc"], ["f", "g", "x", "lowfile"], []

    def path(last=files):
        """Mostly names that only directories, or only others, have: layers that contradict themselves are refused."""
        odd = dirs + files
        parts = [r.choice(dirs if r.random() < .95 else odd) for _ in range(r.choice((0, 0, 1, 1, 2)))]
        parts.append(r.choice(last if r.random() < .85 else odd))
        if r.random() < .08:
            parts.insert(r.randrange(len(parts) + 1), r.choice(("..", ".", "")))
        return "/".join(parts)

    def known(name):
        made.append(name)
        return name

    def fields():
        out = {"mtime": TIME + r.randrange(-9, 9)}
        if r.random() < .3:
            out["uid"], out["gid"] = r.choice((0, 1, 1000, 4294967295)), r.choice((0, 7))
        if r.random() < .2:
            out["mode"] = r.choice((0o600, 0o755, 0o2755, 0o4711, 0o1777))
        if r.random() < .1:
            out["xattrs"] = [("user.r", str(r.random())), ("security.q", "1")][:r.choice((1, 2))]
        return out
    members = []
    for _ in range(r.choice((4, 8, 16))):
        pick = r.random()
        if pick < .35:
            members.append(entry(known(path()), r.randbytes(r.choice((0, 1, 10, 5000))), **fields()))
        elif pick < .55:
            members.append(directory(path(dirs), **fields()))
        elif pick < .68:
            target = path(dirs)
            members.append(symlink(path(r.choice((dirs, files))), r.choice((target, "/" + target, "../" + target, target + "/")),
                                   **fields()))
        elif pick < .80:
            target = r.choice(made) if made and r.random() < .9 else path()
            members.append(hard_link(known(path()), target, **fields()))
        elif pick < .90:
            where, _, what = path(r.choice((dirs, files))).rpartition("/")
            members.append(entry((where + "/" if where else "") + r.choice((".wh." + (what or "a"), ".wh..wh..opq")), **fields()))
        elif pick < .94:
            members.append(pax([("comment", "c")], b"g", name=path().encode()))
        elif pick < .97:
            members.append(entry(known(path()), kind=b"6", **fields()))
        else:
            members.append(entry(known(path()), kind=b"3", dev=(r.choice((0, 1)), r.choice((0, 5))), **fields()))
    return end(*members)


def vectors(seed, count):
    seen = set()
    for v in every(seed, count):
        assert v.name not in seen, v.name
        seen.add(v.name)
        yield v


def every(seed, count):
    for group in (paths, order, whiteouts, links, types, metadata, sparse, sizes, streams, stacks, realistic):
        yield from group()
    for i in range(count):
        yield Vector("random-%d" % (seed + i), shuffled(seed + i), fails=None)

