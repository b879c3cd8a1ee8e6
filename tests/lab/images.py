# SPDX-License-Identifier: MIT
"""Images made from a seed, and what a correct root file system of each looks like.

The layers are written here byte by byte (ustar, PAX and GNU headers; plain, gzip, many gzip members,
zstd, many zstd frames), so the expected tree comes from what was meant, never from reading an archive
back. The rules by which entries become files are containerd's (pkg/archive/tar.go): the first layer
deletes for a whiteout, later ones mask; a time before 1970 becomes 1970; trusted.* is not taken over;
a hard link's entry sets the owner again, which drops a file capability.
"""

import gzip
import hashlib
import json
import os
import pickle
import platform
import random
import subprocess

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


# ---------------------------------------------------------------------------------------- the model

class Node:
    """A file as it must be found. mtime None: containerd leaves it open. Hard links share a Node."""
    __slots__ = ("kind", "mode", "uid", "gid", "mtime", "size", "sha", "target", "rdev", "xattrs", "layer")

    def __init__(self, kind, mode=0o755, uid=0, gid=0, mtime=None):
        self.kind, self.mode, self.uid, self.gid, self.mtime = kind, mode, uid, gid, mtime
        self.size, self.sha, self.target, self.rdev = 0, None, None, 0
        self.xattrs = {}
        self.layer = 0


class Entry:
    """One archive member. kind: dir file link symlink char block fifo whiteout opaque."""
    __slots__ = ("kind", "name", "mode", "uid", "gid", "mtime", "data", "target", "rdev", "xattrs", "sparse")

    def __init__(self, kind, name, mode=0o644, uid=0, gid=0, mtime=0, data=b"", target=b"", rdev=(0, 0),
                 xattrs=None, sparse=False):
        self.kind, self.name, self.mode, self.uid, self.gid = kind, name, mode, uid, gid
        self.mtime, self.data, self.target, self.rdev = mtime, data, target, rdev  # mtime: nanoseconds
        self.xattrs, self.sparse = xattrs or {}, sparse


def below(tree, path):
    prefix = path + b"/"
    return [p for p in tree if p.startswith(prefix)]


def kept_xattrs(xattrs, kind):
    kept = {n: v for n, v in xattrs.items() if not n.startswith(b"trusted.")}
    if kind not in ("file", "dir"):
        kept = {n: v for n, v in kept.items() if not n.startswith(b"user.")}
    return kept


def add_layer(tree, entries, index):
    """Changes tree (path -> Node) as a layer would."""
    for e in entries:
        parent, base = os.path.split(e.name)
        at = b""
        for part in parent.split(b"/") if parent else []:  # parents that the layer does not name
            at = at + b"/" + part if at else part
            if at not in tree:
                tree[at] = Node("dir")
                tree[at].layer = index
            elif tree[at].layer < index:
                old = tree[at]
                new = Node("dir", old.mode, old.uid, old.gid)
                new.xattrs, new.layer = dict(old.xattrs), index
                tree[at] = new
        if e.kind == "whiteout":
            for p in below(tree, e.name) + [e.name]:
                tree.pop(p, None)
            continue
        if e.kind == "opaque":
            for p in below(tree, e.name):
                if tree[p].layer < index:
                    del tree[p]
            continue
        mtime = max(e.mtime, 0)
        if e.kind == "link":
            node = tree[e.target]
            node.uid, node.gid, node.mtime = e.uid, e.gid, mtime
            node.xattrs.pop(b"security.capability", None)
            node.xattrs.update(kept_xattrs(e.xattrs, node.kind))
            if node.kind != "symlink":
                node.mode = e.mode
        else:
            node = Node(e.kind, e.mode, e.uid, e.gid, mtime)
            node.layer = index
            node.xattrs = kept_xattrs(e.xattrs, e.kind)
            if e.kind == "file":
                node.size, node.sha = len(e.data), hashlib.sha256(e.data).hexdigest()
            elif e.kind == "symlink":
                node.target, node.mode = e.target, 0o777
            elif e.kind in ("char", "block"):
                node.rdev = os.makedev(*e.rdev)
        if e.kind != "dir" and e.name in tree and tree[e.name].kind == "dir":
            for p in below(tree, e.name):
                del tree[p]
        tree[e.name] = node


# --------------------------------------------------------------------------------------- the archive

def octal(value, width):
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80 if value >= 0 else 0xff]) + value.to_bytes(width - 1, "big", signed=True)


def header(name, mode, uid, gid, size, seconds, flag, target, rdev, gnu):
    prefix = b""
    if len(name) > 100 and not gnu:
        cut = name.find(b"/", len(name) - 101)
        if 0 < cut <= 155 and len(name) - cut - 1 > 0:
            prefix, name = name[:cut], name[cut + 1:]
    h = name[:100].ljust(100, b"\0") + octal(mode, 8) + octal(uid, 8) + octal(gid, 8) + octal(size, 12)
    h += octal(seconds, 12) + b" " * 8 + flag + target[:100].ljust(100, b"\0")
    h += b"ustar  \0" if gnu else b"ustar\00000"
    h += b"root".ljust(32, b"\0") * 2 + octal(rdev[0], 8) + octal(rdev[1], 8)
    h = (h + (b"" if gnu else prefix.ljust(155, b"\0"))).ljust(512, b"\0")
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]


def pad(data):
    return data + b"\0" * (-len(data) % 512)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    n = len(body)
    while len(str(n)) + len(body) != n:
        n = len(str(n)) + len(body)
    return str(n).encode() + body


FLAGS = {"file": b"0", "link": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}


def member(e, gnu, ordinal):
    """The bytes of one member. A GNU archive has no xattrs and whole seconds: see plan_layer."""
    name, kind, mode, data, target = e.name, e.kind, e.mode, e.data, e.target
    if kind == "whiteout":
        d, b = os.path.split(name)
        name, kind, mode = os.path.join(d, b".wh." + b), "file", 0o644
    elif kind == "opaque":
        name, kind, mode = os.path.join(name, b".wh..wh..opq"), "file", 0o644
    elif kind == "dir":
        name += b"/"
    seconds, nanos = divmod(e.mtime, 10 ** 9)
    out, records = b"", []
    uid, gid = e.uid, e.gid
    if gnu:
        for flag, text in ((b"K", target), (b"L", name)):
            if len(text) > 100:
                out += header(b"././@LongLink", 0, 0, 0, len(text) + 1, 0, flag, b"", (0, 0), True)
                out += pad(text + b"\0")
    else:
        fits = len(name) <= 100 or 0 < name.find(b"/", len(name) - 101) <= 155
        if not fits or any(c > 126 for c in name) or ordinal % 7 == 0:
            records.append(record(b"path", name))
        if len(target) > 100 or any(c > 126 for c in target):
            records.append(record(b"linkpath", target))
        for key, value in ((b"uid", uid), (b"gid", gid)):
            if value > 0o7777777:
                records.append(record(key, str(value).encode()))
        if uid > 0o7777777 or gid > 0o7777777:
            uid, gid = min(uid, 0o7777777), min(gid, 0o7777777)
        if nanos or seconds < 0 or seconds >= 8 ** 11:
            sign = "-" if e.mtime < 0 else ""
            s, n = divmod(abs(e.mtime), 10 ** 9)
            text = "%s%d.%09d" % (sign, s, n) if n else "%s%d" % (sign, s)
            records.append(record(b"mtime", text.encode()))
            seconds = min(max(seconds, 0), 8 ** 11 - 1)
        for key, value in sorted(e.xattrs.items()):
            records.append(record(b"SCHILY.xattr." + key, value))
    size = len(data)
    if e.sparse and not gnu and size:
        # PAX sparse 1.0: the map in front of the data that is not a hole
        chunks = []
        for at in range(0, size, 4096):
            if data[at:at + 4096].strip(b"\0"):
                if chunks and sum(chunks[-1]) == at:
                    chunks[-1][1] += min(4096, size - at)
                else:
                    chunks.append([at, min(4096, size - at)])
        if not chunks or sum(chunks[-1]) != size:
            chunks.append([size, 0])
        text = b"%d\n" % len(chunks) + b"".join(b"%d\n%d\n" % (a, n) for a, n in chunks)
        data = pad(text) + b"".join(e.data[a:a + n] for a, n in chunks)
        records += [record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0"),
                    record(b"GNU.sparse.name", name), record(b"GNU.sparse.realsize", b"%d" % size)]
        d, b = os.path.split(name)
        name, size = os.path.join(d, b"GNUSparseFile.0", b), len(data)
        records = [r for r in records if not r.split(b" ", 1)[1].startswith(b"path=")]
    if records:
        body = b"".join(records)
        out += header(b"PaxHeaders.0/%d" % ordinal, 0o644, 0, 0, len(body), 0, b"x", b"", (0, 0), False)
        out += pad(body)
    out += header(name, mode, uid, gid, size if kind == "file" else 0, seconds, FLAGS[kind], target,
                  e.rdev, gnu)
    return out + (pad(data) if kind == "file" else b"")


def zstd(data, level):
    return subprocess.run(["zstd", "-q", "-c", "-%d" % level], input=data, stdout=subprocess.PIPE,
                          check=True).stdout


def pack(members, how):
    """members -> (blob, diff id). how: tar gzip gzip-members zstd zstd-frames."""
    end = b"\0" * 1024
    whole = b"".join(members) + end
    diff = "sha256:" + hashlib.sha256(whole).hexdigest()
    if how == "tar":
        blob = whole
    elif how == "gzip":
        blob = gzip.compress(whole, 6, mtime=0)
    elif how == "gzip-members":
        parts, last = [], b""
        for m in members:  # small members share one, as eStargz does with its headers
            last += m
            if len(last) > 2048:
                parts.append(gzip.compress(last, 6, mtime=0))
                last = b""
        blob = b"".join(parts) + gzip.compress(last + end, 6, mtime=0)
    elif how == "zstd":
        blob = zstd(whole, 3)
    elif how == "zstd-frames":
        skippable = b"\x50\x2a\x4d\x18" + (12).to_bytes(4, "little") + b"laboratory.."
        parts, last = [skippable], b""
        for m in members:
            last += m
            if len(last) > 200000:
                parts.append(zstd(last, 1))
                last = b""
        blob = b"".join(parts) + zstd(last + end, 19) + skippable
    else:
        raise ValueError(how)
    return blob, diff


# -------------------------------------------------------------------------------------------- images

class Layer:
    def __init__(self, entries, how="gzip", gnu=False, docker=False):
        self.entries, self.how, self.gnu, self.docker = entries, how, gnu, docker
        if gnu:  # what that format cannot say
            for e in entries:
                e.xattrs = {}
                e.mtime = e.mtime // 10 ** 9 * 10 ** 9
        members = [member(e, gnu, i) for i, e in enumerate(entries)]
        self.blob, self.diff = pack(members, how)
        self.digest = "sha256:" + hashlib.sha256(self.blob).hexdigest()

    def media_type(self):
        if self.docker:
            return DOCKER + "image.rootfs.diff.tar" + (".gzip" if self.how.startswith("gzip") else "")
        suffix = {"t": "", "g": "+gzip", "z": "+zstd"}[self.how[0]]
        return OCI + "layer.v1.tar" + suffix


class Image:
    """name, the blobs to push, the tree expected, the chain ids of its layers."""

    def __init__(self, name, layers, docker=False, index=False, command=("/bin/sh",), labels=None):
        self.name, self.blobs, self.tree = name, {}, {}
        self.layers = []
        for i, layer in enumerate(layers):
            layer.docker = docker
            add_layer(self.tree, layer.entries, i)
            self.blobs[layer.digest] = layer.blob
            self.layers.append(layer.digest)
        self.chain = []
        for layer in layers:
            top = layer.diff if not self.chain else \
                "sha256:" + hashlib.sha256((self.chain[-1] + " " + layer.diff).encode()).hexdigest()
            self.chain.append(top)
        running = {"Cmd": list(command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
        if labels:
            running["Labels"] = labels
        config = {"architecture": ARCH, "os": "linux", "created": "2026-01-01T00:00:00Z", "config": running,
                  "rootfs": {"type": "layers", "diff_ids": [layer.diff for layer in layers]}}
        config_digest = self.put(config)
        manifest = {"schemaVersion": 2,
                    "mediaType": DOCKER + "distribution.manifest.v2+json" if docker else OCI + "manifest.v1+json",
                    "config": {"mediaType": DOCKER + "container.image.v1+json" if docker else OCI + "config.v1+json",
                               "size": len(self.blobs[config_digest]), "digest": config_digest},
                    "layers": [{"mediaType": layer.media_type(), "size": len(layer.blob),
                                "digest": layer.digest} for layer in layers]}
        digest = self.put(manifest)
        self.manifests = [(digest, manifest["mediaType"])]
        self.local = [digest, config_digest] + self.layers  # the blobs that a pull must bring
        if index:  # and another platform, which nobody here pulls
            other = dict(config, architecture="s390x")
            other_config = self.put(other)
            other_manifest = dict(manifest, config=dict(manifest["config"], digest=other_config,
                                                        size=len(self.blobs[other_config])))
            other_digest = self.put(other_manifest)
            self.manifests.append((other_digest, manifest["mediaType"]))
            listing = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [
                {"mediaType": manifest["mediaType"], "size": len(self.blobs[d]), "digest": d,
                 "platform": {"architecture": a, "os": "linux"}}
                for d, a in ((other_digest, "s390x"), (digest, ARCH))]}
            top = self.put(listing)
            self.manifests.append((top, listing["mediaType"]))
            self.local.append(top)
        self.target = self.manifests[-1][0]

    def put(self, thing):
        data = json.dumps(thing, sort_keys=True).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest


class Maker:
    """Random file trees; every choice comes from one seeded generator."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def when(self):
        r = self.r
        whole = r.randrange(946684800, 1767225600)
        return whole * 10 ** 9 + (r.randrange(10 ** 9) if r.random() < .5 else 0)

    def data(self, size):
        r = self.r
        how = r.random()
        if how < .4:
            return r.randbytes(size)
        if how < .5:
            return b"\0" * size
        line = r.randbytes(24).hex().encode() + b"\n"
        return (line * (size // len(line) + 1))[:size]

    def size(self):
        r = self.r
        x = r.random()
        if x < .06:
            return 0
        if x < .85:
            return r.randrange(1, 4096)
        if x < .99:
            return r.randrange(4096, 40000)
        return r.randrange(100000, 300000)

    def owner(self):
        return self.r.choice((0, 0, 0, 0, 33, 1000, 65534))

    def files(self, root, count, xattrs=True):
        """count small files in a directory tree below root, directories first."""
        r, out, dirs, files = self.r, [], [root], []
        out.append(Entry("dir", root, 0o755, mtime=self.when()))
        for i in range(count):
            if i % 25 == 0:
                name = r.choice(dirs) + b"/d%d" % i
                if name.count(b"/") > 12:
                    name = root + b"/d%d" % i
                dirs.append(name)
                out.append(Entry("dir", name, r.choice((0o755, 0o700, 0o1777, 0o2775)), self.owner(),
                                 self.owner(), self.when()))
            name = r.choice(dirs[-6:]) + b"/f%d" % i
            x = r.random()
            if x < .06 and files:
                first = r.choice(files)
                out.append(Entry("link", name, first.mode, first.uid, first.gid, first.mtime,
                                 target=first.name, xattrs=first.xattrs))
            elif x < .12:
                out.append(Entry("symlink", name, 0o777, self.owner(), self.owner(), self.when(),
                                 target=r.choice((b"f%d" % i, b"../x", b"/etc/passwd", b"nowhere/" + b"y" * 80))))
            else:
                e = Entry("file", name, r.choice((0o644, 0o600, 0o755, 0o444)), self.owner(), self.owner(),
                          self.when(), self.data(self.size()))
                if xattrs and r.random() < .05:
                    e.xattrs = {b"user.lab": r.randbytes(12), b"user.mime": b"text/plain"}
                files.append(e)
                out.append(e)
        return out


def features(m, root, gnu):
    """One of everything that a layer may hold."""
    r, t = m.r, m.when
    j = lambda name: root + b"/" + name
    deep = b"/".join([b"a-directory-with-a-long-name-%d" % i for i in range(9)])
    out = [Entry("dir", root, 0o755, mtime=t()), Entry("dir", j(b"dir"), 0o1777, 12, 34, t()),
           Entry("dir", j(b"other"), 0o2750, 1000, 1000, t())]
    out += [Entry("file", j(b"setuid"), 0o4755, 0, 0, t(), r.randbytes(3000)),
            Entry("file", j(b"setgid"), 0o2755, 0, 12, t(), r.randbytes(300)),
            Entry("file", j(b"capable"), 0o755, 0, 0, t(), r.randbytes(5000),
                  xattrs={b"security.capability": CAPABILITY}),
            Entry("file", j(b"capable-linked"), 0o755, 0, 0, t(), r.randbytes(500),
                  xattrs={b"security.capability": CAPABILITY, b"user.kept": b"yes"}),
            Entry("link", j(b"dir/capable-linked"), 0o755, 0, 0, t(), target=j(b"capable-linked")),
            Entry("file", j(b"xattrs"), 0o644, 1, 1, t(), b"x",
                  xattrs={b"user.empty": b"", b"user.binary": bytes(range(256)), b"trusted.lab": b"not taken"}),
            Entry("file", j(b"empty"), 0o644, 0, 0, t()),
            Entry("file", j(b"zeros"), 0o644, 0, 0, t(), b"\0" * 70000),
            Entry("file", j(b"one-byte"), 0o600, 0, 0, t(), b"1"),
            Entry("file", j(b"block-512"), 0o600, 0, 0, t(), r.randbytes(512)),
            Entry("file", j(b"page-4096"), 0o600, 0, 0, t(), r.randbytes(4096)),
            Entry("file", j(b"page-4097"), 0o600, 0, 0, t(), r.randbytes(4097)),
            Entry("file", j(b"zero-tail"), 0o600, 0, 0, t(), r.randbytes(5000) + b"\0" * 60000),
            Entry("file", j(b"before-1970"), 0o644, 0, 0, -12345 * 10 ** 9, b"old"),
            Entry("file", j(b"epoch"), 0o644, 0, 0, 0, b"epoch"),
            Entry("file", j(b"in-2100"), 0o644, 0, 0, 4102444800 * 10 ** 9, b"new"),
            Entry("file", j(b"sub-second"), 0o644, 0, 0, 1600000000123456789, b"fine"),
            Entry("file", j(b"big-ids"), 0o644, 3000000000, 2500000000, t(), b"ids"),
            Entry("file", j(b"no-permissions"), 0o000, 5, 5, t(), r.randbytes(900)),
            Entry("file", j(b"name with spaces\tand\ttabs"), 0o644, 0, 0, t(), b"s"),
            Entry("file", j("ünïcödé-名前".encode()), 0o644, 0, 0, t(), b"u"),
            Entry("file", j(b"n" * 250), 0o644, 0, 0, t(), b"long"),
            Entry("file", j(deep + b"/file"), 0o644, 0, 0, t(), r.randbytes(2000)),
            Entry("file", j(b"implicit/parent/file"), 0o644, 7, 7, t(), r.randbytes(100)),
            Entry("symlink", j(b"symlink"), 0o777, 1, 2, t(), target=b"one-byte"),
            Entry("symlink", j(b"symlink-long"), 0o777, 0, 0, t(), target=b"../" * 60 + b"etc/passwd"),
            Entry("link", j(b"link-to-symlink"), 0o777, 1, 2, t(), target=j(b"symlink")),
            Entry("char", j(b"null"), 0o666, 0, 0, t(), rdev=(1, 3)),
            Entry("block", j(b"disk"), 0o660, 0, 6, t(), rdev=(259, 300)),
            Entry("fifo", j(b"fifo"), 0o640, 3, 4, t())]
    hard = Entry("file", j(b"hard"), 0o640, 9, 9, t(), r.randbytes(10000))
    out.append(hard)
    for name in (b"hard-2", b"dir/hard-3", b"other/hard-4"):
        out.append(Entry("link", j(name), hard.mode, 9, 9, hard.mtime, target=hard.name))
    if not gnu:
        out.append(Entry("file", j(b"sparse"), 0o644, 0, 0, t(), sparse=True,
                         data=b"\0" * 40960 + r.randbytes(8192) + b"\0" * 20480 + r.randbytes(100) + b"\0" * 9000))
    out.append(Entry("dir", j(b"dir/last"), 0o711, mtime=t()))
    return out


def base(lab, m):
    """busybox, a few of its names, /etc and /usr/share/zoneinfo: enough for a container to run."""
    t = m.when
    out = []
    for name, mode in ((b"bin", 0o755), (b"dev", 0o755), (b"etc", 0o755), (b"proc", 0o555), (b"root", 0o700),
                       (b"sys", 0o555), (b"tmp", 0o1777), (b"usr", 0o755), (b"usr/share", 0o755)):
        out.append(Entry("dir", name, mode, mtime=t()))
    out.append(Entry("file", b"bin/busybox", 0o755, mtime=t(), data=lab.busybox()))
    for name in (b"sh", b"cat", b"date", b"echo", b"ls", b"md5sum", b"sleep", b"wc", b"dd", b"ln", b"mkdir", b"rm"):
        out.append(Entry("symlink", b"bin/" + name, 0o777, mtime=t(), target=b"busybox"))
    out.append(Entry("file", b"etc/passwd", 0o644, mtime=t(), data=b"root:x:0:0:root:/root:/bin/sh\n"))
    out.append(Entry("file", b"etc/hostname", 0o644, mtime=t(), data=b"laboratory\n"))
    return out


def zones(lab, m):
    out, made = [], set()
    for name, data in lab.zoneinfo():
        d = os.path.dirname(name)
        parts = d.split(b"/")
        for i in range(3, len(parts) + 1):
            p = b"/".join(parts[:i])
            if p not in made:
                made.add(p)
                out.append(Entry("dir", p, 0o755, mtime=m.when()))
        out.append(Entry("file", name, 0o644, mtime=m.when(), data=data))
    return out


def demo_image(lab):
    m = Maker("demo")
    return Image("demo/clock", [Layer(base(lab, m), docker=True), Layer(zones(lab, m), docker=True)],
                 docker=True, command=("/bin/date",))


def random_image(name, sizes):
    """Of layers that are one file of so many random bytes each."""
    r = Maker(name).r
    return Image(name, [Layer([Entry("file", b"file-%d" % n, mtime=10 ** 18, data=r.randbytes(size))], "tar")
                        for n, size in enumerate(sizes)])


def large_set(mib):
    """Two images of so much in all, in layers of 64 MiB."""
    return {"default": [random_image("lab/large-%d-%d" % (mib, n), [64 << 20] * (mib // 128)) for n in range(2)]}


def make_set(lab, seed, scale=1.0):
    """The images of one session: all shapes, about 4,000 files and 60 MB unpacked at scale 1."""
    m = Maker(seed)
    r = m.r
    # sets live side by side in one registry
    where = "lab-%s/" % hashlib.sha256(("%s %s" % (seed, scale)).encode()).hexdigest()[:10]
    n = lambda count: max(40, int(count * scale))
    first = Layer(base(lab, m), docker=True)
    clock = Image(where + "clock", [first, Layer(zones(lab, m), docker=True)], docker=True)

    ground = m.files(b"srv", n(1500))
    names = [e.name for e in ground if e.kind == "file"]
    gone = r.sample(names, 30)
    changed = [x for x in r.sample(names, 40) if x not in gone]
    dirs = [e.name for e in ground if e.kind == "dir" and e.name.count(b"/") == 1]
    opaque = r.choice(dirs)
    removed = r.choice([d for d in dirs if d != opaque])
    outside = lambda x: not x.startswith((opaque + b"/", removed + b"/"))
    second = [Entry("whiteout", x, mtime=m.when()) for x in gone if outside(x)]
    second += [Entry("file", x, 0o640, 1, 1, m.when(), m.data(m.size())) for x in changed if outside(x)]
    second += [Entry("whiteout", removed, mtime=m.when()), Entry("dir", opaque, 0o750, 8, 8, m.when()),
               Entry("opaque", opaque, mtime=m.when()),
               Entry("file", opaque + b"/new", 0o644, 0, 0, m.when(), b"only this is left")]
    second += m.files(b"opt/second", n(700))
    third = m.files(b"opt/third", n(300)) + [Entry("whiteout", b"opt/second/d0", mtime=m.when())]
    ground_layer = Layer(ground, "gzip")
    many = Image(where + "many", [ground_layer, Layer(second, "zstd"), Layer(third, "tar")])

    odd = Image(where + "odd", [Layer(features(m, b"pax", False), "gzip-members"),
                            Layer(features(m, b"gnu", True), "gzip", gnu=True),
                            Layer(features(m, b"pax/dir/again", False) + [
                                Entry("whiteout", b"gnu/hard-2", mtime=m.when()),
                                Entry("whiteout", b"gnu/other", mtime=m.when()),
                                Entry("symlink", b"pax/null", 0o777, mtime=m.when(), target=b"setuid"),
                                Entry("file", b"pax/implicit/parent/second", 0o644, 0, 0, m.when(), b"2")],
                                "zstd-frames")])

    big = lambda size: int(size * min(scale, 1) * (1 << 20))
    large = Image(where + "large", [
        Layer([Entry("dir", b"data", 0o755, mtime=m.when()),
               Entry("file", b"data/random", 0o644, 0, 0, m.when(), r.randbytes(big(6))),
               Entry("file", b"data/zeros", 0o644, 0, 0, m.when(), b"\0" * big(12)),
               Entry("file", b"data/mixed", 0o644, 0, 0, m.when(),
                     b"".join(r.randbytes(65536) + b"\0" * 65536 for _ in range(big(8) // 131072)))], "tar"),
        Layer([Entry("file", b"data/more", 0o644, 0, 0, m.when(), r.randbytes(big(5))),
               Entry("whiteout", b"data/zeros", mtime=m.when())] + m.files(b"data/small", n(60)), "gzip")])

    shared = Image(where + "shared", [ground_layer, Layer(m.files(b"opt/own", n(250)), "gzip-members")], index=True,
                   labels={"a long word": 300000 * "x"})  # a config longer than what is read of a blob at once
    return {"default": [clock, many, odd, large], "k8s.io": [shared, clock]}


class Described:
    """What the tests keep of an image once its blobs are in the registry."""

    def __init__(self, image):
        self.name, self.tree, self.chain = image.name, image.tree, image.chain
        self.local, self.target = image.local, image.target
        self.sizes = {d: len(image.blobs[d]) for d in image.local}


def cached(lab, what, make, push):
    """make() -> {namespace: [Image]}, pushed once into the cached registry storage; descriptions kept."""
    with open(os.path.abspath(__file__), "rb") as f:
        key = hashlib.sha256(f.read() + what.encode()).hexdigest()[:16]
    path = os.path.join(lab.image_dir, key + ".model")
    if os.path.exists(path):
        with open(path, "rb") as f:
            return pickle.load(f)
    made = make()
    push({i.name: i for images in made.values() for i in images}.values())
    known = {i.name: Described(i) for images in made.values() for i in images}
    described = {ns: [known[i.name] for i in images] for ns, images in made.items()}
    with open(path + ".new", "wb") as f:
        pickle.dump(described, f)
    os.rename(path + ".new", path)
    return described
