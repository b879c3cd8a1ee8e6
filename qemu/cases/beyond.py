# SPDX-License-Identifier: MIT
"""A store that nothing can be done with: the node boots all the same."""

from lab import Failure
from rig import Row


def beyond(rig, rng):
    disks = rig.clean_disks()
    rig.through(disks, ["ruin", "wait"])
    result = rig.through(disks, ["tool", "booted", "wait"], "unit")
    rig.tell(result)
    status, state = result.status()
    if status not in ("4", "8") or state != "failed":
        raise Failure("without a valid page in meta.db the unit ends with %s and is %s" % (status, state))
    rig.drop(disks)
    return [Row("beyond repair", "ext4", "the root", "both meta pages of meta.db zeroed, cut", "-",
                "status %s, %s" % (status, result.verdict), result.tool_time())]


CASES = {"beyond": beyond}
