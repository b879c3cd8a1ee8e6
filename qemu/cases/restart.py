# SPDX-License-Identifier: MIT
"""A container with a restart policy is started again on its own layer, in which is what it had waited for."""

import time

from rig import BOOT, WORK, Row


def case(fs, place, initramfs):
    def run(rig, rng):
        disks = rig.fresh(fs, place)
        seconds = rng.uniform(0, 12)
        with rig.boot(disks, ["pull", "container", "wait"], initramfs) as vm:
            rig.verdict(vm, BOOT + WORK)
            time.sleep(seconds)
            vm.cut()
        before, keep = rig.before(disks, fs)
        rig.note("cut %.1f s after a container wrote: without repair %s are wrong" % (seconds, before))
        result = rig.through(disks, ["tool", "kept", "judge", "poweroff"], initramfs)
        rig.tell(result)
        rig.kept(result, keep)
        last = rig.through(disks, ["tool", "kept", "judge", "wait"], initramfs)
        rig.tell(last)
        rig.drop(disks)
        return [Row("restart policy", fs, "the root" if place == "root" else "its own disk",
                    "%.1f s after the container wrote" % seconds, before, result.verdict, result.tool_time())]
    return run


CASES = {"restart-ext4": case("ext4", "root", "plain"), "restart-xfs": case("xfs", "own", "unit")}
