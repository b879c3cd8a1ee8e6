# SPDX-License-Identifier: MIT
"""The shortest that shows all of it: a cut after pulls, a boot whose unit repairs, a clean stop, a boot that has nothing to do."""

from clean import did_nothing
from rig import Row

FEW = ["fscktest.only=clock,many"]


def smoke(rig, rng):
    disks, before, keep, text = rig.cut_disks(parameters=FEW)
    rig.note("now a boot with the unit")
    result = rig.through(disks, ["tool", "judge", "booted", "poweroff"], parameters=FEW)
    rig.tell(result)
    rig.kept(result, keep)
    rig.note("now a boot after the clean stop")
    again = rig.through(disks, ["tool", "judge", "wait"], parameters=FEW)
    rig.tell(again)
    ms = did_nothing(again)
    return [Row("smoke", "ext4", "the root", "clean stop", "-", "nothing to do, %s ms; %s" % (ms, again.verdict), again.tool_time()),
            Row("smoke", "ext4", "the root", "cut " + text, before, result.verdict, result.tool_time())]


CASES = {"smoke": smoke}
