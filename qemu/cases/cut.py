# SPDX-License-Identifier: MIT
"""Cuts while images are pulled and up to 40 s after, and a repair from each of the places it can come from."""

from lab import Failure
from rig import BOOT, STOP, WORK, Row

AFTER = 40.0
PLACES = {"root": "the root", "own": "its own disk"}


def by_unit(rig, disks):
    return rig.through(disks, ["tool", "judge", "heal", "poweroff"], "plain")


def by_initramfs(rig, disks):
    result = rig.through(disks, ["tool", "judge", "heal", "poweroff"], "unit")
    if not any("initrd" in unit for unit, _, _ in result.spans()):
        raise Failure("the initramfs did not run it")
    if "in this boot already" not in " ".join(result.said()):
        raise Failure("it was not done in the initramfs: %s" % " / ".join(x for x in result.said() if not x.startswith(" ")))
    return result


def by_hook(rig, disks):
    result = rig.through(disks, ["tool", "judge", "heal", "poweroff"], "hook")
    if "in this boot already" not in " ".join(result.said()):
        raise Failure("it was not done by the hook: %s" % " / ".join(x for x in result.said() if not x.startswith(" ")))
    return result


def by_hand(rig, disks):
    """From the rescue target, typed on the serial line."""
    with rig.boot(disks, ["tool", "judge", "heal", "poweroff"], "plain",
                  ["systemd.unit=rescue.target", "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1"]) as vm:
        vm.shows("Press Enter", BOOT, "the rescue shell")
        for _ in range(60):
            vm.type("")  # sulogin throws away what was typed before it was ready
            if vm.console.wait("# $", 3):
                break
        else:
            raise Failure("the rescue shell shows no prompt")
        vm.type("containerd-fsck; echo status=$?")
        look = vm.shows(r"^status=(\d+)", WORK, "the check by hand").group(1)
        vm.type("containerd-fsck repair; echo status=$?")
        status = vm.shows(r"^status=(\d+)", WORK, "the repair by hand").group(1)
        rig.note("by hand: check ended with %s, repair with %s" % (look, status))
        if (look, status) not in (("4", "1"), ("0", "0")):
            raise Failure("by hand: check ended with %s, repair with %s" % (look, status))
        vm.type("exit")
        result = rig.verdict(vm, BOOT + WORK)
        vm.off(STOP)
    return result


ROUTES = {"unit": by_unit, "initramfs": by_initramfs, "by hand": by_hand}


def case(fs, place):
    def run(rig, rng):
        routes = list(ROUTES)
        rng.shuffle(routes)
        moments = rig.cut_session(fs, place, [(rng.randrange(1, 6), rng.uniform(0, 3))],
                                  [rng.uniform(0, 8), rng.uniform(8, AFTER)])
        rows = []
        for (text, disks), route in zip(moments, routes):
            before, keep = rig.before(disks, fs)
            rig.note("cut %s: without repair %s are wrong; now %s" % (text, before, route))
            result = ROUTES[route](rig, disks)
            rig.tell(result)
            rig.kept(result, keep)
            rows.append(Row("cut, " + route, fs, PLACES[place], text, before, result.verdict, result.tool_time()))
            rig.drop(disks)
        return rows
    return run


def hook(rig, rng):
    """An initramfs without systemd: dracut's pre-pivot hook."""
    disks, before, keep, text = rig.cut_disks()
    result = by_hook(rig, disks)
    rig.tell(result)
    rig.kept(result, keep)
    rig.drop(disks)
    return [Row("cut, hook", "ext4", "the root", text, before, result.verdict, result.tool_time())]


CASES = {"cut-%s-%s" % (fs, place): case(fs, place) for fs in ("ext4", "xfs") for place in ("root", "own")}
CASES["hook"] = hook
