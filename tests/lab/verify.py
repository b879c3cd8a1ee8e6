# SPDX-License-Identifier: MIT
"""Compares a root file system with the tree that images.py says it must be, and a store with itself."""

import hashlib
import os
import stat

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
SYSTEM = ("security.selinux", "security.SMACK64", "security.ima", "security.evm")


def read_hash(path, algorithm="sha256"):
    h, size = hashlib.new(algorithm), 0
    with open(path, "rb", buffering=0) as f:
        while True:
            data = f.read(1 << 20)
            if not data:
                return h.hexdigest(), size
            h.update(data)
            size += len(data)


def xattrs_of(path):
    try:
        return {os.fsencode(n): os.getxattr(path, n, follow_symlinks=False)
                for n in os.listxattr(path, follow_symlinks=False) if not n.startswith(SYSTEM)}
    except OSError as e:
        return {b"unreadable": str(e).encode()}


def walk(root):
    """Every path below root as (relative path, lstat), directories before what they hold."""
    stack = [b""]
    while stack:
        at = stack.pop()
        try:
            with os.scandir(os.path.join(root, at)) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as e:
            yield at, e
            continue
        for entry in found:
            path = os.path.join(at, entry.name) if at else entry.name
            try:
                st = os.lstat(os.path.join(root, path))
            except OSError as e:
                yield path, e
                continue
            yield path, st
            if stat.S_ISDIR(st.st_mode):
                stack.append(path)


def differences(tree, root, limit=20, noted=frozenset()):
    """Lines that say how the file system at root differs from tree; [] when it is exact. Of paths in noted, mode, owner, time and
    attributes are not compared."""
    root, out, seen, groups = os.fsencode(root), [], set(), {}

    def say(path, text):
        out.append("/%s: %s" % (os.fsdecode(path), text))

    for path, st in walk(root):
        if len(out) >= limit:
            return out
        if isinstance(st, OSError):
            say(path, "unreadable: %s" % st.strerror)
            seen.add(path)
            continue
        want = tree.get(path)
        if want is None:
            say(path, "is not in the image")
            continue
        seen.add(path)
        full, kind = os.path.join(root, path), KINDS[stat.S_IFMT(st.st_mode)]
        if kind != want.kind:
            say(path, "is a %s, not a %s" % (kind, want.kind))
            continue
        if kind == "file":
            if st.st_size != want.size:
                say(path, "has %d bytes, not %d" % (st.st_size, want.size))
            else:
                try:
                    if read_hash(full)[0] != want.sha:
                        say(path, "has other bytes")
                except OSError as e:
                    say(path, "unreadable: %s" % e.strerror)
        elif kind == "symlink":
            target = os.readlink(full)
            if target != want.target:
                say(path, "points to %r, not %r" % (target, want.target))
        elif kind in ("char", "block") and st.st_rdev != want.rdev:
            say(path, "is device %x, not %x" % (st.st_rdev, want.rdev))
        if kind != "dir":
            groups.setdefault((st.st_dev, st.st_ino), set()).add(path)
        if path in noted:
            continue
        if kind != "symlink" and stat.S_IMODE(st.st_mode) != want.mode:
            say(path, "has mode %o, not %o" % (stat.S_IMODE(st.st_mode), want.mode))
        if (st.st_uid, st.st_gid) != (want.uid, want.gid):
            say(path, "belongs to %d:%d, not %d:%d" % (st.st_uid, st.st_gid, want.uid, want.gid))
        if want.mtime is not None and st.st_mtime_ns != want.mtime:
            say(path, "has mtime %d, not %d" % (st.st_mtime_ns, want.mtime))
        xattrs = xattrs_of(full)
        if xattrs != want.xattrs:
            say(path, "has xattrs %r, not %r" % (xattrs, want.xattrs))
    for path in tree:
        if path not in seen:
            say(path, "is missing")
            if len(out) >= limit:
                return out
    wanted = {}
    for path, node in tree.items():
        if node.kind != "dir":
            wanted.setdefault(id(node), set()).add(path)
    have = {frozenset(g) for g in groups.values()}
    for group in wanted.values():
        if frozenset(group) not in have and len(out) < limit:
            say(min(group), "is not linked with exactly %s" % sorted(group - {min(group)}))
    return out


def fingerprint(root, contents=False):
    """path -> everything a write would change. With contents: the bytes of every file as well."""
    root, out = os.fsencode(root), {}
    for path, st in list(walk(root)) + [(b".", os.lstat(root))]:
        if isinstance(st, OSError):
            out[path] = str(st)
            continue
        full = os.path.join(root, path)
        row = [st.st_mode, st.st_ino, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_mtime_ns,
               st.st_ctime_ns, sorted(xattrs_of(full).items())]
        if stat.S_ISLNK(st.st_mode):
            row.append(os.readlink(full))
        elif contents and stat.S_ISREG(st.st_mode):
            row.append(read_hash(full)[0])
        out[path] = row
    return out


FIELDS = ("mode", "inode", "links", "owner", "group", "device", "size", "mtime", "ctime", "xattrs", "content")


def changes(before, after, limit=10):
    """Lines that say how two fingerprints differ."""
    out = []
    for path in sorted(set(before) | set(after)):
        if before.get(path) == after.get(path):
            continue
        name = os.fsdecode(path)
        if path not in after:
            out.append("%s: gone" % name)
        elif path not in before:
            out.append("%s: new" % name)
        else:
            what = [f for f, a, b in zip(FIELDS, before[path], after[path]) if a != b]
            out.append("%s: %s changed" % (name, ", ".join(what)))
        if len(out) >= limit:
            break
    return out
