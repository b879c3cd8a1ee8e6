# SPDX-License-Identifier: MIT
"""What the cases share: disks, boots, cuts, and what a cut left, measured on the host with the same containerd."""

import os
import random
import re
import shutil
import time

import lab as laboratory
from lab import Failure, clone, mount_disk, sh, umount
from vm import VM

# Seconds, for a machine with two cores that other things use as well; at least four times what a quiet one takes.
BOOT = 480     # to the agent
WORK = 900     # what a step takes: pulling, looking at all images
STOP = 300     # a shutdown


class Row:
    """A line of the table."""

    def __init__(self, case, fs="", place="", what="", before="", result="", tool=""):
        self.cells = [case, fs, place, what, before, result, tool]


class Boot:
    """What was learnt from a boot that ended with a verdict."""

    def __init__(self, vm, verdict):
        self.text = vm.agent.text
        self.console = vm.console.text
        self.verdict = verdict

    def lines(self, prefix):
        return [m.group(1) for m in re.finditer(r"^\d+\.\d+ " + re.escape(prefix) + r"(.*)$", self.text, re.M)]

    def images(self):
        """image -> ready | packed | incomplete | absent."""
        return {line.split()[0]: line.split()[1] for line in self.lines("image ")}

    def spans(self):
        """[(unit, start, end)] in seconds of the guest's uptime."""
        out = []
        for line in self.lines("ran "):
            unit, a, b = line.split()
            out.append((unit, float(a), float(b) if b != "-" else None))
        return out

    def said(self):
        """What the tool itself said: by unit and by hook."""
        out = []
        for line in self.lines("tool| "):
            m = re.match(r"\S+ \S+ (\S*): (.*)", line)
            if m and (m.group(1) == "containerd-fsck" or "containerd-fsck: " in m.group(2)):
                out.append(re.sub(r"^.*?containerd-fsck: ", "", m.group(2)))
        return out

    def status(self):
        """The unit's exit status, and the state systemd gave it."""
        unit = dict(line.split("=", 1) for line in self.lines("unit| ") if "=" in line)
        return unit.get("ExecMainStatus", "?"), unit.get("ActiveState", "?")

    def tool_time(self):
        return ", ".join("%s %s" % (u.replace("containerd-fsck-initrd.service", "initramfs").replace(
            "containerd-fsck.service", "unit"), "%.1f" % (b - a) if b else "?") for u, a, b in self.spans())


class Rig:
    def __init__(self, lab, image, sets, accelerator, seed):
        self.lab, self.image, self.sets, self.accelerator, self.seed = lab, image, sets, accelerator, seed
        self.logs = os.path.join(laboratory.TOP, "build", "qemu-logs")
        os.makedirs(self.logs, exist_ok=True)
        self.case, self.count, self.made = "", 0, {}
        self.version = "1.6"

    def random(self, what):
        return random.Random("%s/%s" % (self.seed, what))

    def begin(self, case):
        self.case = case
        with open(self.log(), "w") as f:
            f.write("SEED=%s %s\n" % (self.seed, case))

    def log(self):
        return os.path.join(self.logs, self.case + ".log")

    def keep(self, text):
        """In the log only: what is too long for the output."""
        with open(self.log(), "a") as f:
            f.write("# %s\n" % text)

    def note(self, text):
        laboratory.note("%s: %s" % (self.case, text))
        self.keep(text)

    # ------------------------------------------------------------------------------------------------- disks

    def path(self, what):
        self.count += 1
        return os.path.join(self.lab.disks, "%s-%d" % (what, self.count))

    def original(self, name):
        """A disk of the image on the file system that can clone; brought there when first asked for."""
        there = os.path.join(self.lab.disks, name)
        if not os.path.exists(there):
            sh("cp", "--sparse=always", os.path.join(self.image, name), there)
        return there

    def fresh(self, fs, place):
        if place == "root":
            return self.copies([self.original("root-" + fs)])
        return self.copies([self.original("root-own"), self.original("store-" + fs)])

    def copies(self, disks):
        out = []
        for disk in disks:
            out.append(self.path(self.case))
            clone(disk, out[-1])
        return out

    def drop(self, disks):
        for disk in disks:
            os.unlink(disk)

    def store(self, disks):
        """Which disk the store is on, and where there."""
        return (disks[1], "") if len(disks) > 1 else (disks[0], "var/lib/containerd")

    class Mounted:
        """The store's root on the host, of a disk that no machine uses."""

        def __init__(self, rig, disks, fs):
            self.rig, self.fs = rig, fs
            self.disk, self.below = rig.store(disks)

        def __enter__(self):
            self.where = os.path.join(self.rig.lab.work, "store")
            mount_disk(self.disk, self.where, self.fs)
            return os.path.join(self.where, self.below)

        def __exit__(self, *_):
            umount(self.where)

    def mounted(self, disks, fs):
        return Rig.Mounted(self, disks, fs)

    # ------------------------------------------------------------------------------------------------- boots

    def boot(self, disks, steps, initramfs="plain", parameters=(), extra=()):
        return VM(self.image, self.accelerator, disks, initramfs, list(parameters) + ["fscktest=" + ",".join(steps)],
                  self.log(), extra)

    def verdict(self, vm, seconds=BOOT + WORK):
        """Waits for it; a bad one ends the case."""
        m = vm.says(r"^\d+\.\d+ verdict (.*)\n", seconds, "the guest's verdict")
        if not m.group(1).startswith("ok: "):
            raise Failure("in the guest: " + m.group(1)[5:])
        return Boot(vm, m.group(1)[4:])

    def through(self, disks, steps, initramfs="plain", parameters=(), seconds=BOOT + WORK):
        """A boot to its verdict and, if its last step is poweroff, to the end; else it is cut there."""
        with self.boot(disks, steps, initramfs, parameters) as vm:
            result = self.verdict(vm, seconds)
            if steps[-1] == "poweroff":
                vm.off(STOP)
            else:
                vm.cut()
        return result

    def tell(self, result):
        """Into the output: when the tool ran, how it ended and what it said."""
        for unit, a, b in result.spans():
            self.note("%s from %.2f to %s s of the guest's uptime" % (unit, a, "%.2f" % b if b else "?"))
        self.note("containerd-fsck.service: exit status %s, %s" % result.status())
        for line in [x for x in result.said() if not x.startswith(" ")][:12]:
            self.note("  " + line)
        self.note(result.verdict)

    # ---------------------------------------------------------------------------------- what a cut has left

    def before(self, disks, fs):
        """What containerd makes of the store without help: on clones, on the host, by the same version.

        (text for the table, names of the images that are listed complete and whose blobs are all local and good)"""
        copy = [d if d != self.store(disks)[0] else self.copies([d])[0] for d in disks]
        keep, listed, wrong_images, wrong_files = set(), 0, 0, 0
        try:
            with self.mounted(copy, fs) as root:
                laboratory.new_boot()
                if not os.path.isdir(root):
                    return "no store", keep
                daemon = laboratory.Containerd(self.lab, self.version, root)
                try:
                    daemon.start()
                    for ns, some in self.sets.items():
                        known = daemon.states(ns)
                        for i in some:
                            if known.get(laboratory.reference(i)) != "ready":
                                continue
                            listed += 1
                            if not laboratory.bad_blobs(root, i):
                                keep.add("%s/%s" % (ns, i.name.rsplit("/", 1)[-1]))
                            lines = self.differences(daemon, ns, i)
                            wrong_images += bool(lines)
                            wrong_files += len({line.split(": ")[0] for line in lines})
                except Failure as e:
                    return "containerd does not start: %s" % laboratory.brief(e), keep
                finally:
                    daemon.kill()
        finally:
            self.drop([self.store(copy)[0]])
        return "%d of %d listed images, %d files" % (wrong_images, listed, wrong_files), keep

    def differences(self, daemon, ns, image):
        import verify
        try:
            with daemon.view(ns, image, tidy=False) as where:
                return verify.differences(image.tree, where, limit=1000000)
        except Failure as e:
            return ["cannot be mounted: " + laboratory.brief(e)]

    def kept(self, result, keep):
        """What was listed before and could be repaired from local blobs is listed still."""
        images = result.images()
        lost = sorted(k for k in keep if images.get(k) != "ready")
        if lost:
            raise Failure("listed before the repair, with good local blobs, and not after it: " + ", ".join(
                "%s (%s)" % (k, images.get(k, "not told of")) for k in lost))

    # -------------------------------------------------------------------------------- states that several cases need

    def cut_session(self, fs, place, during, after, parameters=()):
        """Pulls in a machine, and its disks as a cut at each moment leaves them: [(text, disks)].

        during: (n, seconds), so long after n of the pulls had ended; after: seconds after the last had. At the last moment
        the machine is killed; at the others it stands still while its disks are cloned."""
        disks = self.fresh(fs, place)
        out = []
        with self.boot(disks, ["pull", "wait"], parameters=parameters) as vm:
            vm.says("pulling", BOOT, "the guest begins to pull")
            began = ended = time.monotonic()
            count = 0
            for moment in sorted(during) + [(None, s) for s in sorted(after)]:
                n, seconds = moment
                while n is not None and count < n:
                    vm.says(r"pull of \S+ ended with 0", WORK, "an image is pulled")
                    count, ended = count + 1, time.monotonic()
                if n is None and count is not None:
                    self.verdict(vm, WORK)
                    count, ended = None, time.monotonic()
                    self.note("the pulls took %.0f s" % (ended - began))
                time.sleep(max(0.0, ended + seconds - time.monotonic()))
                text = "%.1f s after the pulls" % seconds if n is None else "%.1f s after %d of 6 pulls" % (seconds, n)
                if len(out) + 1 == len(during) + len(after):
                    vm.cut()
                    copy = self.copies(disks)
                else:
                    copy = [self.path(self.case) for _ in disks]
                    vm.peek(copy)
                out.append((text, copy))
        self.drop(disks)
        return out

    def cut_disks(self, fs="ext4", place="root", parameters=()):
        """A store that a cut some seconds after the pulls has damaged; made once, a clone each time. (disks, before, keep)"""
        key = ("cut", fs, place, *parameters)
        if key not in self.made:
            rng = self.random("cut %s %s" % (fs, place))
            self.note("making a store to work on: a cut after pulls")
            (text, disks), = self.cut_session(fs, place, [], [rng.uniform(2, 6)], parameters)
            text2, keep = self.before(disks, fs)
            self.note("cut %s: without repair %s are wrong" % (text, text2))
            self.made[key] = disks, text2, keep, text
        disks, before, keep, text = self.made[key]
        return self.copies(disks), before, keep, text

    def clean_disks(self, fs="ext4", place="root"):
        """A store with all images and a clean stop."""
        key = ("clean", fs, place)
        if key not in self.made:
            self.note("making a store to work on: pulls, then a clean stop")
            disks = self.fresh(fs, place)
            # on the first boot there is no store, so nothing is checked, and its end is not vouched for
            self.through(disks, ["booted", "poweroff"])
            self.through(disks, ["pull", "poweroff"])
            self.made[key] = disks
        return self.copies(self.made[key])

    def close(self):
        shutil.rmtree(self.lab.disks, ignore_errors=True)
