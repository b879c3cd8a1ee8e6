# SPDX-License-Identifier: MIT
"""What golden and fault tests share: a small real store, damage to it, and everything worth comparing afterwards.

The store is made once in each run by containerd 1.6 from images whose every byte is chosen here (layers are packed as
stored gzip and zstd blocks, so that no compressor's version changes a digest): namespace default has the images one
(3 layers, with a container "box") and two (2 layers), namespace k8s.io has three (an index; shares a layer with one)
under the three names that CRI gives, with a container "pod". It lives on ext4, which is cloned for each worker.
"""

import contextlib
import hashlib
import json
import mmap
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import traceback
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))
import images
import lab as laboratory
import verify
from images import Entry, Image, Layer
from lab import Containerd, Failure, Registry, sh

PLACE = "/mnt"  # in a mount namespace of ours
ROOT = PLACE + "/containerd"
BASE = PLACE + "/base"
META = "io.containerd.metadata.v1.bolt/meta.db"
OVERLAY_DIR = "io.containerd.snapshotter.v1.overlayfs"
OVERLAY = OVERLAY_DIR + "/metadata.db"
CONTENT = "io.containerd.content.v1.content"
UUID = "io.containerd.grpc.v1.introspection/uuid"
OWN = "containerd-fsck"
BUILT = os.path.join(laboratory.TOP, "build", "golden")
BOLTOOL = os.path.join(BUILT, "boltool")
SECONDS = 1700000000  # all archive times are near it


# --------------------------------------------------------------------------------------------- the images

def stored_gzip(data):
    """gzip as every inflater reads it and no deflater's version changes it: stored blocks."""
    out = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    pieces = [data[i:i + 65535] for i in range(0, len(data), 65535)]
    for i, piece in enumerate(pieces):
        n = len(piece)
        out += bytes([i == len(pieces) - 1]) + n.to_bytes(2, "little") + (n ^ 0xffff).to_bytes(2, "little") + piece
    return out + zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xffffffff).to_bytes(4, "little")


def stored_zstd(data):
    """A zstd frame of raw blocks: 128 KiB window, no checksum."""
    out = b"\x28\xb5\x2f\xfd\0\x38"
    pieces = [data[i:i + 65536] for i in range(0, len(data), 65536)]
    for i, piece in enumerate(pieces):
        out += (len(piece) << 3 | (i == len(pieces) - 1)).to_bytes(3, "little") + piece
    return out


def fnv1a(data):
    out = 0xcbf29ce484222325
    for byte in data:
        out = (out ^ byte) * 0x100000001b3 % (1 << 64)
    return out


def wide_sum(data):
    """The sum of containerd-fsck-journal(5)."""
    def mix(lane, word):
        x = lane ^ word
        return (x << 29 | x >> 35) % (1 << 64) * 0x9e3779b97f4a7c15 % (1 << 64)
    lanes, total = [1, 2, 3, 4], 0
    padded = data + bytes(-len(data) % 32)
    for at in range(0, len(padded), 8):
        n = at // 8 % 4
        lanes[n] = mix(lanes[n], int.from_bytes(padded[at:at + 8], "little"))
    for lane in lanes:
        total = mix(total, lane)
    return mix(total, len(data))


def layer(entries, how):
    made = Layer(entries, "tar")
    made.how = how
    if how != "tar":
        made.blob = (stored_gzip if how == "gzip" else stored_zstd)(made.blob)
    made.digest = "sha256:" + hashlib.sha256(made.blob).hexdigest()
    return made


class Entries:
    def __init__(self, seed):
        self.r, self.out, self.n = random.Random("golden " + seed), [], 0

    def when(self):
        self.n += 1
        return (SECONDS + self.n) * 10 ** 9 + self.n

    def add(self, kind, name, mode=0o644, uid=0, gid=0, size=None, **more):
        if size is not None:
            more["data"] = self.r.randbytes(size)
        self.out.append(Entry(kind, name.encode(), mode, uid, gid, self.when(), **more))
        return self


def make_images():
    ground = Entries("ground")
    for name, mode in (("bin", 0o755), ("etc", 0o755), ("data", 0o750), ("dir", 0o1777), ("dev", 0o755)):
        ground.add("dir", name, mode)
    ground.add("file", "bin/tool", 0o755, size=4100)
    ground.add("file", "bin/setuid", 0o4755, size=300)
    ground.add("file", "bin/capable", 0o755, size=900, xattrs={b"security.capability": images.CAPABILITY})
    ground.add("symlink", "bin/sh", 0o777, target=b"tool")
    ground.add("file", "etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\n")
    ground.add("file", "etc/empty", data=b"")
    ground.add("file", "etc/labelled", 0o600, 33, 33, size=50, xattrs={b"user.lab": b"label"})
    ground.add("file", "etc/gone", size=40)
    ground.add("file", "data/big", 0o640, 1000, 1000, size=20000)
    ground.add("file", "data/zeros", data=b"\0" * 9000)
    ground.add("file", "data/hard", 0o640, 9, 9, size=5000)
    hard = ground.out[-1]
    for name in (b"data/hard-2", b"dir/hard-3"):
        ground.out.append(Entry("link", name, hard.mode, 9, 9, hard.mtime, target=hard.name))
    ground.add("file", "dir/old", size=70).add("file", "dir/older", size=71)
    ground.add("char", "dev/null", 0o666, rdev=(1, 3)).add("fifo", "dev/pipe", 0o640, 3, 4)
    ground.add("file", "implicit/parent/file", size=100)
    ground.add("file", "etc/name with a space and ü", size=12)
    first = layer(ground.out, "gzip")

    upper = Entries("upper")
    upper.add("whiteout", "etc/gone")
    upper.add("dir", "dir", 0o755, 8, 8).add("opaque", "dir").add("file", "dir/new", size=33)
    upper.add("file", "etc/passwd", 0o644, data=b"root:x:0:0:root:/root:/bin/sh\nuser:x:1:1::/:/bin/sh\n")
    upper.add("dir", "opt", 0o755).add("file", "opt/first", 0o644, size=6000)
    opt = upper.out[-1]
    upper.out.append(Entry("link", b"opt/second", opt.mode, 0, 0, opt.mtime, target=opt.name))
    upper.add("symlink", "opt/link", 0o777, target=b"first").add("dir", "opt/deep", 0o700)
    upper.add("file", "opt/deep/er", 0o600, 5, 6, size=700)
    top = Entries("top")
    top.add("whiteout", "opt/link").add("file", "implicit/parent/other", size=64).add("file", "top", 0o755, size=128)
    one = Image("golden/one", [first, layer(upper.out, "zstd"), layer(top.out, "tar")])

    low, high = Entries("low"), Entries("high")
    low.add("dir", "lib", 0o755).add("file", "lib/a", size=8000).add("file", "lib/b", 0o755, size=1)
    low.add("symlink", "lib/c", 0o777, target=b"a")
    high.add("whiteout", "lib/c").add("file", "lib/d", size=400).add("file", "lib/e", 0o600, 1, 1, size=500)
    two = Image("golden/two", [layer(low.out, "gzip"), layer(high.out, "gzip")])

    own = Entries("own")
    own.add("whiteout", "bin/setuid").add("dir", "srv", 0o755).add("file", "srv/pod", 0o755, size=2500)
    three = Image("golden/three", [first, layer(own.out, "zstd")], index=True)
    out = {"one": one, "two": two, "three": three}
    for name, image in out.items():
        image.namespace = "k8s.io" if name == "three" else "default"
        image.index = image.local[3 + len(image.layers) - 1] if name == "three" else None
        image.manifest, image.config = image.local[:2]
        image.index = image.target if image.target != image.manifest else None
    return out


def names_of(known):
    """digest -> what a reader calls it."""
    out = {}
    for name, image in known.items():
        out[image.manifest] = name + ".manifest"
        out[image.config] = name + ".config"
        if image.index:
            out[image.index] = name + ".index"
        for i, digest in enumerate(image.layers):
            out.setdefault(digest, "%s.layer%d" % (name, i + 1))
        for i, digest in enumerate(image.chain):
            out.setdefault(digest, "%s.chain%d" % (name, i + 1))
        for digest, _ in image.manifests:
            out.setdefault(digest, name + ".other-manifest")
        for i, digest in enumerate(json.loads(image.blobs[image.config])["rootfs"]["diff_ids"]):
            out.setdefault(digest, "%s.diff%d" % (name, i + 1))
    return out


# ---------------------------------------------------------------------------------------- databases as text

def boltool(*args, stdin=None):
    p = subprocess.run([BOLTOOL, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=laboratory.HANGS)
    if p.returncode:
        raise Failure("boltool %s: %s" % (" ".join(args), p.stderr.decode(errors="replace").strip()[-300:]))
    return p.stdout.decode()


def dump(path):
    return boltool("dump", path).splitlines()


PART = re.compile(r'"((?:[^"\\]|\\.)*)"|0x([0-9a-f]*)')


def parts(text):
    """The names in a line's path, as bytes."""
    return [bytes.fromhex(m.group(2)) if m.group(2) is not None else
            json.loads('"%s"' % re.sub(r"\\x(..)", r"\\u00\1", m.group(1))).encode() for m in PART.finditer(text)]


def records(path):
    """{path of names: value or None for a bucket}"""
    out = {}
    for line in dump(path):
        left, mark, right = line.partition(" = ")
        if mark:
            out[tuple(parts(left))] = parts(right)[0]
        else:
            out[tuple(parts(line.rsplit("/ sequence ", 1)[0]))] = None
    return out


def masked(lines):
    """What differs from run to run, put out of sight."""
    out = []
    for line in lines:
        line = re.sub(r"= 0x0100000[0-9a-f]{23}$", "= TIME", line)
        line = re.sub(r'= "\d{4}-\d\d-\d\dT[0-9:.]+Z"$', "= TIME", line)
        line = re.sub(r'boot-id" = "[0-9a-f-]{36}"', 'boot-id" = BOOT', line)
        line = re.sub(r'/"(spec|runtime"/"options)" = .*', r'/"\1" = ...', line)
        if '"snapshots"' in line and line.startswith('"v1"/"snapshots"'):
            line = re.sub(r'/"size" = .*', '/"size" = ...', line)
        out.append(line)
    return out


def words(text, known):
    """Digests by name, as in files for review."""
    for digest, name in known.items():
        text = text.replace(digest, "sha256:" + name).replace(digest.split(":")[1], name)
        text = text.replace("sha256:" + digest.split(":")[1][:12], "sha256:" + name)
    return text.replace(laboratory.REGISTRY, "REGISTRY")


# ------------------------------------------------------------------------------------------- trees as text

def hash_of(path):
    try:
        return verify.read_hash(path)[0]
    except OSError as e:
        return e.strerror.replace(" ", "-")


def fingerprint():
    """Everything a write to the store would change."""
    out = verify.fingerprint(ROOT)
    for path, row in out.items():
        if isinstance(row, list) and stat.S_ISREG(row[0]):
            row.append(hash_of(os.path.join(os.fsencode(ROOT), path)))
    return out


def tree(root):
    """path -> (line without the times, mtime of what a layer gave one), for everything below root; a database is
    its content, a line an element."""
    out, groups = {}, {}
    for path, st in verify.walk(os.fsencode(root)):
        name = os.fsdecode(path)
        if isinstance(st, OSError):
            out[name] = ("unreadable: %s" % st.strerror, None)
            continue
        full = os.path.join(os.fsencode(root), path)
        kind = verify.KINDS[stat.S_IFMT(st.st_mode)]
        what = ""
        if name in (META, OVERLAY):
            what = "database"
        elif kind == "file":
            what = "%d %s" % (st.st_size, hash_of(full))
        elif kind == "symlink":
            what = "-> %s" % os.fsdecode(os.readlink(full))
        elif kind in ("char", "block"):
            what = "%d:%d" % (os.major(st.st_rdev), os.minor(st.st_rdev))
        for key, value in sorted(verify.xattrs_of(full).items()):
            if key == b"trusted.overlay.uuid":
                continue  # Linux 6.6 and later give each upper directory one
            what += " %s=%s" % (os.fsdecode(key), value.hex())
        line = "%s %o %d:%d %s" % (kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, what)
        if kind != "dir":
            groups.setdefault((st.st_dev, st.st_ino), []).append(name)
        out[name] = (line.strip(), None if kind == "dir" else st.st_mtime_ns)
    for group in groups.values():
        if len(group) > 1:
            for name in group:
                line, mtime = out[name]
                out[name] = ("%s links %s" % (line, sorted(group)[0]), mtime)
    for db in (META, OVERLAY):
        with contextlib.suppress(Failure):
            if db in out:
                for line in dump(os.path.join(root, db)):
                    out["%s %s" % (db, line)] = ("", None)
    return out


def ours(name):
    return name == OWN or name.startswith(OWN + "/")


def listing(found, known):
    """The tree as text: for review, and for comparing runs. Our own report and backups by name only; what is kept of the last runs, which
    decides nothing, not at all (tests/watch)."""
    out = []
    for name, (line, _) in found.items():
        if name.startswith(OWN + "/runs"):
            continue
        if " " in name and name.split(" ", 1)[0] in (META, OVERLAY):
            out.append(masked([name])[0])
        elif name.startswith((OWN + "/backup/", OWN + "/aside/broken-", OWN + "/report.json", OWN + "/journal", "io.containerd.grpc.v1.cri/")) or name == UUID:
            out.append("%s  %s" % (name, re.sub(r" \d+ [0-9a-f]{64}", "", line)))
        else:
            out.append("%s  %s" % (name, re.sub(r"([0-9a-f]{16})[0-9a-f]{48}", r"\1", line)))
    return sorted(words(line, known) for line in out)


def against(base, after):
    """The lines that went (-) and came (+)."""
    had, has = set(base), set(after)
    lines = [(line, "- ") for line in base if line not in has] + [(line, "+ ") for line in after if line not in had]
    return [mark + line for line, mark in sorted(lines, key=lambda x: (x[0].split("  ")[0], x[1] == "+ "))]


def same_as_base(base, after):
    """How a healed store differs from the undamaged one, directory times and our own directory aside."""
    out = []
    for name in sorted(set(base) | set(after)):
        if ours(name) or base.get(name) == after.get(name) or name == UUID:
            continue
        was, now = base.get(name, ("", 0))[0], after.get(name, ("", 0))[0]
        if was == now and (name.startswith(CONTENT + "/") or name in (META, OVERLAY) or was.endswith(" 0:0 0:0")):
            continue  # no layer gave blobs, databases and whiteouts a time
        if re.search(r'("overlayfs"|^\S+ "v1"/"snapshots")/ sequence \d+$', name):
            continue  # counters go forward only
        out.append("%s: %s, not %s" % (name, after.get(name, ("gone", 0)), base.get(name, ("there", 0))))
    return out[:6]


# --------------------------------------------------------------------------------------------- the store

class Store:
    """A copy of the base store, and what a recipe does to it."""

    def __init__(self, known):
        # what runs over another case came to: this one may have its inode
        shutil.rmtree("/run/containerd-fsck", ignore_errors=True)
        self.images, self.root = known, ROOT
        self.names = names_of(known)
        self.args, self.state = [], False
        self.oracle = None      # the result must be the undamaged store; default: where the row's harm is TORN
        self.starts = True      # containerd is started on the result, ...
        self.ready = {}         # ... image -> what it is called then, if not ready,
        self.pulled = {}        # ... and after a pull, if not ready
        self.protected = []     # digests that garbage collection must leave
        self.stays_broken, self.left = (), False  # images that a pull does not heal; something must be left
        self.cache = {}
        self.after_repair = None
        self.half = 0           # status of check, where one database is made again, and something else still keeps all from being judged

    # places

    def path(self, *more):
        return os.path.join(self.root, *more)

    def blob(self, digest):
        return self.path(CONTENT, "blobs", *digest.split(":"))

    def layer(self, image, number, ns=None):
        """snapshots/<id> of an image's layer, from 1."""
        chain = self.images[image].chain[number - 1]
        return self.path(OVERLAY_DIR, "snapshots", self.id_of(ns or self.images[image].namespace, chain))

    def file(self, image, number, name):
        return os.path.join(self.layer(image, number), "fs", name)

    def backend(self):
        if OVERLAY not in self.cache:
            self.cache[OVERLAY] = records(self.path(OVERLAY))
        return self.cache[OVERLAY]

    def diffs(self, image):
        return json.loads(self.images[image].blobs[self.images[image].config])["rootfs"]["diff_ids"]

    def key_of(self, ns, key):
        """The backend key of a snapshot."""
        if META not in self.cache:
            self.cache[META] = records(self.path(META))
        return self.cache[META][(b"v1", ns.encode(), b"snapshots", b"overlayfs", key.encode(), b"name")].decode()

    def id_of(self, ns, key):
        value = self.backend()[(b"v1", b"snapshots", self.key_of(ns, key).encode(), b"id")]
        number = shift = 0
        for b in value:
            number |= (b & 127) << shift
            shift += 7
        return str(number)

    # damage: what a cut leaves keeps the times that were set before it

    def cut(self, path, size=0):
        before = os.lstat(path)
        mode = stat.S_IMODE(before.st_mode)
        os.truncate(path, size)
        self.capability(path, mode, before)

    def put(self, path, at, data):
        before = os.lstat(path)
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(data)
        self.capability(path, stat.S_IMODE(before.st_mode), before)

    def capability(self, path, mode, before):
        """A write as root leaves set-id bits; times are put back."""
        os.chmod(path, mode)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def lose(self, path):
        (shutil.rmtree if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)

    def replace(self, path, make):
        self.lose(path)
        make(path)

    # databases

    def edit(self, db, operations):
        self.cache.clear()
        boltool("script", self.path(db), stdin=json.dumps(operations).encode())

    def meta(self, *operations):
        self.edit(META, operations)

    def overlay(self, *operations):
        self.edit(OVERLAY, operations)

    def damage(self, db, kind):
        boltool("damage", self.path(db), kind)

    def docker(self, *names):
        """In place of the store docker's data root, with these databases of dockerd's."""
        sh("find", self.root, "-mindepth", "1", "-delete")
        for name in names:
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            for i in range(3):
                self.edit(name, [put(["bucket", "key%d" % i], "value")])
        self.oracle = self.starts = False

    def break_newest(self, db):
        """The page that the last transaction wrote last, the root of its tree, is zeroed."""
        with open(self.path(db), "r+b") as f:
            data = f.read()
            metas = [struct.unpack_from("<QQQQQQ", data, slot * 4096 + 32) for slot in (0, 1)]
            f.seek(max((m[4], m[0]) for m in metas)[1] * 4096)
            f.write(bytes(4096))

    def forget(self, image, number):
        """A layer's blob goes with its record: discarded after unpacking."""
        digest = self.images[image].layers[number - 1]
        self.meta(remove(["v1", self.images[image].namespace, "content", "blob", digest]))
        self.lose(self.blob(digest))

    def unpacked_by(self, image, snapshotter, label=True, instead=True):
        """Another snapshotter has the image's chain, as meta.db and the config's record tell; with instead, overlayfs has not."""
        image = self.images[image]
        ns, labels = image.namespace, ["v1", image.namespace, "content", "blob", image.config, "labels"]
        for chain in reversed(image.chain) if instead else ():
            self.lose(self.path(OVERLAY_DIR, "snapshots", self.id_of(ns, chain)))
            self.drop_backend(ns, chain)
        if instead:
            self.meta(*(remove(["v1", ns, "snapshots", "overlayfs", chain]) for chain in image.chain),
                      remove_key(labels + ["containerd.io/gc.ref.snapshot.overlayfs"]))
        if label:
            self.meta(put(labels + ["containerd.io/gc.ref.snapshot." + snapshotter], image.chain[-1]))
        else:
            self.meta(*(put(["v1", ns, "snapshots", snapshotter, chain, "name"], "%s/%d/%s" % (ns, i, chain))
                        for i, chain in enumerate(image.chain)))

    def drop_backend(self, ns, key):
        """metadata.db forgets a snapshot; its directory's name is in gone."""
        backend_key = self.key_of(ns, key)
        self.gone = self.id_of(ns, key)
        number = int(self.gone)
        entries = [list(p) for p, v in self.backend().items()
                   if len(p) == 3 and p[1] == b"parents" and v == backend_key.encode()]
        self.overlay(remove(["v1", "snapshots", backend_key]),
                     *(remove_key(["v1", "parents", {"hex": p[2].hex()}]) for p in entries))
        return number

    def inodes(self, image, number, change):
        """Changes the recorded number of files of a layer."""
        key = self.key_of(self.images[image].namespace, self.images[image].chain[number - 1])
        was = self.backend()[(b"v1", b"snapshots", key.encode(), b"inodes")]
        value = shift = 0
        for b in was:
            value |= (b & 127) << shift
            shift += 7
        self.overlay({"op": "put", "path": ["v1", "snapshots", key, "inodes"], "varint": (value >> 1) + change})

    def on_disk(self, kind, options):
        """The store moves to a file system of its own; where that is."""
        disk = "/run/tmp/bad-disk"
        laboratory.make_disk(disk, kind, megabytes=256)
        kept = PLACE + "/kept"
        os.rename(self.root, kept)
        os.mkdir(self.root)
        sh("mount", "-o", options, disk, self.root)
        sh("cp", "-a", "--sparse=auto", kept + "/.", self.root)
        shutil.rmtree(kept)
        laboratory.umount(self.root)
        return disk

    def unlistable(self, path):
        """The directory cannot be listed: its block on an ext4 fails its checksum. What is returned makes it readable again."""
        disk = self.on_disk("ext4", "loop,noatime")
        block = int(sh("debugfs", "-R", "blocks " + os.path.relpath(path, self.root), disk)[1].split()[-1])
        size = int(re.search(r"Block size: *(\d+)", sh("debugfs", "-R", "stats -h", disk)[1])[1])

        def flip():
            with open(disk, "r+b") as f:
                f.seek((block + 1) * size - 4)
                tail = f.read(4)
                f.seek(-4, os.SEEK_CUR)
                f.write(bytes(b ^ 255 for b in tail))
            sh("mount", "-o", "loop,noatime", disk, self.root)

        def readable():
            laboratory.umount(self.root)
            flip()
        flip()
        try:
            os.listdir(path)
        except OSError:
            self.starts = False
            return readable
        raise Failure("the directory can still be listed")

    def unreadable(self, path):
        """Reads of the file fail with EIO: the store moves to a btrfs, where other bytes than its checksums know
        take the file's place on the disk."""
        with open(path, "rb") as f:
            start = f.read(512)
        disk = self.on_disk("btrfs", "loop,noatime,max_inline=0")
        with open(disk, "r+b") as f:
            with mmap.mmap(f.fileno(), 0) as m:
                at, hits = m.find(start), 0
                while at >= 0:
                    if at % 4096 == 0:
                        m[at:at + 4] = bytes(b ^ 255 for b in m[at:at + 4])
                        hits += 1
                    at = m.find(start, at + 1)
        if hits != 1:
            raise Failure("%d places on the disk hold the file" % hits)
        sh("mount", "-o", "loop,noatime", disk, self.root)
        try:
            with open(path, "rb") as f:
                f.read()
        except OSError:
            self.starts = False
            return
        raise Failure("the file can still be read")

    # other images

    def document(self, ns, value, word):
        """A blob of these bytes, or of this as JSON, with its record; a descriptor of it. word: what a reader calls it."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with open(self.blob(digest), "wb") as f:
            f.write(data)
        os.chmod(self.blob(digest), 0o444)
        at = ["v1", ns, "content", "blob", digest]
        self.meta({"op": "put", "path": at + ["createdat"], "hex": TIME}, {"op": "put", "path": at + ["updatedat"], "hex": TIME},
                  {"op": "put", "path": at + ["size"], "varint": len(data)})
        self.names[digest] = word
        media = value.get("mediaType") if isinstance(value, dict) else None
        return {"mediaType": media or "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(data)}

    def manifest_of(self, name):
        """An image's manifest, and its config."""
        image = self.images[name]
        return json.loads(image.blobs[image.manifest]), json.loads(image.blobs[image.config])

    def point(self, name, target):
        """The image's record names another target."""
        image = self.images[name]
        at = ["v1", image.namespace, "images", laboratory.reference(image), "target"]
        self.meta(put(at + ["digest"], target["digest"]), put(at + ["mediatype"], target["mediaType"]))

    def indexes(self, name, count, ways=1):
        """The image's manifest inside so many indexes, each of which names the next one so many times."""
        image, media = self.images[name], "application/vnd.oci.image.index.v1+json"
        target = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest,
                  "size": len(image.blobs[image.manifest])}
        for n in range(count):
            target = self.document(image.namespace, {"schemaVersion": 2, "mediaType": media, "manifests": [target] * ways},
                                   "%s.index%d" % (name, n + 1))
        self.point(name, target)

    # things that pulls leave

    def ingest(self, ns, digest, data, total=None, kind="layer", record=True, ref=None, has_ref=True):
        client = "%s-%s" % (kind, digest)
        ref = ref or "%s/1/%s" % (ns, client)
        where = self.path(CONTENT, "ingest", hashlib.sha256(ref.encode()).hexdigest())
        os.mkdir(where)
        os.chmod(where, 0o755)
        files = {"startedat": b"2026-01-01T00:00:00.000000001Z", "updatedat": b"2026-01-01T00:00:01.000000001Z"}
        if has_ref:
            files["ref"] = ref.encode()
        if total:
            files["total"] = b"%d" % total
        if data is not None:
            files["data"] = data
        for name, text in files.items():
            with open(os.path.join(where, name), "wb") as f:
                f.write(text)
        if record:
            self.ingest_record(ns, client, ref)
        return where

    def journal(self, *ingests):
        """A journal that vouches for the first n bytes of downloads: (directory, n), as containerd-fsck-journal(5) has it."""
        st = os.stat(ROOT)
        lines = ["journal 2", "store %d -" % st.st_ino]
        for where, n in ingests:
            with open(os.path.join(where, "data"), "rb") as f, open(os.path.join(where, "ref"), encoding="ascii") as ref:
                lines.append("ingest %s %d %d %s" % (os.path.basename(where), n, wide_sum(f.read(n)), ref.read()))
        os.mkdir(self.path(OWN))
        os.chmod(self.path(OWN), 0o700)
        with open(self.path(OWN, "journal"), "w") as f:
            for number, line in enumerate(lines, 1):
                line = "%d %s" % (number, line)
                f.write("%s %016x\n" % (line, fnv1a(line.encode())))

    def ingest_record(self, ns, client, ref=None, expected=None):
        at = ["v1", ns, "content", "ingests", client]
        more = [put(at + ["expected"], expected)] if expected else []
        self.meta(put(at + ["ref"], ref or "%s/1/%s" % (ns, client)), {"op": "setseq", "path": at, "sequence": 1}, *more)

    def lease(self, ns, name, expires=True, flat=False, **holds):
        at = ["v1", ns, "leases", name]
        more = [put(at + ["labels", "containerd.io/gc.expire"], EXPIRES)] if expires else []
        more += [put(at + ["labels", "containerd.io/gc.flat"], EXPIRES)] if flat else []
        for what, keys in holds.items():
            for key in keys:
                more.append(put(at + (["snapshots", "overlayfs"] if what == "snapshots" else [what]) + [key], ""))
        self.meta({"op": "put", "path": at + ["createdat"], "hex": TIME}, *more)

    def snapshot(self, ns, key, number, parent=None, kind=2, where="both", directory=True, labels=None):
        """An active snapshot as prepare leaves it: records in one database or both, and its directory."""
        backend_key = "%s/%d/%s" % (ns, number, key)
        ids = [int(n) for n in os.listdir(self.path(OVERLAY_DIR, "snapshots")) if n.isdigit()]
        made = max(ids) + 1
        if where in ("both", "meta"):
            at = ["v1", ns, "snapshots", "overlayfs", key]
            ops = [put(at + ["name"], backend_key), {"op": "put", "path": at + ["createdat"], "hex": TIME},
                   {"op": "put", "path": at + ["updatedat"], "hex": TIME},
                   {"op": "setseq", "path": at[:4], "sequence": number}]
            if parent:
                ops += [put(at + ["parent"], parent), put(at[:4] + [parent, "children", key], "")]
            self.meta(*ops)
        if where in ("both", "overlay"):
            at = ["v1", "snapshots", backend_key]
            ops = [{"op": "put", "path": at + ["id"], "uvarint": made},
                   {"op": "put", "path": at + ["kind"], "hex": "%02x" % kind},
                   {"op": "put", "path": at + ["createdat"], "hex": TIME},
                   {"op": "put", "path": at + ["updatedat"], "hex": TIME},
                   {"op": "setseq", "path": at[:2], "sequence": made}]
            if parent:
                parent_key = self.key_of(ns, parent)
                parent_id = int(self.id_of(ns, parent))
                ops += [put(at + ["parent"], parent_key),
                        put(["v1", "parents", {"hex": "%02x00%02x" % (parent_id, made)}], backend_key)]
            self.overlay(*ops)
        place = self.path(OVERLAY_DIR, "snapshots", str(made))
        if directory:
            for name, mode in (("", 0o700), ("fs", 0o755), ("work", 0o711)):
                os.mkdir(os.path.join(place, name))
                os.chmod(os.path.join(place, name), mode)
        return place

    # names and what they stand for

    def share(self, ns, image, layers, source=True):
        """Records in ns of an image's manifest, config and so many of its layers, whose blobs are here for another namespace."""
        blobs = {d: os.path.getsize(self.blob(d)) for d in [image.manifest, image.config, *image.layers[:layers]]}
        for digest, size in blobs.items():
            at = ["v1", ns, "content", "blob", digest]
            labels = [put(at + ["labels", "containerd.io/distribution.source.registry"], "a/b")] if source else []
            if digest == image.manifest:
                labels += [put(at + ["labels", "containerd.io/gc.ref.content.%d" % i], d)
                           for i, d in enumerate([image.config, *image.layers])]
            self.meta({"op": "put", "path": at + ["createdat"], "hex": TIME}, {"op": "put", "path": at + ["updatedat"], "hex": TIME},
                      {"op": "put", "path": at + ["size"], "varint": size}, *labels)

    def name(self, ns, name, target, pinned=False, media_type="application/vnd.oci.image.manifest.v1+json"):
        at = ["v1", ns, "images", name]
        self.meta({"op": "put", "path": at + ["createdat"], "hex": TIME}, {"op": "put", "path": at + ["updatedat"], "hex": TIME},
                  put(at + ["target", "digest"], target), put(at + ["target", "mediatype"], media_type),
                  {"op": "put", "path": at + ["target", "size"], "varint": 1000},
                  *([put(at + ["labels", "io.cri-containerd.pinned"], "pinned")] if pinned else []))

    # what CRI leaves

    def cri(self, kind, name, called, sandbox=None, number=None, metadata=True, directory=True, status=True):
        """The record of a pod's container or sandbox, as containerd's CRI plugin makes it. number: of its own layer, on the image
        three; metadata: False, or bytes of the extension."""
        at = ["v1", "k8s.io", "containers", name]
        inner = {"ID": name, "Name": called, "Config": {"metadata": {"name": called.split("_")[0]}}}
        if kind == "container":
            inner["SandboxID"] = sandbox
        ops = [{"op": "put", "path": at + ["createdat"], "hex": TIME}, {"op": "put", "path": at + ["updatedat"], "hex": TIME},
               put(at + ["image"], laboratory.REGISTRY + "/golden/three:latest"), put(at + ["snapshotter"], "overlayfs"),
               put(at + ["snapshotKey"], name), put(at + ["runtime", "name"], "io.containerd.runc.v2"),
               put(at + ["labels", "io.cri-containerd.kind"], kind)]
        if metadata is True:
            metadata = any_of("github.com/containerd/cri/pkg/store/%s/Metadata" % kind, {"Version": "v1", "Metadata": inner})
        if metadata:
            ops.append({"op": "put", "path": at + ["extensions", "io.cri-containerd.%s.metadata" % kind], "hex": metadata.hex()})
        self.meta(*ops)
        if number:
            self.snapshot("k8s.io", name, number, parent=self.images["three"].chain[1])
        if directory:
            place = self.path("io.containerd.grpc.v1.cri/%s" % ("containers" if kind == "container" else "sandboxes"), name)
            os.makedirs(place)
            if kind == "container" and status:
                with open(place + "/status", "w") as f:
                    f.write('{"Version":"v1","Pid":0,"CreatedAt":1,"StartedAt":2,"FinishedAt":3,"ExitCode":0}')

    # how the tool is run

    def same_boot(self):
        self.state = True

    def run(self, verb, tool=None, env=None, cwd=None):
        """(exit status, console, report)"""
        shutil.rmtree("/run/containerd", ignore_errors=True)
        if self.state:
            os.mkdir("/run/containerd")
        report = "/run/tmp/report.json"
        with contextlib.suppress(OSError):
            os.unlink(report)
        after = [] if self.state else ["--after-boot"]  # tests/boot is about what proves it
        p = subprocess.run([tool or laboratory.TOOL, verb, "--threads", "2", "--json", report, *after, *self.args, self.root],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=laboratory.HANGS, env=env,
                           stdin=subprocess.DEVNULL)
        try:
            with open(report) as f:
                parsed = json.load(f)
        except (OSError, ValueError) as e:
            parsed = {"unreadable": str(e)}
        return p.returncode, p.stdout.decode(errors="replace"), parsed


def any_of(type_url, value):
    """google.protobuf.Any around JSON."""
    def field(number, data):
        n, size = len(data), b""
        while n > 127:
            size, n = size + bytes([n & 127 | 128]), n >> 7
        return bytes([number << 3 | 2]) + size + bytes([n]) + data
    return field(1, type_url.encode()) + field(2, json.dumps(value).encode())


TIME = "010000000ee296614400000000ffff"  # 2026-11-23T16:31:00Z
EXPIRES = "2026-11-24T16:31:00Z"


def put(path, text):
    return {"op": "put", "path": path, "text": text}


def remove(path):
    return {"op": "delete-bucket", "path": path}


def remove_key(path):
    return {"op": "delete", "path": path}


def told(status, console, report, known):
    """One run as text for review."""
    out = ["exit %s" % status]
    for f in report.get("findings", []):
        out.append(json.dumps(f, ensure_ascii=False))
    for i in report.get("images", []):
        if i["verdict"] != "whole" or i["damaged"] or i["name_dropped"]:
            out.append(json.dumps(i, ensure_ascii=False))
    if report.get("failure"):
        out.append("failure: %s" % report["failure"])
    out += ["", *console.rstrip("\n").split("\n")]
    # where a page lies in a database, and how many it has, is of the run that wrote it
    out = [re.sub(r'(\bpage |"got": |ends at |before its )\d+', r"\1N", line) if re.search(r'"code": "01|^  01| was broken: ', line) else line
           for line in out]
    return words("\n".join(out) + "\n", known)


# ------------------------------------------------------------------------------------------- made once

def build_boltool():
    """Why not, or None."""
    go = "/usr/share/gocode"
    if not shutil.which("go") or not os.path.isdir(go + "/src/go.etcd.io/bbolt"):
        return "needs golang-go golang-github-coreos-bbolt-dev golang-golang-x-sys-dev"
    os.makedirs(BUILT, exist_ok=True)
    source = os.path.join(HERE, "boltool.go")
    if os.path.exists(BOLTOOL) and os.path.getmtime(BOLTOOL) > os.path.getmtime(source):
        return None
    new = BOLTOOL + "." + os.urandom(4).hex()  # two lanes may build, each with process numbers of its own
    sh("go", "build", "-o", new, source,
       env=dict(os.environ, GO111MODULE="off", GOPATH=go, GOCACHE=os.path.join(BUILT, "go"), GOFLAGS=""))
    os.rename(new, BOLTOOL)
    return None


def make_base(lab, disk, known):
    """Real containerd fills a disk; runs in a process of its own."""
    laboratory.isolate()
    with open(disk, "wb") as f:
        f.truncate(96 << 20)
    sh("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-N", "16384", disk)  # no cut here: syncing costs nothing
    sh("mount", "-o", "loop,noatime", disk, PLACE)
    registry = Registry(lab).start()
    for image in known.values():
        registry.push(image)
    daemon = Containerd(lab, "1.6", BASE).start()
    try:
        for image in known.values():
            daemon.pull(image.namespace, image)
        daemon.ctr("version")  # makes the daemon write its uuid file
        three = known["three"]
        reference = laboratory.reference(three)
        for name in (reference.split(":latest")[0] + "@" + three.target, three.config):
            daemon.ctr("images", "tag", reference, name, ns="k8s.io")
        for name in (reference, reference.split(":latest")[0] + "@" + three.target, three.config):
            daemon.ctr("images", "label", name, "io.cri-containerd.image=managed", ns="k8s.io")
        daemon.ctr("containers", "create", laboratory.reference(known["one"]), "box", ns="default")
        daemon.ctr("containers", "create", reference, "pod", ns="k8s.io")
        for ns, key in (("default", "box"), ("k8s.io", "pod")):
            where = os.path.join(BASE, daemon.upper(ns, key))
            with open(os.path.join(where, "precious"), "w") as f:
                f.write("written in %s\n" % key)
        daemon.ctr("leases", "create", "--id", "kept-for-ever", "--expires", "0s", ns="default")
        # to remove a name so waits for the collection that the rest brought about
        daemon.ctr("images", "tag", laboratory.reference(known["two"]), "collect", ns="default")
        daemon.ctr("images", "rm", "--sync", "collect", ns="default")
    finally:
        daemon.stop()
        registry.stop()
    laboratory.umount(PLACE)


def in_child(body):
    """What body returned or raised, from a process of its own."""
    reader, writer = multiprocessing.Pipe(False)

    def run():
        try:
            writer.send((body(), None))
        except Failure as e:
            writer.send((None, str(e)))
        except BaseException:
            writer.send((None, traceback.format_exc()))
        writer.close()
        os._exit(0)
    p = multiprocessing.Process(target=run)
    p.start()
    writer.close()
    try:
        result, why = reader.recv()
    except EOFError:
        result, why = None, "the process died"
    p.join()
    if why:
        raise Failure(why)
    return result


def fresh(copy=None):
    """The base store again, undamaged; or another copy of it."""
    if os.path.ismount(ROOT):
        laboratory.umount(ROOT)
    sh("sh", "-c", "rm -rf -- %s && cp -a --sparse=auto %s %s" % (ROOT, copy or BASE, ROOT))


def worker(disk, body):
    """A process with a clone of the disk, mounted; body(item) for each item of the pipe."""
    ours_end, theirs = multiprocessing.Pipe()

    def run():
        ours_end.close()
        try:
            laboratory.isolate()
            mine = "%s.%d" % (disk, os.getpid())
            sh("cp", "--sparse=always", disk, mine)
            sh("mount", "-o", "loop,noatime", mine, PLACE)
            theirs.send("ready")
        except BaseException as e:
            theirs.send(str(e))
            os._exit(1)
        while True:
            try:
                item = theirs.recv()
            except EOFError:
                break
            try:
                theirs.send((body(item), None))
            except Failure as e:
                theirs.send((None, str(e)))
            except BaseException:
                theirs.send((None, traceback.format_exc().strip()[-400:]))
        with contextlib.suppress(Failure):
            laboratory.umount(PLACE)
        os._exit(0)
    p = multiprocessing.Process(target=run)
    p.start()
    theirs.close()
    first = ours_end.recv()
    if first != "ready":
        raise Failure(first)
    return p, ours_end


def spread(disk, items, body, count=None):
    """(item, result, why) in the order of items, worked on by as many processes as there are processors."""
    count = min(len(items), count or len(os.sched_getaffinity(0)))
    workers = [worker(disk, body) for _ in range(count)]
    results, todo, busy = {}, list(enumerate(items)), {}
    told_so_far = 0
    try:
        while todo or busy:
            for p, pipe in workers:
                if todo and pipe not in busy:
                    n, item = todo.pop(0)
                    busy[pipe] = n
                    pipe.send(item)
            for pipe in multiprocessing.connection.wait(list(busy)):
                n = busy.pop(pipe)
                try:
                    results[n] = pipe.recv()
                except EOFError:
                    results[n] = (None, "the test process died")
                    workers = [(p, q) for p, q in workers if q is not pipe]
                    workers.append(worker(disk, body))
            while told_so_far in results:
                yield (items[told_so_far], *results.pop(told_so_far))
                told_so_far += 1
    finally:
        for p, pipe in workers:
            pipe.close()
        for p, pipe in workers:
            p.join()


@contextlib.contextmanager
def session(name):
    """(laboratory, images, disk) of a run, or None after a skip was printed."""
    laboratory.enter(name)
    lab = laboratory.Lab(name)
    why = lab.missing() or (None if lab.version("1.6") else "containerd 1.6 is not to be had") or build_boltool()
    if not why and not laboratory.have_tool():
        why = "build/containerd-fsck is not built"
    if why:
        laboratory.skip(name, why)
        yield None
        return
    lab.sweep()
    try:
        memory = os.path.join(lab.work, "memory")
        os.mkdir(memory)
        sh("mount", "-t", "tmpfs", "-o", "size=2g", "golden", memory)
        laboratory.new_boot()
        known = make_images()
        disk = os.path.join(memory, "disk")
        in_child(lambda: make_base(lab, disk, known))
        yield lab, known, disk
    finally:
        lab.close()


def cases():
    return sorted(n for n in os.listdir(HERE) if os.path.exists(os.path.join(HERE, n, "recipe")))


def cook(case, known):
    """The base store with a case's damage."""
    fresh()
    s = Store(known)
    with open(os.path.join(HERE, case, "recipe")) as f:
        code = compile(f.read(), case + "/recipe", "exec")
    exec(code, {"s": s, "put": put, "remove": remove, "remove_key": remove_key, "os": os, "shutil": shutil, "sh": sh,
                "META": META, "OVERLAY": OVERLAY, "OVERLAY_DIR": OVERLAY_DIR, "CONTENT": CONTENT, "UUID": UUID,
                "hashlib": hashlib, "TIME": TIME, "any_of": any_of, "reference": laboratory.reference})
    return s
