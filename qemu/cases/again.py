# SPDX-License-Identifier: MIT
"""The power goes while the repair runs, twice; then it ends. And three times: then it passes over what it was at,
or, if it was at nothing that has a name, steps aside."""

import os
import re
import time

from clean import did_nothing
from lab import Failure
from rig import BOOT, Row

BEGINS = r"Starting (containerd-fsck|Check and repair container)"
ENDS = r"(Finished|Failed to start) (containerd-fsck|Check and repair container)"


def begun(rig, disks):
    """How many boots the store's journal says have begun."""
    copy = rig.copies(disks)
    try:
        with rig.mounted(copy, "ext4") as root, open(os.path.join(root, "containerd-fsck/journal")) as f:
            return sum(line.split()[1:2] == ["boot"] for line in f)
    except FileNotFoundError:
        return 0
    finally:
        rig.drop(copy)


def cut_in_repair(rig, rng, disks, initramfs, most=6.0, noted=False):
    """Boots, and cuts the power somewhere between the tool's start and its end. (the disks then, seconds after its start)
    noted: after it has told the journal that it begins."""
    least, before = .1, begun(rig, disks)
    for _ in range(8):
        copy = rig.copies(disks)
        seconds = rng.uniform(least, max(least, most))
        with rig.boot(copy, ["wait"], initramfs, ["systemd.status_unit_format=combined"]) as vm:
            vm.shows(BEGINS, BOOT, "the tool's start")
            time.sleep(seconds)
            vm.cut()
            inside = not re.search(ENDS, vm.console.text[vm.console.at:])
        if inside and noted and begun(rig, copy) == before:
            rig.note("%.2f s after its start it had not begun: once more, later" % seconds)
            rig.drop(copy)
            least = seconds + .3
            continue
        if inside:
            rig.note("cut %.2f s after the start of the repair (%s)" % (seconds, initramfs))
            rig.drop(disks)
            return copy, seconds
        rig.note("%.2f s after its start it had ended already: once more, sooner" % seconds)
        rig.drop(copy)
        most = seconds * .8
    raise Failure("no cut fell into the repair")


def again(initramfs):
    def run(rig, rng):
        disks, before, keep, text = rig.cut_disks()
        moments = []
        for _ in range(2):
            disks, seconds = cut_in_repair(rig, rng, disks, initramfs)
            moments.append(seconds)
        result = rig.through(disks, ["tool", "judge", "poweroff"], initramfs)
        rig.tell(result)
        rig.kept(result, keep)
        last = rig.through(disks, ["tool", "judge", "wait"], initramfs)
        did_nothing(last)
        rig.drop(disks)
        what = "cut %s, then %s into the repair" % (text, " and ".join("%.1f s" % s for s in moments))
        return [Row("cut in the repair", "ext4", "the root", what, before, result.verdict + "; then a clean boot",
                    result.tool_time())]
    return run


def aside(rig, rng):
    disks, before, keep, text = rig.cut_disks()
    for _ in range(3):
        disks, _ = cut_in_repair(rig, rng, disks, "plain", 3.0, noted=True)
    result = rig.through(disks, ["tool", "booted", "by-hand", "judge", "poweroff"])
    rig.tell(result)
    said = re.search("left out|passing over", " ".join(result.said()))
    if not said:
        raise Failure("the fourth boot does not say what it leaves out: %s" % " / ".join(result.said()))
    status, state = result.status()
    if status in ("0", "1") or state != "failed":
        raise Failure("it left something out with status %s, and the unit is %s: nobody would notice" % (status, state))
    rig.kept(result, keep)
    last = rig.through(disks, ["tool", "judge", "wait"])
    rig.tell(last)
    rig.drop(disks)
    return [Row("three failed attempts", "ext4", "the root", "three cuts in the repair", before,
                "%s (status %s), boots; then by hand: %s" % (
                    "steps aside" if said.group() == "left out" else "passes over what it was at", status, result.verdict),
                result.tool_time())]


CASES = {"again-unit": again("plain"), "again-initramfs": again("unit"), "aside": aside}
