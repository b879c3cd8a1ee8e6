# SPDX-License-Identifier: MIT
"""A main database that is broken, and a store that nothing can be done with: the node boots, with all it had or all the same."""

from lab import Failure
from rig import Row


def case(name, harm, happened, then, initramfs, must):
    def run(rig, rng):
        disks = rig.clean_disks()
        rig.through(disks, [harm, "wait"])
        result = rig.through(disks, ["tool", *then, "wait"], initramfs)
        rig.tell(result)
        if result.status() != must:
            raise Failure("%s: the unit ends with %s and is %s" % (happened, *result.status()))
        rig.drop(disks)
        return [Row(name, "ext4", "the root", happened, "-", "status %s, %s" % (must[0], result.verdict), result.tool_time())]
    return run


CASES = {"database": case("broken database", "ruin", "both meta pages of meta.db zeroed, cut", ["judge", "whole"], "plain",
                          ("1", "active")),
         "beyond": case("beyond repair", "misplace", "a link in place of the database's directory, cut", ["booted"], "unit",
                        ("8", "failed"))}
