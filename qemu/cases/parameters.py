# SPDX-License-Identifier: MIT
"""What the kernel's command line says is done: check, skip, force."""

import os
import re

from clean import did_nothing
from lab import Failure
from rig import Row

VICTIM = "usr/share/zoneinfo/Asia/Shanghai"


def look(rig, rng):
    """check: finds, changes nothing, and the next boot repairs."""
    disks, before, keep, text = rig.cut_disks()
    first = rig.through(disks, ["tool", "broken", "wait"], parameters=["containerd.fsck=check"])
    rig.tell(first)
    if first.status()[0] != "4":
        raise Failure("containerd.fsck=check on a damaged store ends with %s" % first.status()[0])
    result = rig.through(disks, ["tool", "judge", "poweroff"])
    rig.tell(result)
    rig.kept(result, keep)
    rig.drop(disks)
    return [Row("containerd.fsck=check", "ext4", "the root", text, before, "status 4, %s; next boot: %s"
                % (first.verdict, result.verdict), first.tool_time())]


def skip(rig, rng):
    """skip: does nothing, and the next boot does it."""
    disks, before, keep, text = rig.cut_disks()
    first = rig.through(disks, ["tool", "broken", "poweroff"], parameters=["containerd.fsck=skip"])
    rig.tell(first)
    if first.status()[0] != "0" or "skip" not in " ".join(first.said()):
        raise Failure("containerd.fsck=skip: status %s, said: %s" % (first.status()[0], " / ".join(first.said())))
    result = rig.through(disks, ["tool", "judge", "poweroff"])
    rig.tell(result)
    rig.kept(result, keep)
    rig.drop(disks)
    return [Row("containerd.fsck=skip", "ext4", "the root", text + ", then a clean stop", before, "%s; next boot: %s"
                % (first.verdict, result.verdict), result.tool_time())]


def spoil(root):
    """Zeros instead of a file's bytes in a snapshot, as a bad disk leaves them: no marker can know."""
    for top in os.scandir(os.path.join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots")):
        path = os.path.join(top.path, "fs", VICTIM)
        if os.path.exists(path):
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                f.write(b"\0" * size)
            return True
    return False


def force(rig, rng):
    """After a clean stop something changes that no marker covers: a boot trusts the marker, force finds it."""
    disks = rig.clean_disks()
    with rig.mounted(disks, "ext4") as root:
        if not spoil(root):
            raise Failure("no snapshot has " + VICTIM)
    first = rig.through(disks, ["tool", "broken", "poweroff"])
    rig.tell(first)
    did_nothing(first)
    result = rig.through(disks, ["tool", "judge", "whole", "poweroff"], parameters=["containerd.fsck=force"])
    rig.tell(result)
    if result.status()[0] != "1":
        raise Failure("containerd.fsck=force on a store with a damaged file ends with %s" % result.status()[0])
    third = rig.through(disks, ["tool", "judge", "whole", "wait"], parameters=["fsck.mode=force"])
    rig.tell(third)
    if third.status()[0] != "0" or re.search("nothing to do", " ".join(third.said())):
        raise Failure("fsck.mode=force on a whole store: status %s, %s" % (third.status()[0], " / ".join(third.said())))
    rig.drop(disks)
    return [Row("containerd.fsck=force", "ext4", "the root", "one file zeroed after a clean stop", first.verdict,
                result.verdict, result.tool_time())]


CASES = {"check": look, "skip": skip, "force": force}
