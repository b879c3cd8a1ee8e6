# SPDX-License-Identifier: MIT
"""What hostile stores are made of: archives that say more than they hold, streams that unpack to more than a disk holds, images that
claim what is not theirs.

Nothing here is as large as it says: where an archive is long, it is made, hashed and compressed piece by piece.
"""

import gzip
import hashlib
import json
import os
import pickle
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lab"), os.path.join(os.path.dirname(HERE), "golden")]
import images
from images import ARCH, OCI, octal, pad, record

END = bytes(1024)
WHEN = 1700000000
KIND = {"tar": OCI + "layer.v1.tar", "gzip": OCI + "layer.v1.tar+gzip", "zstd": OCI + "layer.v1.tar+zstd"}
MANIFEST, INDEX, CONFIG = OCI + "manifest.v1+json", OCI + "index.v1+json", OCI + "config.v1+json"
OTHER = "application/vnd.example.sbom+json"  # nobody unpacks it
RLE = 131072  # bytes of a zstd block at most; one of equal bytes takes four


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def text(thing):
    return json.dumps(thing, separators=(",", ":")).encode()


def chain_of(diffs):
    """The chain IDs of layers with these diff IDs."""
    out = []
    for diff in diffs:
        out.append(digest_of((out[-1] + " " + diff).encode()) if out else diff)
    return out


# ---------------------------------------------------------------------------------------------------------------- archives

def head(name, size=0, flag=b"0", link=b"", mode=0o644, uid=0, gid=0, when=WHEN, device=(0, 0), gnu=False):
    """A header, of a size that need not be that of what follows; numbers that octal digits cannot say are binary."""
    h = name[:100].ljust(100, b"\0") + octal(mode, 8) + octal(uid, 8) + octal(gid, 8) + octal(size, 12) + octal(when, 12)
    h += b" " * 8 + flag + link[:100].ljust(100, b"\0") + (b"ustar  \0" if gnu else b"ustar\00000") + bytes(64)
    h += octal(device[0], 8) + octal(device[1], 8)
    return summed(h.ljust(512, b"\0"))


def summed(h):
    h = h[:148] + b" " * 8 + h[156:]
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]


def pax(*records):
    """A pax header of these (key, value), as often and in the order given."""
    body = b"".join(record(k, v) for k, v in records)
    return head(b"PaxHeaders.0/x", len(body), b"x") + pad(body)


def entry(name, data=b"", flag=b"0", link=b"", records=(), **more):
    records = list(records) + [(b"path", name)] * (len(name) > 100) + [(b"linkpath", link)] * (len(link) > 100)
    return (pax(*records) if records else b"") + head(name, len(data), flag, link, **more) + pad(data)


def directory(name, **more):
    return entry(name + b"/", flag=b"5", mode=0o755, **more)


def archive(*entries):
    return b"".join(entries) + END


def numbered(count, name, flag=b"0", link=b"", size=0, mode=0o644):
    """The headers of so many entries that differ in the number in their name (%07d) alone."""
    first = head(name % 0, size, flag, link, mode)
    width = len(name % 0)
    fixed = sum(first[:148]) + 8 * 32 + sum(first[156:]) - sum(name % 0)
    middle, rest = first[width:148], first[156:]
    for n in range(count):
        at = name % n
        yield at + middle + b"%06o\0 " % (fixed + sum(at)) + rest


# A file of real bytes that is one hole, in each way that archives have to say so.

def sparse_pax_00(real, name=b"sparse"):
    return pax((b"GNU.sparse.size", b"%d" % real), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.offset", b"%d" % real),
               (b"GNU.sparse.numbytes", b"0")) + head(name)


def sparse_pax_01(real, name=b"sparse"):
    return pax((b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.name", name), (b"GNU.sparse.size", b"%d" % real),
               (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", b"%d,0" % real)) + head(b"GNUSparseFile.0/sparse")


def sparse_pax_10(real, name=b"sparse"):
    chart = pad(b"1\n%d\n0\n" % real)
    return pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
               (b"GNU.sparse.realsize", b"%d" % real)) + head(b"GNUSparseFile.0/sparse", len(chart)) + chart


def sparse_gnu(real, name=b"sparse", extensions=0):
    """As GNU tar writes it: four pieces in the header, 21 in each block behind it; pieces of no bytes, one after the other."""
    def piece(n):
        return octal(min(n, real), 12) + octal(0, 12)
    h = head(name, 0, b"S", gnu=True)
    h = h[:386] + b"".join(piece(n) for n in range(4)) + bytes([extensions > 0]) + octal(real, 12) + h[495:]
    out, at = [summed(h[:512])], 4
    for n in range(extensions):
        out.append((b"".join(piece(at + k) for k in range(21)) + bytes([n < extensions - 1])).ljust(512, b"\0"))
        at += 21
    return b"".join(out)


# ----------------------------------------------------------------------------------------------------------------- streams

class Packer:
    """Bytes that come piece by piece, hashed and compressed."""

    def __init__(self):
        self.hash, self.parts, self.deflate = hashlib.sha256(), [], zlib.compressobj(1, zlib.DEFLATED, 31)

    def add(self, data):
        self.hash.update(data)
        self.parts.append(self.deflate.compress(data))

    def end(self):
        """(blob, diff ID)"""
        self.add(END)
        return b"".join(self.parts) + self.deflate.flush(), "sha256:" + self.hash.hexdigest()


def packed(*pieces):
    """(gzip blob, diff ID) of an archive of these pieces, each bytes or what yields bytes."""
    p = Packer()
    for piece in pieces:
        if isinstance(piece, bytes):
            p.add(piece)
            continue
        some = []
        for data in piece:
            some.append(data)
            if len(some) == 4096:
                p.add(b"".join(some))
                some = []
        p.add(b"".join(some))
    return p.end()


def plain(data):
    """(gzip blob, diff ID) of an archive."""
    return gzip.compress(data, 6, mtime=0), digest_of(data)


def zeros_digest(prefix, count):
    """The diff ID of these bytes and so many zeros."""
    h, block = hashlib.sha256(prefix), bytes(1 << 24)
    while count:
        n = min(count, len(block))
        h.update(block[:n])
        count -= n
    return "sha256:" + h.hexdigest()


def zstd_frame(prefix, zeros=0, window=0x38):
    """A frame of these bytes, stored, and of so many zeros, four bytes for each 128 KiB. window: RFC 8878, 0x38 is 128 KiB."""
    out = [b"\x28\xb5\x2f\xfd\0" + bytes([window])]
    for at in range(0, len(prefix), 65536):
        piece = prefix[at:at + 65536]
        out.append((len(piece) << 3).to_bytes(3, "little") + piece)
    whole, rest = divmod(zeros, RLE)
    out.append(((RLE << 3 | 2).to_bytes(3, "little") + b"\0") * whole)
    if rest:
        out.append((rest << 3 | 2).to_bytes(3, "little") + b"\0")
    return b"".join(out) + b"\1\0\0"


def gzip_zeros(prefix, mebibytes):
    """gzip members: these bytes, then so many of one MiB of zeros each."""
    return gzip.compress(prefix, 6, mtime=0) + gzip.compress(bytes(1 << 20), 9, mtime=0) * mebibytes


# ------------------------------------------------------------------------------------------------------------------ images

class Picture:
    """What a registry has of an image: its blobs, and what names them. It is named on purpose unlike images.Image, which knows what
    its files must be: here nothing is as it says."""

    def __init__(self, name, layers, diffs, extra=(), annotations=None, first=False, **config):
        """layers: (bytes, kind); extra: bytes that are further members of layers[]. first: of all manifests its digest is one of the
        least, so that it is tried before the others."""
        self.name, self.blobs, self.layers, self.diffs = name, {}, [digest_of(b) for b, _ in layers], list(diffs)
        members = [dict(self.describe(b, KIND[kind]), **({"annotations": annotations} if annotations else {})) for b, kind in layers]
        members += [self.describe(b, OTHER) for b in extra]
        number = 0
        while True:
            body = text({"architecture": ARCH, "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "number": number,
                         "rootfs": {"type": "layers", "diff_ids": self.diffs}, **config})
            manifest = text({"schemaVersion": 2, "mediaType": MANIFEST, "layers": members,
                             "config": {"mediaType": CONFIG, "digest": digest_of(body), "size": len(body)}})
            if not first or digest_of(manifest).startswith("sha256:00"):
                break
            number += 1
        self.config = self.describe(body, CONFIG)["digest"]
        self.target = self.describe(manifest, MANIFEST)["digest"]
        self.manifests = [(self.target, MANIFEST)]
        self.chain = chain_of(self.diffs)
        self.local = [self.target, self.config] + self.layers

    def describe(self, data, media):
        digest = digest_of(data)
        self.blobs[digest] = data
        return {"mediaType": media, "digest": digest, "size": len(data)}


def kept(place, code, name, make):
    """make(), or what it was when this code last made it."""
    with open(os.path.join(HERE, "pieces.py"), "rb") as f:
        key = hashlib.sha256(f.read() + code.encode() + name.encode()).hexdigest()[:16]
    path = os.path.join(place, "hostile-" + key)
    if os.path.exists(path):
        with open(path, "rb") as f:
            return pickle.load(f)
    made = make()
    with open(path + ".%d" % os.getpid(), "wb") as f:
        pickle.dump(made, f)
    os.rename(path + ".%d" % os.getpid(), path)
    return made
