# SPDX-License-Identifier: MIT
"""A disk with a cache of its own: writes that it had acknowledged and that no flush followed are lost.

QEMU's blklogwrites records every write and flush of the store's disk. The disk is then made anew from the empty one, with
all writes up to a flush and any of those up to the next one (what was written through stays). On each such disk the tool
repairs, here, without a machine; a second run must find nothing, and what containerd lists then must be exact.
"""

import os
import time

import lab as laboratory
import verify
from lab import Failure, clone, fsck
from rig import BOOT, WORK, Row
from vm import log_entries, replay

STATES = int(os.environ.get("STATES", "8"))


def judge(rig, disk, fs, label):
    """(images listed before, wrong before, listed after); trouble is a Failure."""
    before, keep = rig.before([None, disk], fs)
    with rig.mounted([None, disk], fs) as root:
        laboratory.new_boot()
        if not os.path.isdir(os.path.join(root, "io.containerd.content.v1.content")):
            return before, 0
        status, text, _ = fsck("repair", root)
        if status not in (0, 1):
            rig.keep("%s: repair: %s" % (label, text))
            raise Failure("%s: repair ends with %d: %s" % (label, status, text.strip()[-300:]))
        tree = verify.fingerprint(root)
        status, text, _ = fsck("repair", root)
        if status:
            raise Failure("%s: the second repair ends with %d: %s" % (label, status, text.strip()[-300:]))
        moved = [line for line in verify.changes(tree, verify.fingerprint(root)) if not line.startswith("containerd-fsck")]
        if moved:
            raise Failure("%s: the second repair wrote: %s" % (label, "; ".join(moved[:3])))
        daemon, listed = laboratory.Containerd(rig.lab, rig.version, root), 0
        try:
            daemon.start()
            for ns, some in rig.sets.items():
                states = daemon.states(ns)
                for i in some:
                    name = "%s/%s" % (ns, i.name.rsplit("/", 1)[-1])
                    if states.get(laboratory.reference(i)) == "ready":
                        listed += 1
                        wrong = daemon.wrong(ns, i, tidy=False)
                        if wrong:
                            raise Failure("%s: %s is wrong after the repair: %s" % (label, name, "; ".join(wrong[:3])))
                    elif name in keep:
                        raise Failure("%s: %s was listed, its blobs are good, and it is gone" % (label, name))
        finally:
            daemon.kill()
    return before, listed


def case(fs):
    def run(rig, rng):
        root, = rig.copies([rig.original("root-own")])
        empty = rig.original("store-" + fs)
        disk, log = rig.path("store"), rig.path("blocks")
        clone(empty, disk)
        with open(log, "wb") as f:
            f.truncate(8 << 30)
        extra = ["-blockdev", "driver=file,filename=%s,node-name=file" % disk,
                 "-blockdev", "driver=file,filename=%s,node-name=log" % log,
                 "-blockdev", "driver=blklogwrites,node-name=store,file=file,log=log,log-sector-size=512",
                 "-device", "virtio-blk-pci,drive=store"]
        with rig.boot([root], ["pull", "wait"], extra=extra) as vm:
            rig.verdict(vm, BOOT + WORK)
            time.sleep(rng.uniform(5, 12))
            vm.cut()
        entries = log_entries(log)
        flushes = [n for n, e in enumerate(entries) if e[2] & 1]
        rig.note("%d entries, %d flushes" % (len(entries), len(flushes)))
        if len(flushes) < 3:
            raise Failure("the guest flushed %d times" % len(flushes))
        rows = []
        for k in range(STATES):
            at = rng.randrange(1, len(flushes))
            low, high = flushes[at - 1], flushes[at]
            between = [e for e in entries[low + 1:high] if not e[2] & 1]
            kept = [e for e in between if e[2] & 2 or k % 2 and rng.random() < .5]
            text = "flush %d of %d and %d of %d writes after it" % (at, len(flushes), len(kept), len(between))
            state = rig.path("state")
            clone(empty, state)
            replay(log, entries[:low + 1] + kept, state)
            before, listed = judge(rig, state, fs, text)
            rig.note("%s: without repair %s are wrong, after it %d listed and exact" % (text, before, listed))
            rows.append(Row("unflushed writes lost", fs, "its own disk", text, before, "%d images listed complete and exact"
                            % listed))
            os.unlink(state)
        rig.drop([root, disk, log])
        return rows
    return run


CASES = {"unflushed-ext4": case("ext4"), "unflushed-xfs": case("xfs")}
