# SPDX-License-Identifier: MIT
"""A main database that is broken, and a store that nothing can be done with: the node boots, with all it had or all the same."""

from lab import Failure
from rig import Row


def database(rig, rng):
    disks = rig.clean_disks()
    rig.through(disks, ["ruin", "wait"])
    result = rig.through(disks, ["tool", "judge", "whole", "wait"])
    rig.tell(result)
    status, state = result.status()
    if (status, state) != ("1", "active"):
        raise Failure("without a valid page in meta.db the unit ends with %s and is %s" % (status, state))
    rig.drop(disks)
    return [Row("broken database", "ext4", "the root", "both meta pages of meta.db zeroed, cut", "-",
                "status %s, %s" % (status, result.verdict), result.tool_time())]


def beyond(rig, rng):
    disks = rig.clean_disks()
    rig.through(disks, ["misplace", "wait"])
    result = rig.through(disks, ["tool", "booted", "wait"], "unit")
    rig.tell(result)
    status, state = result.status()
    if (status, state) != ("8", "failed"):
        raise Failure("with a link in place of its database's directory the unit ends with %s and is %s" % (status, state))
    rig.drop(disks)
    return [Row("beyond repair", "ext4", "the root", "a link in place of the database's directory, cut", "-",
                "status %s, %s" % (status, result.verdict), result.tool_time())]


CASES = {"database": database, "beyond": beyond}
