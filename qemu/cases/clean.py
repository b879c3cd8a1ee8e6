# SPDX-License-Identifier: MIT
"""A clean stop: the next boot does nothing, and says in how many milliseconds."""

import re

from lab import Failure
from rig import Row


def did_nothing(result):
    """The unit ended with 0 and said that the stop was clean; the milliseconds it took, by its own word."""
    status, state = result.status()
    if (status, state) != ("0", "active"):
        raise Failure("after a clean stop the unit has status %s and is %s" % (status, state))
    said = " ".join(result.said())
    if "the last stop was clean, nothing to do" not in said:
        raise Failure("after a clean stop it is not said to be one: %s" % (said or "nothing said"))
    found = re.search(r"nothing to do \((\d+\.\d+) ms\)", said)
    return found.group(1) if found else "?"


def case(fs, place, initramfs):
    def run(rig, rng):
        disks = rig.clean_disks(fs, place)
        result = rig.through(disks, ["tool", "judge", "whole", "poweroff"], initramfs)
        rig.tell(result)
        ms = did_nothing(result)
        rig.drop(disks)
        return [Row("clean stop", fs, "the root" if place == "root" else "its own disk", "stop, boot (%s)" % initramfs, "-",
                    "nothing to do, %s ms; %s" % (ms, result.verdict), result.tool_time())]
    return run


def first(rig, rng):
    """A node's first session: no store at boot, pulls, a clean stop. The next boot finds nothing wrong, having looked or not."""
    disks = rig.fresh("ext4", "root")
    rig.through(disks, ["pull", "poweroff"])
    result = rig.through(disks, ["tool", "judge", "whole", "wait"])
    rig.tell(result)
    if result.status() != ("0", "active"):
        raise Failure("after the first clean stop the unit has status %s and is %s" % result.status())
    rig.drop(disks)
    return [Row("first session", "ext4", "the root", "pulls into a new store, clean stop", "-", "%s; %s"
                % (result.said()[0].split(": ", 1)[-1], result.verdict), result.tool_time())]


CASES = {"first": first, "clean-unit": case("ext4", "root", "plain"), "clean-initramfs": case("ext4", "root", "unit"),
         "clean-own": case("xfs", "own", "plain")}
