# SPDX-License-Identifier: MIT
"""The hostile stores, a function each.

Each begins with a store that has the image hostile/good, of five layers, and adds what the sentence says. What then must be said of
its own images is written beside it:

  verdict   of each after the repair; "whole" where nothing is wrong with it, however strange it is
  first     the same before the repair, where that is another
  bound     its line on the console must say "unchecked: " and why
  changes   what the repair may change beside the damaged file: paths below the root, with all that is in them
  halts     the store cannot be worked with: status 8, this is said, and nothing is written
  refuses   a repair says this, ends with status 8 and writes nothing
  later     what is to be hashed is more than there is time for, and nothing tells which is the good one's: a later run may be the one that
            comes to it, for it begins with what was not looked at
  empty     the store has no good image yet: the recipe pulls it

An image that claims the good one's layers shares their snapshots, and is damaged with it before the repair (CLAIM).
"""

import contextlib
import inspect
import os
import random
import shutil
import socket

from golden import CONTENT, EXPIRES, META, OVERLAY, OVERLAY_DIR, OWN, TIME, UUID, put, remove_key
from lab import sh
from pieces import *  # every recipe is written in its words

CLAIM = {"verdict": ("whole", "unverified"), "first": ("whole", "unverified", "damaged")}
HEALED = {"first": ("damaged",)}
UNCHECKED = {"verdict": ("unverified",), "bound": True}
KINDS = {}


class Kind:
    def __init__(self, function, sentence, verdict=("whole",), first=None, bound=False, changes=(), halts=None, refuses=None,
                 empty=False, later=False, fails=None, left=None, budget=None):
        """fails: what of the promise is known not to hold yet; it is tried by name alone, or with all. left: why things stay that nothing
        could be proved of. budget: seconds, where 5 are too few beside other work."""
        self.name, self.function, self.sentence = function.__name__.replace("_", "-"), function, sentence
        self.verdict, self.first, self.bound = verdict, first or verdict, bound
        self.changes, self.halts, self.refuses, self.empty, self.later = changes, halts, refuses, empty, later
        self.fails, self.left, self.budget = fails, left, budget
        self.code = inspect.getsource(function)


def kind(sentence, **more):
    def add(function):
        made = Kind(function, sentence, **more)
        KINDS[made.name] = made
        return function
    return add


ONE = plain(archive(entry(b"one", b"1")))  # a small layer
HUGE = 1 << 62
GIB = 1 << 30
LIMIT = 64 * GIB  # bytes, what one layer may decompress to: LIMIT_LAYER_BYTES


def small(name, **more):
    return Picture(name, [(ONE[0], "gzip")], [ONE[1]], **more)


# ------------------------------------------------------------------------------------------------------------------- holes

@kind("Five layers of the good image are claimed by a hole of 2^62 bytes, in pax records of the first kind (0.0).", **CLAIM)
def hole_pax_00(s):
    s.squat(archive(sparse_pax_00(HUGE)), "tar")


@kind("Five layers of the good image are claimed by a hole of 2^62 bytes, in pax records of the second kind (0.1).", **CLAIM)
def hole_pax_01(s):
    s.squat(archive(sparse_pax_01(HUGE)), "tar")


@kind("Five layers of the good image are claimed by a hole of 2^62 bytes, in a map before the data (pax, 1.0).", **CLAIM)
def hole_pax_10(s):
    s.squat(archive(sparse_pax_10(HUGE)), "tar")


@kind("Five layers of the good image are claimed by a hole of 2^62 bytes, as GNU tar writes it.", **CLAIM)
def hole_gnu(s):
    s.squat(archive(sparse_gnu(HUGE)), "tar")


@kind("A hole of 2^62 bytes behind 100,000 blocks of pieces that have no bytes, claimed.", **CLAIM)
def hole_gnu_pieces(s):
    s.squat(*s.kept("blob", lambda: (packed(sparse_gnu(HUGE, extensions=100000))[0], "gzip")))


@kind("10,000 holes of 2^40 bytes each in one archive of 15 MB, claimed.", **CLAIM)
def holes_many(s):
    s.squat(*s.kept("blob", lambda: (packed(sparse_pax_01(1 << 40, b"sparse-%d" % n) for n in range(10000))[0], "gzip")))


@kind("Holes of 1 MiB, in each way that containerd unpacks: it refuses those of GNU tar.")
def holes_small(s):
    data = archive(*(way(1 << 20, b"hole-%d" % n) for n, way in enumerate((sparse_pax_00, sparse_pax_01, sparse_pax_10))))
    s.pull(Picture(s.own, [(data, "tar")], [digest_of(data)]))


@kind("A layer that is a hole of 200 MiB, unpacked, and its directory lost where the disk has room for 60 MiB: it is put back as a hole.",
      **HEALED)
def hole_without_room(s):
    data = archive(sparse_pax_01(200 << 20))
    image = Picture(s.own, [(data, "tar")], [digest_of(data)])
    s.pull(image)
    shutil.rmtree(s.damaged(os.path.dirname(s.files_of(image, 0))))
    s.fill(60)
    s.room = 30


@kind("A layer that is a hole of 2^40 bytes, and the same hole in its snapshot.", **CLAIM)
def hole_unpacked(s):
    data = archive(sparse_pax_01(1 << 40))
    image = Picture(s.own, [(data, "tar")], [digest_of(data)])
    s.fetch(image)
    where = s.committed(image)[0]
    with open(where + "/sparse", "wb") as f:
        f.truncate(1 << 40)
    os.utime(where + "/sparse", (WHEN, WHEN))


# ------------------------------------------------------------------------------------------------------------------- bombs

@kind("A zstd blob of 2 MB that unpacks to 60 GiB of zeros, below the bound, claims five layers of the good image.", **CLAIM)
def bomb_zstd_below(s):
    s.squat(zstd_frame(archive(entry(b"bomb", b"1")), LIMIT - 4 * GIB), "zstd")


@kind("A zstd blob that unpacks to 66 GiB of zeros, above the bound, claims five layers of the good image.", **CLAIM)
def bomb_zstd_above(s):
    s.squat(zstd_frame(archive(entry(b"bomb", b"1")), LIMIT + 2 * GIB), "zstd")


@kind("A zstd blob that unpacks to 4 GiB of zeros claims five layers of the good image, and a sixth that it is.", **CLAIM)
def bomb_zstd_groups(s):
    start = archive(entry(b"bomb", b"1"))
    blob = zstd_frame(start, 4 * GIB)
    s.squat(blob, "zstd", last=(blob, "zstd", s.kept("diff", lambda: zeros_digest(start, 4 * GIB))))


@kind("A zstd blob that holds one file of 66 GiB of zeros claims five layers of the good image.", **CLAIM)
def bomb_zstd_file(s):
    size = LIMIT + 2 * GIB
    s.squat(zstd_frame(head(b"bomb", size), size + 1024), "zstd")


@kind("A gzip blob of 8 MB that unpacks to 8 GiB of zeros claims five layers of the good image.", **CLAIM)
def bomb_gzip_below(s):
    s.squat(gzip_zeros(archive(entry(b"bomb", b"1")), 8 << 10), "gzip")


@kind("A gzip blob of 66 MB that unpacks to 66 GiB of zeros, above the bound, claims five layers of the good image.", **CLAIM)
def bomb_gzip_above(s):
    s.squat(gzip_zeros(archive(entry(b"bomb", b"1")), 66 << 10), "gzip")


@kind("A zstd blob that unpacks to 66 GiB, above the bound, is the only layer of an image that is unpacked.", **UNCHECKED)
def bomb_unpacked(s):
    blob = zstd_frame(archive(entry(b"bomb", b"1")), LIMIT + 2 * GIB)
    image = Picture(s.own, [(blob, "zstd")], ["sha256:" + "b" * 64])
    s.fetch(image)
    with open(s.committed(image)[0] + "/bomb", "wb") as f:
        f.write(b"1")


@kind("A layer whose zstd frame wants a window of 256 MiB, above the bound, unpacked by containerd.", **UNCHECKED)
def window_zstd(s):
    data = archive(entry(b"window", b"1"))
    s.pull(Picture(s.own, [(zstd_frame(data, window=0x90), "zstd")], [digest_of(data)]))


@kind("Ten layers whose zstd frames want a window of 128 MiB each, the bound: memory stays what it is without them.", **CLAIM)
def window_zstd_bound(s):
    some = [archive(entry(b"window-%d" % n, b"%d" % n * 100)) for n in range(10)]
    s.pull(Picture(s.own, [(zstd_frame(d, 1 << 20, window=0x88), "zstd") for d in some], [zeros_digest(d, 1 << 20) for d in some]))


@kind("1,000,000 gzip members of nothing, behind a layer that is unpacked.")
def members_of_nothing(s):
    data = archive(entry(b"nothing", b"1"))
    blob = gzip.compress(data, 6, mtime=0) + gzip.compress(b"", 6, mtime=0) * 1000000
    s.pull(Picture(s.own, [(blob, "gzip")], [digest_of(data)]))


@kind("500,000 zstd frames of nothing and as many that are to be skipped, claimed for five layers of the good image.", **CLAIM)
def frames_of_nothing(s):
    data = archive(entry(b"nothing", b"1"))
    s.squat(zstd_frame(data) + (zstd_frame(b"") + b"\x50\x2a\x4d\x18" + bytes(4)) * 500000, "zstd")


@kind("1 GiB of zeros behind the end of an archive, unpacked by containerd.")
def zeros_behind(s):
    data = archive(entry(b"zeros", b"1"))
    blob = gzip_zeros(data, 1 << 10)
    s.pull(Picture(s.own, [(blob, "gzip")], [s.kept("diff", lambda: zeros_digest(data, GIB))]))


@kind("One small bomb is 1,000 layers with diff IDs of their own, all unpacked, on top of the good image's.", **CLAIM)
def groups(s):
    r = random.Random("groups")
    blob = zstd_frame(archive(entry(b"bomb", b"1")), GIB)
    made = ["sha256:" + r.randbytes(32).hex() for _ in range(1000)]
    image = Picture(s.own, [(b, "gzip") for b in s.good.packed] + [(blob, "zstd")] * 1000, s.good.diffs + made, first=True)
    s.fetch(image)
    s.committed(image, below=len(s.good.diffs))


# ------------------------------------------------------------------------------------------------------------ what labels say

@kind("Labels say that a bomb is the second layer of the good image, and that the good image's layers are other ones.", **CLAIM)
def labels_that_lie(s):
    blob = zstd_frame(archive(entry(b"bomb", b"1")), 16 * GIB)
    image = Picture(s.own, [(ONE[0], "gzip"), (blob, "zstd")], [ONE[1], "sha256:" + "c" * 64])
    s.fetch(image)
    s.stop()
    at = lambda ns, digest: ["v1", ns, "content", "blob", digest]
    label = lambda ns, digest, says: put(at(ns, digest) + ["labels", "containerd.io/uncompressed"], says)
    operations = [label("default", image.layers[1], s.good.diffs[1])]
    turned = s.good.diffs[1:] + s.good.diffs[:1]
    for digest, packed_layer, says in zip(s.good.layers, s.good.packed, turned):
        operations += [label("default", digest, says), label("tenant", digest, image.diffs[1]),
                       {"op": "put", "path": at("tenant", digest) + ["size"], "varint": len(packed_layer)},
                       {"op": "put", "path": at("tenant", digest) + ["createdat"], "hex": TIME},
                       {"op": "put", "path": at("tenant", digest) + ["updatedat"], "hex": TIME}]
    s.meta(*operations)


@kind("100,000 labels of one blob, each of which says that it refers to another.")
def labels_100000(s):
    s.pull(small(s.own))
    s.stop()
    at = ["v1", "default", "content", "blob", digest_of(ONE[0]), "labels"]
    s.meta(*(put(at + ["containerd.io/gc.ref.content.%06d" % n], "sha256:%064x" % n) for n in range(100000)))


@kind("Who pulled the good image's layers first gave their snapshots labels, by annotations, that owners are mapped.", empty=True,
      first=("damaged",))
def labels_of_annotations(s):
    maps = {"containerd.io/snapshot/%sidmapping" % k: "0:0:65536" for k in "ug"}
    s.pull(Picture(s.own, [(b, "gzip") for b in s.good.packed] + [(ONE[0], "gzip")], s.good.diffs + [ONE[1]], annotations=maps))
    s.pull(s.good, hostile=False)


# -------------------------------------------------------------------------------------------------------------------- JSON

@kind("A blob of 2 MB of 1,000,000 brackets, one in the other, beside the layers.")
def json_deep(s):
    s.pull(small(s.own, extra=[b'{"a":' + b"[" * 1000000 + b"]" * 1000000 + b"}"]))


@kind("A config that is 1,000,000 brackets, one in the other, which containerd reads no more than we do.", verdict=("unverified",))
def json_deep_config(s):
    one = s.one()
    config = s.document(b'{"a":' + b"[" * 1000000 + b"]" * 1000000 + b"}", CONFIG)
    s.name_document(s.document(s.manifest(config, [one]), MANIFEST))


@kind("Nine blobs of 3 MB with 1,000,000 descriptors each, beside the layers.")
def json_wide(s):
    wide = b'{"manifests":[' + b",".join([b"{}"] * 1000000) + b"]}"
    s.pull(small(s.own, extra=[wide + b" " * n for n in range(9)]))


@kind("An index with 1,100,000 descriptors of nothing.", **UNCHECKED)
def json_wide_index(s):
    s.name_document(s.document(b'{"mediaType":"%s","manifests":[' % INDEX.encode() + b",".join([b"{}"] * 1100000) + b"]}", INDEX))


@kind("A blob with 1,000,000 equal keys, and one with 500,000 that differ, beside the layers.")
def json_keys(s):
    s.pull(small(s.own, extra=[b"{" + b",".join([b'"a":1'] * 1000000) + b"}", b"{" + b",".join(b'"%x":1' % n for n in range(500000)) + b"}"]))


@kind("A blob of 8 MB that is one string of escapes, and one that never ends its string, beside the layers.")
def json_strings(s):
    s.pull(small(s.own, extra=[b'{"a":"' + b"\\u0000" * 1350000 + b'"}', b'{"a":"' + b"\\" * 8000000]))


@kind("An index in 31 others, each of which names the next 4,000 times.", **CLAIM)
def index_fan(s):
    s.indexes(4000, 31)


@kind("An index in 30 others, each of which names the next twice: 2^31 ways to one manifest.", **CLAIM)
def index_diamonds(s):
    s.indexes(2, 30)


@kind("An index in 60 others, each of which names the next twice, more deep than is followed.", **UNCHECKED)
def index_deep(s):
    s.indexes(2, 60)


@kind("A manifest of 4,096 layers, all of one blob.")
def manifest_4096(s):
    one = s.one()
    config = s.document(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [ONE[1]] * 4096}}), CONFIG)
    s.name_document(s.document(s.manifest(config, [one] * 4096), MANIFEST))


@kind("A manifest of 97,000 layers in less than 8 MiB.", **UNCHECKED)
def manifest_97000(s):
    one = s.one()
    config = s.document(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [ONE[1]] * 97000}}), CONFIG)
    s.name_document(s.document(s.manifest(config, [{"digest": one["digest"]}] * 97000), MANIFEST))


@kind("A manifest of 100,000 layers, longer than what is read of a document.", **UNCHECKED)
def manifest_100000(s):
    one = s.one()
    config = s.document(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [ONE[1]]}}), CONFIG)
    s.name_document(s.document(s.manifest(config, [one] * 100000), MANIFEST))


@kind("A config of 100,000 diff IDs, for one layer.", verdict=("unverified", "whole"))
def config_100000(s):
    r, one = random.Random("config"), s.one()
    diffs = [ONE[1]] + ["sha256:" + r.randbytes(32).hex() for _ in range(99999)]
    config = s.document(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}), CONFIG)
    s.name_document(s.document(s.manifest(config, [one]), MANIFEST))


# ----------------------------------------------------------------------------------------------------------------- records

@kind("10,000 names of the good image.", first=("damaged",))
def names_10000(s):
    s.stop()
    target = {"digest": s.good.target, "mediaType": MANIFEST, "size": len(s.good.blobs[s.good.target])}
    s.meta(*(op for n in range(10000) for op in s.naming("registry.example/hostile/name-%05d:latest" % n, target, listed=n % 1000 == 0)))


@kind("2,000 images, each with a manifest and a config of its own, of one layer.")
def images_2000(s):
    s.pull(small(s.own))
    s.stop()
    one = {"mediaType": KIND["gzip"], "digest": digest_of(ONE[0]), "size": len(ONE[0])}
    operations = []
    for n in range(2000):
        config, more = s.document_later(text({"architecture": ARCH, "os": "linux", "number": n, "rootfs": {
            "type": "layers", "diff_ids": [ONE[1]]}}), CONFIG, {"containerd.io/gc.ref.snapshot.overlayfs": ONE[1]})
        manifest, rest = s.document_later(s.manifest(config, [one]), MANIFEST, {})
        operations += more + rest + s.naming("registry.example/hostile/image-%04d:latest" % n, manifest, listed=n % 100 == 0)
    s.meta(*operations)


@kind("An image of 400 layers, one on the other.")
def chain_400(s):
    some = [plain(archive(entry(b"layer-%d" % n, b"%d" % n))) for n in range(400)]
    s.pull(Picture(s.own, [(b, "gzip") for b, _ in some], [d for _, d in some]))


@kind("Two snapshots in metadata.db, each of which says that the other is its parent.", changes=(OVERLAY,), later=True)
def parents_in_a_circle(s):
    s.stop()
    keys = ["default/%d/circle-%d" % (900 + n, n) for n in range(2)]
    operations = []
    for n, key in enumerate(keys):
        operations += s.backend_record(key, 900 + n, 3, (keys[1 - n], 901 - n))
    s.meta({"op": "setseq", "path": ["v1", "default", "snapshots", "overlayfs"], "sequence": 1000})
    s.overlay(*operations, {"op": "setseq", "path": ["v1", "snapshots"], "sequence": 1000})


@kind("100,000 snapshots that metadata.db alone knows.", changes=(OVERLAY,))
def snapshots_100000(s):
    s.stop()
    s.meta({"op": "setseq", "path": ["v1", "default", "snapshots", "overlayfs"], "sequence": 200000})
    s.overlay(*(op for n in range(100000) for op in s.backend_record("default/%d/none-%06d" % (1000 + n, n), 1000 + n, 2)),
              {"op": "setseq", "path": ["v1", "snapshots"], "sequence": 200000})


@kind("100,000 leases, half of them of an earlier boot.", changes=(META,))
def leases_100000(s):
    s.stop()
    operations = []
    for n in range(100000):
        at = ["v1", "default", "leases", "lease-%06d" % n]
        operations.append({"op": "put", "path": at + ["createdat"], "hex": TIME})
        if n % 2:
            operations.append(put(at + ["labels", "containerd.io/gc.expire"], EXPIRES))
        operations.append(put(at + ["content", "sha256:%064x" % n], ""))
    s.meta(*operations)


@kind("10,000 names of an image whose config does not say what was unpacked, and 50,000 leases of an earlier boot.", changes=(META,))
def names_and_leases(s):
    image = small(s.own)
    s.pull(image)
    s.stop()
    operations = [remove_key(["v1", "default", "content", "blob", image.config, "labels", "containerd.io/gc.ref.snapshot.overlayfs"])]
    for n in range(10000):
        operations += s.naming("registry.example/hostile/name-%05d:latest" % n, {
            "mediaType": MANIFEST, "digest": image.target, "size": len(image.blobs[image.target])}, listed=n % 1000 == 0)
    for n in range(50000):
        at = ["v1", "default", "leases", "lease-%06d" % n]
        operations += [{"op": "put", "path": at + ["createdat"], "hex": TIME}, put(at + ["labels", "containerd.io/gc.expire"], EXPIRES),
                       put(at + ["snapshots", "overlayfs", "sha256:%064x" % n], "")]
    s.meta(*operations)


@kind("100,000 downloads of one byte that do not say of what.", changes=(CONTENT + "/ingest",),
      fails="on a busy machine 5 s do not suffice to read them")
def downloads_100000(s):
    s.stop()
    top = s.path(CONTENT, "ingest")
    os.makedirs(top, exist_ok=True)
    for n in range(100000):
        where = os.path.join(top, "%064x" % n)
        os.mkdir(where)
        with open(where + "/data", "wb", buffering=0) as f:
            f.write(b"1")


@kind("10,000 files between the blobs: half have a digest for a name and other bytes, half are called otherwise.",
      changes=(CONTENT + "/blobs",))
def strays_10000(s):
    s.stop()
    for n in range(10000):
        name = "%064x" % n if n % 2 else "stray \x1b[2J\n%d" % n
        with open(s.path(CONTENT, "blobs/sha256", name), "w") as f:
            f.write("stray")


@kind("Directories 3,000 deep between the blobs, in the downloads and in a snapshot that was being made.",
      changes=(CONTENT + "/blobs", CONTENT + "/ingest", OVERLAY_DIR + "/snapshots"))
def strays_deep(s):
    s.stop()
    os.makedirs(s.path(CONTENT, "ingest"), exist_ok=True)
    for top in (s.path(CONTENT, "blobs"), s.path(CONTENT, "blobs/sha256"), s.path(CONTENT, "ingest"), s.path(OVERLAY_DIR, "snapshots")):
        name = "new-17" if top.endswith("snapshots") else "e" * 64
        at = os.open(top, os.O_RDONLY)
        for n in range(3000):
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at, name = below, "d"
        with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at), "w") as f:
            f.write("at the bottom")
        os.close(at)


@kind("Leftovers that cannot be removed: an immutable file in each of 100.", changes=(OVERLAY_DIR + "/snapshots",))
def leftovers_that_stay(s):
    s.stop()
    for n in range(100):
        where = s.path(OVERLAY_DIR, "snapshots/rm-%d/fs" % (5000 + n))
        os.makedirs(where)
        with open(where + "/file", "w") as f:
            f.write("stuck")
        sh("chattr", "+i", where + "/file")


@kind("A full disk, and 40 MiB on it of what a repair had staged when it was killed.")
def staging_without_room(s):
    s.stop()
    where = s.path(OWN, "staging/fs")
    os.makedirs(where)
    os.chmod(s.path(OWN), 0o700)
    with open(where + "/big", "wb") as f:
        f.write(bytes(40 << 20))
    s.fill(0)


# ----------------------------------------------------------------------------------------------------------------- entries

@kind("A layer of 1,000,000 deletions of names that are not there.")
def deletions_1000000(s):
    blob, diff = s.kept("blob", lambda: packed(numbered(1000000, b".wh.file-%07d")))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("A layer of 50,000 deletions of names of the layer below.")
def deletions_over_names(s):
    some = s.kept("blobs", lambda: [packed(directory(b"dir"), numbered(50000, b"dir/file-%07d")), packed(numbered(50000, b"dir/.wh.file-%07d"))])
    s.pull(Picture(s.own, [(b, "gzip") for b, _ in some], [d for _, d in some]))


@kind("Names made and deleted by turns 100,000 times, which containerd refuses; claimed for five layers of the good image.", **CLAIM)
def deletions_by_turns(s):
    def make():
        both = zip(numbered(100000, b"dir/file-%07d"), numbered(100000, b"dir/.wh.file-%07d"))
        return packed(h for pair in both for h in pair)[0]
    s.squat(s.kept("blob", make), "gzip")


@kind("A directory of 10,000 entries, hidden 100,000 times in one layer.")
def opaque_100000(s):
    mark = head(b"dir/.wh..wh..opq")
    some = s.kept("blobs", lambda: [packed(directory(b"dir"), numbered(10000, b"dir/file-%07d")),
                                    packed(directory(b"dir"), numbered(10000, b"dir/more-%07d"), (mark for _ in range(100000)))])
    s.pull(Picture(s.own, [(b, "gzip") for b, _ in some], [d for _, d in some]))


@kind("100,000 names of one file.")
def links_100000(s):
    blob, diff = s.kept("blob", lambda: packed(entry(b"file", b"bytes"), numbered(100000, b"link-%07d", b"1", b"file")))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("One name made anew 200,000 times, as a file, a directory and a link by turns.")
def one_name_200000(s):
    three = entry(b"name", b"1") + entry(b"name", b"", b"2", b"/outside") + directory(b"name")
    blob, diff = s.kept("blob", lambda: packed(three for _ in range(66667)))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("Directories 1,900 deep, with a file at the bottom.")
def deep_1900(s):
    blob, diff = s.kept("blob", lambda: packed(entry(b"d/" * 1900 + b"file", b"bottom")))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("Names of 255 control characters, of invalid UTF-8 and of escape sequences; one of those files is empty.", **HEALED)
def names_for_a_terminal(s):
    control = bytes(b for b in range(1, 32)) * 8
    some = [control.ljust(255, b"\x7f")[:255], b"\xff\xfe\xc3\x28\x80" * 51, b"\x1b[2J\x1b[31mok\nclean: nothing is wrong",
            b"\xc2\x9b2J\xe2\x80\xaegnp.exe", b"\x1b]0;owned\x07"]
    data = archive(*(entry(name, b"bytes of %d" % n) for n, name in enumerate(some)))
    image = Picture(s.own, [(gzip.compress(data, mtime=0), "gzip")], [digest_of(data)])
    s.pull(image)
    top = os.fsencode(s.damaged(s.files_of(image, 0)))
    for name in some:
        os.truncate(os.path.join(top, name), 0)


@kind("Paths that lead over links: 40 of them, one after the other, up and down, and to directories outside.")
def links_in_paths(s):
    out = [directory(b"real"), entry(b"link-0", b"", b"2", b"real")]
    out += [entry(b"link-%d" % n, b"", b"2", b"link-%d" % (n - 1)) for n in range(1, 40)]
    out += [entry(b"link-39/file", b"over 40"), entry(b"a", b"", b"2", b"."), entry(b"/".join([b"a"] * 40) + b"/down", b"1"),
            directory(b"b"), entry(b"b/../" * 40 + b"up", b"1"), entry(b"outside", b"", b"2", s.outside.encode()),
            entry(b"above", b"", b"2", b"../../../../../../../.." + s.outside.encode())]
    data = archive(*out)
    s.pull(Picture(s.own, [(gzip.compress(data, mtime=0), "gzip")], [digest_of(data)]))


@kind("Files whose paths lead over links to a directory outside of the store, claimed for five layers of the good image.", **CLAIM)
def links_to_outside(s):
    target = s.outside.encode()
    out = [entry(b"loop", b"", b"2", b"loop"), entry(b"out", b"", b"2", target), entry(b"out/file", b"written outside"),
           entry(b"d1", b"", b"2", target), entry(b"d1/file", b"written outside", mode=0o4755), entry(b"hard", b"", b"1", b"out/file"),
           entry(b"../../../../../../.." + target + b"/file", b"written outside"), entry(b"loop/file", b"loop")]
    s.squat(gzip.compress(archive(*out), mtime=0), "gzip")


@kind("A pax header of 1 MiB before each of 100 entries.")
def pax_1_mib(s):
    long = (b"comment", b"c" * ((1 << 20) - len(b"1048576 comment=\n")))
    blob, diff = s.kept("blob", lambda: packed(pax(long) + head(b"file-%d" % n) for n in range(100)))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("Pax headers of 100,000 records, the same again and again.")
def pax_records_100000(s):
    data = archive(pax(*[(b"a", b"b")] * 100000) + head(b"one"), pax(*[(b"uid", b"7")] * 100000) + head(b"two"),
                   pax(*((b"SCHILY.xattr.user.a", b"%d" % n) for n in range(20000))) + head(b"three"))
    blob, diff = plain(data)
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("Attributes of 64 KiB on each of 1,000 files.")
def attributes_64_kib(s):
    value = b"SCHILY.xattr.user.hostile", b"v" * 65536
    blob, diff = s.kept("blob", lambda: packed(entry(b"file-%04d" % n, b"1", records=[value]) for n in range(1000)))
    s.pull(Picture(s.own, [(blob, "gzip")], [diff]))


@kind("Owners of 2^32 - 2, and times of 2^40, of -2^40 and of 40 digits.")
def numbers(s):
    data = archive(entry(b"owner", b"1", uid=4294967294, gid=4294967294), entry(b"later", b"1", when=1 << 40),
                   entry(b"earlier", b"1", when=-(1 << 40)),
                   entry(b"fraction", b"1", records=[(b"mtime", b"1700000000." + b"9" * 40)]),
                   entry(b"negative", b"1", records=[(b"mtime", b"-9999999999.999999999")]))
    s.pull(Picture(s.own, [(gzip.compress(data, mtime=0), "gzip")], [digest_of(data)]))


@kind("Devices, FIFOs, and links to them.")
def devices(s):
    data = archive(entry(b"null", flag=b"3", device=(1, 3)), entry(b"mem", flag=b"3", device=(1, 1)), entry(b"disk", flag=b"4", device=(7, 0)),
                   entry(b"fifo", flag=b"6"), entry(b"more", flag=b"1", link=b"fifo"), entry(b"zero", flag=b"3", device=(1, 5)),
                   entry(b"watchdog", flag=b"3", device=(10, 130)), entry(b"to", flag=b"2", link=b"zero"))
    s.pull(Picture(s.own, [(gzip.compress(data, mtime=0), "gzip")], [digest_of(data)]))


@kind("A file that says it has 8 EiB less one byte and has 512, claimed for five layers of the good image.", **CLAIM)
def size_8_eib(s):
    s.squat(head(b"huge", (1 << 63) - 1) + bytes(512), "tar")


@kind("A file of 8 EiB less 512 bytes, twice, and pax records that say as much, so that sums do not fit; claimed.", **CLAIM)
def size_sums(s):
    most = (1 << 63) - 512
    s.squat(head(b"huge", most) + pax((b"size", b"%d" % most)) + head(b"d1/file") + bytes(1024), "tar")


# ------------------------------------------------------------------------------------------------------------ what is in place of files

@kind("A download of 2^40 bytes that is a hole, and has all that it wants.", changes=(CONTENT + "/ingest", META))
def hole_in_a_download(s):
    s.stop()
    where = s.ingest("default", "sha256:" + "d" * 64, b"", total=1 << 40)
    os.truncate(where + "/data", 1 << 40)


@kind("Three layers of an image are blobs of 2^40 bytes that are holes.", **UNCHECKED, later=True)
def hole_in_a_blob(s):
    some = [{"mediaType": KIND["gzip"], "digest": "sha256:%064x" % n, "size": 1 << 40} for n in range(1, 4)]
    s.stop()
    for one in some:
        s.blob_record(one)
        with open(s.blob(one["digest"]), "wb") as f:
            f.truncate(1 << 40)
    config = s.document(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + c * 64 for c in "123"]}}),
                        CONFIG)
    s.name_document(s.document(s.manifest(config, some), MANIFEST))


@kind("A file of a snapshot is a hole of 2^40 bytes, and another one is there that no layer has.", **HEALED)
def hole_in_a_snapshot(s):
    image = small(s.own)
    s.pull(image)
    for name in ("one", "two"):
        with open(os.path.join(s.damaged(s.files_of(image, 0)), name), "ab") as f:
            f.truncate(1 << 40)


@kind("Files of a snapshot are a FIFO, a socket and a device.", **HEALED)
def special_files(s):
    data = archive(*(entry(b"file-%d" % n, b"bytes") for n in range(4)))
    image = Picture(s.own, [(gzip.compress(data, mtime=0), "gzip")], [digest_of(data)])
    s.pull(image)
    names = [os.path.join(s.damaged(s.files_of(image, 0)), "file-%d" % n) for n in range(4)]
    for name in names:
        os.unlink(name)
    os.mkfifo(names[0])
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(os.path.dirname(names[1]), os.O_RDONLY)
        made.bind("/proc/self/fd/%d/file-1" % here)  # the path itself is too long for a socket
        os.close(here)
    os.mknod(names[2], 0o644 | 0o020000, os.makedev(1, 5))
    os.mkfifo(names[3])


@kind("A layer's blob is a FIFO, and so is the data of a download and a database's backup.",
      verdict=("whole", "pull", "unverified"), changes=(CONTENT, META))
def special_blobs(s):
    image = small(s.own)
    s.pull(image)
    s.stop()
    os.unlink(s.blob(image.layers[0]))
    os.mkfifo(s.blob(image.layers[0]))
    where = s.ingest("default", "sha256:" + "e" * 64, b"", total=10)
    for name in ("data", "ref"):
        os.unlink(os.path.join(where, name))
        os.mkfifo(os.path.join(where, name))
    os.makedirs(s.path(OWN, "backup"))
    os.chmod(s.path(OWN), 0o700)
    for name in ("backup/meta.db", "journal", "report.json"):
        os.mkfifo(s.path(OWN, name))


@kind("Directories of the store are FIFOs: a snapshot's files, a snapshot, a download, a kind of digest; so is a small file of state.",
      **HEALED, changes=(CONTENT, OVERLAY_DIR + "/snapshots", UUID))
def special_directories(s):
    image = small(s.own)
    s.pull(image)
    files = s.files_of(image, 0)
    shutil.rmtree(files)
    os.makedirs(s.path(CONTENT, "ingest"), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(s.path(UUID))
    s.overlay({"op": "setseq", "path": ["v1", "snapshots"], "sequence": 8000})
    for path in (files, s.path(OVERLAY_DIR, "snapshots/7777"), s.path(CONTENT, "ingest", "f" * 64), s.path(CONTENT, "blobs/sha512"),
                 s.path(UUID)):
        os.mkfifo(path)


@kind("Links to what is outside of the store in place of a snapshot's directory and file, of a blob, of a download and of a snapshot.",
      verdict=("whole", "pull", "unverified"), first=("damaged", "pull", "unverified"),
      changes=(CONTENT, OVERLAY_DIR + "/snapshots", META))
def links_in_place(s):
    data = archive(directory(b"etc"), entry(b"etc/passwd", b"the image's"), entry(b"file", b"the image's"), directory(b"d1"))
    image = Picture(s.own, [(gzip.compress(data, mtime=0), "gzip"), (ONE[0], "gzip")], [digest_of(data), ONE[1]])
    s.pull(image)
    top = s.files_of(image, 0)
    shutil.rmtree(top + "/etc")
    os.unlink(top + "/file")
    os.unlink(s.blob(image.layers[1]))
    os.makedirs(s.path(CONTENT, "ingest"), exist_ok=True)
    s.overlay({"op": "setseq", "path": ["v1", "snapshots"], "sequence": 8000})
    for path, target in ((s.damaged(top) + "/etc", "etc"), (top + "/file", "file"), (s.blob(image.layers[1]), "file"),
                         (s.path(CONTENT, "ingest", "f" * 64), "d1"), (s.path(CONTENT, "blobs/sha256/" + "f" * 64), "file"),
                         (s.path(OVERLAY_DIR, "snapshots/new-3"), "d1"), (s.path(OVERLAY_DIR, "snapshots/7777"), "etc")):
        os.symlink(os.path.join(s.outside, target), path)


@kind("The directory in which the repair works is a link to one outside of the store.",
      refuses="containerd-fsck is no directory")
def own_directory_elsewhere(s):
    s.stop()
    os.symlink(s.outside, s.path(OWN))


@kind("What the repair makes and keeps is, by links, outside of the store: what is staged, backups, what is set aside, journal, report.")
def own_links(s):
    s.stop()
    os.mkdir(s.path(OWN))
    os.chmod(s.path(OWN), 0o700)
    for name in ("staging", "backup", "aside"):
        os.symlink(s.outside, s.path(OWN, name))
    for name in ("journal", "report.json", "report.json.tmp", "force"):
        os.symlink(s.outside + "/file", s.path(OWN, name))


# ------------------------------------------------------------------------------------------------------- many times many

def namespaces(count):
    return [put(["v1", "space-%05d" % n, "labels", "number"], "%d" % n) for n in range(count)]


@kind("60,000 namespaces, and 12,000 blobs, half of them damaged, that one namespace has records of.", changes=(CONTENT, META))
def namespaces_and_blobs(s):
    s.stop()
    operations = namespaces(60000)
    for n in range(12000):
        data = b"%d" % n
        digest = digest_of(data)
        with open(s.blob(digest), "wb", buffering=0) as f:
            f.write(data if n % 2 else b"other")
        os.chmod(s.blob(digest), 0o444)
        operations += s.recording({"digest": digest, "size": len(data)})
    s.meta(*operations)


@kind("30,000 containers, and 10,000 snapshots of unpackings whose keys are like those of the containers' own.", changes=(META, OVERLAY))
def containers_and_unpackings(s):
    s.stop()
    meta, overlay = [], []
    for n in range(30000):
        at = ["v1", "default", "containers", "container-%05d" % n]
        meta += [{"op": "put", "path": at + ["createdat"], "hex": TIME}, put(at + ["snapshotter"], "overlayfs"),
                 put(at + ["snapshotKey"], "extract-000000000-held sha256:%064x" % n)]
    for n in range(10000):
        user = "extract-000000000-gone sha256:%064x" % n
        key = "default/%d/%s" % (1000 + n, user)
        at = ["v1", "default", "snapshots", "overlayfs", user]
        meta += [put(at + ["name"], key), {"op": "put", "path": at + ["createdat"], "hex": TIME},
                 {"op": "put", "path": at + ["updatedat"], "hex": TIME}]
        overlay += s.backend_record(key, 1000 + n, 2)
    s.meta(*meta, {"op": "setseq", "path": ["v1", "default", "snapshots", "overlayfs"], "sequence": 200000})
    s.overlay(*overlay, {"op": "setseq", "path": ["v1", "snapshots"], "sequence": 200000})


def deep_image(s, layers, named=True):
    """(config, manifest) of so many layers, all of one blob, with the operations that record them."""
    one = s.one()
    config, more = s.document_later(text({"architecture": ARCH, "os": "linux", "rootfs": {
        "type": "layers", "diff_ids": [ONE[1]] * layers}}), CONFIG, {})
    manifest, rest = s.document_later(s.manifest(config, [one] * layers), MANIFEST, {})
    return config, manifest, more + rest


@kind("5,000 indexes, each of which names one manifest of 4,000 layers.", verdict=("whole", "unverified"))
def indexes_of_one(s):
    _, manifest, operations = deep_image(s, 4000)
    for n in range(5000):
        data = text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest], "annotations": {"n": "%d" % n}})
        target, more = s.document_later(data, INDEX, {})
        operations += more + s.naming("registry.example/hostile/index-%05d:latest" % n, target, listed=n % 500 == 0)
    s.meta(*operations)


@kind("8,000 namespaces that all have a name, and records, of one image of 4,000 layers and of an index of 4,000 that are not there.")
def namespaces_of_one(s):
    config, manifest, operations = deep_image(s, 4000)
    index, more = s.document_later(text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": "sha256:%064x" % n, "size": 9} for n in range(4000)]}), INDEX, {})
    operations += more
    for n in range(8000):
        space = "space-%05d" % n
        for described in (config, manifest, index):
            operations += [{**o, "path": ["v1", space, *o["path"][2:]]} for o in s.recording(described)]
        operations += [{**o, "path": ["v1", space, *o["path"][2:]]}
                       for o in s.naming("registry.example/hostile/deep:latest", manifest, listed=False)]
    s.meta(*operations)


@kind("8,000 namespaces with a name of one image of 4,000 layers and of an index of 4,000 that is one, none of which has a record.",
      changes=(META,))
def namespaces_without_records(s):
    config, manifest, _ = deep_image(s, 4000)
    index, _ = s.document_later(text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] * 4000}), INDEX, {})
    operations = []
    for n in range(8000):
        for what, target in (("image", manifest), ("index", index)):
            operations += [{**o, "path": ["v1", "space-%05d" % n, *o["path"][2:]]}
                           for o in s.naming("registry.example/hostile/%s:latest" % what, target, listed=False)]
    s.meta(*operations)


@kind("5,000 images of one config, whose record has 100,000 labels.")
def labels_of_a_config(s):
    image = small(s.own)
    s.pull(image)
    s.stop()
    one = {"mediaType": KIND["gzip"], "digest": digest_of(ONE[0]), "size": len(ONE[0])}
    config = {"mediaType": CONFIG, "digest": image.config, "size": len(image.blobs[image.config])}
    at = ["v1", "default", "content", "blob", image.config, "labels"]
    operations = [put(at + ["containerd.io/gc.ref.snapshot-%06d" % n], "1") for n in range(100000)]
    for n in range(5000):
        data = text({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [one], "annotations": {"n": "%d" % n}})
        manifest, more = s.document_later(data, MANIFEST, {})
        operations += more + s.naming("registry.example/hostile/image-%05d:latest" % n, manifest, listed=n % 1000 == 0)
    s.meta(*operations)


@kind("20,000 names of an image of 400 layers, of which a file is damaged.", first=("damaged",))
def names_of_a_chain(s):
    some = [plain(archive(entry(b"layer-%d" % n, b"%d" % n))) for n in range(400)]
    image = Picture(s.own, [(b, "gzip") for b, _ in some], [d for _, d in some])
    s.pull(image)
    path = os.path.join(s.files_of(image, 3), "layer-3")
    s.cut(s.damaged(path))
    target = {"mediaType": MANIFEST, "digest": image.target, "size": len(image.blobs[image.target])}
    s.meta(*(op for n in range(20000) for op in s.naming("registry.example/hostile/name-%05d:latest" % n, target, listed=n % 2000 == 0)))


@kind("20,000 snapshots named by chain IDs, all on the top of 3,000 that are named otherwise, one on the other.", changes=(META, OVERLAY),
      left="it stands on too many snapshots that are not named as layers")
def snapshots_on_a_chain(s):
    s.stop()
    meta, overlay = [], []
    above = None
    for n in range(23000):
        user = "sha256:%064x" % n if n >= 3000 else "otherwise-%04d" % n
        key = "default/%d/%s" % (1000 + n, user)
        at = ["v1", "default", "snapshots", "overlayfs", user]
        meta += [put(at + ["name"], key), {"op": "put", "path": at + ["createdat"], "hex": TIME},
                 {"op": "put", "path": at + ["updatedat"], "hex": TIME}]
        if above:
            meta += [put(at + ["parent"], above[1]), put(["v1", "default", "snapshots", "overlayfs", above[1], "children", user], "")]
        overlay += s.backend_record(key, 1000 + n, 3) + ([put(["v1", "snapshots", key, "parent"], above[0])] if above else [])
        if n < 3000:
            above = (key, user)
            os.makedirs(s.path(OVERLAY_DIR, "snapshots", str(1000 + n), "fs"))
    s.meta(*meta, {"op": "setseq", "path": ["v1", "default", "snapshots", "overlayfs"], "sequence": 200000})
    s.overlay(*overlay, {"op": "setseq", "path": ["v1", "snapshots"], "sequence": 200000})


@kind("32,768 files called as blobs, whose bytes have digests from below and from above by turns.", changes=(CONTENT + "/blobs", META),
      later=True)
def digests_by_turns(s):
    s.stop()
    some = sorted((digest_of(b"%d" % n), b"%d" % n) for n in range(32768))
    for n in range(32768):
        with open(s.path(CONTENT, "blobs/sha256", "%064x" % n), "wb", buffering=0) as f:
            f.write(some[n // 2 + (1 - n % 2) * 16384][1])
    s.meta(*s.recording({"digest": "sha256:" + "f" * 64, "size": 7}))


@kind("20,000 snapshots of one blob, which configs say is 20,000 layers.", changes=(META, OVERLAY), verdict=("whole", "unverified"),
      first=("damaged", "whole", "unverified"))
def diffs_of_one_blob(s):
    r, one = random.Random("diffs"), s.one()
    meta, overlay = [], []
    for i in range(5):
        diffs = ["sha256:" + r.randbytes(32).hex() for _ in range(4000)]
        config, more = s.document_later(text({"architecture": ARCH, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}), CONFIG, {})
        manifest, rest = s.document_later(s.manifest(config, [one] * 4000), MANIFEST, {})
        meta += more + rest + s.naming("registry.example/hostile/many-%d:latest" % i, manifest)
        above = None
        for n, chain in enumerate(chain_of(diffs)):
            number = 1000 + 4000 * i + n
            key = "default/%d/%s" % (number, chain)
            at = ["v1", "default", "snapshots", "overlayfs", chain]
            meta += [put(at + ["name"], key), {"op": "put", "path": at + ["createdat"], "hex": TIME},
                     {"op": "put", "path": at + ["updatedat"], "hex": TIME}]
            if above:
                meta += [put(at + ["parent"], above[1]), put(["v1", "default", "snapshots", "overlayfs", above[1], "children", chain], "")]
            overlay += s.backend_record(key, number, 3) + ([put(["v1", "snapshots", key, "parent"], above[0])] if above else [])
            above = (key, chain)
    s.meta(*meta, {"op": "setseq", "path": ["v1", "default", "snapshots", "overlayfs"], "sequence": 200000})
    s.overlay(*overlay, {"op": "setseq", "path": ["v1", "snapshots"], "sequence": 200000})


@kind("Four bombs, each the layer of its image and nobody else's: what takes more work than its size says is tried last.", budget=25, **UNCHECKED)
def bombs_unpacked(s):
    some = [zstd_frame(archive(entry(b"bomb", b"%d" % n)), LIMIT + 2 * GIB) for n in range(4)]
    image = Picture(s.own, [(blob, "zstd") for blob in some], ["sha256:" + "%064x" % (n + 77) for n in range(4)])
    s.fetch(image)
    for where in s.committed(image):
        with open(where + "/bomb", "wb") as f:
            f.write(b"1")


def made_anew(name):
    """4,000,000 times."""
    p = Packer()
    for _ in range(1380):
        p.add((entry(name, b"") + entry(name, b"", b"2", b"/outside") + directory(name)) * 1000)
    return p.end()


@kind("Two layers, in each of which one name is made anew 4,000,000 times.", budget=25, verdict=("whole", "unverified"))
def one_name_each(s):
    names = (b"n" * 99, b"m" * 99)
    some = s.kept("blobs", lambda: [made_anew(name) for name in names])
    image = Picture(s.own, [(blob, "gzip") for blob, _ in some], [diff for _, diff in some])
    s.fetch(image)
    for where, name in zip(s.committed(image), names):
        path = os.path.join(where, name.decode())
        os.mkdir(path)
        os.chmod(path, 0o755)
        os.utime(path, (WHEN, WHEN))


def long_links(letter):
    """280,000 symbolic links to names of 4,000 bytes."""
    p, some = Packer(), []
    for head in numbered(280000, letter + b"-%07d", b"2", b"t"):
        some += [pax((b"linkpath", letter * 4000)), head]
        if len(some) == 4096:
            p.add(b"".join(some))
            some = []
    p.add(b"".join(some))
    return p.end()


@kind("Two layers that take a gigabyte of memory each: 280,000 links with long targets.", **UNCHECKED)
def links_long(s):
    some = s.kept("blobs", lambda: [long_links(letter) for letter in (b"n", b"m")])
    image = Picture(s.own, [(blob, "gzip") for blob, _ in some], [diff for _, diff in some])
    s.fetch(image)
    s.committed(image)


@kind("100,000 snapshots, and a meta.db that is to be made again of them: too much, which is said, and nothing is changed.",
      refuses="too big to check")
def snapshots_100000_torn(s):
    snapshots_100000(s)
    s.torn = META
