# SPDX-License-Identifier: MIT
"""One virtual machine: QEMU with a console to read and type on, a port on which the guest's agent speaks, and a plug to pull.

A cut is SIGKILL: what the guest had handed to its disk is in the file, what was in the guest's memory is gone. A peek() stops
the machine for the moment in which its disks are cloned: what the clone holds is what a cut at that instant leaves.
"""

import codecs
import contextlib
import os
import re
import signal
import struct
import subprocess
import threading
import time

from lab import Failure, clone

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>M78])|[\r\x00]")
BEGUN = re.compile(r"\x1b(\[[0-9;?]*|[()])?$")  # an escape sequence whose rest is still to come
DEAD = re.compile(r"Kernel panic.*|Warning: Boot has failed.*|.*You are in emergency mode.*|reboot: System halted")
HUNG = re.compile(r"watchdog: BUG: soft lockup.*")
PATIENCE = float(os.environ.get("PATIENCE", "4"))  # stretches every limit; nothing is judged by it, and what hangs ends
MEMORY = 1024


class Hung(Failure):
    """The guest's kernel goes round in a circle, which emulated processors bring it to now and then: nothing is known."""


class Stream:
    """Text that arrives; each wait looks only at what came after the last match."""

    def __init__(self):
        self.text, self.at, self.more, self.closed = "", 0, threading.Condition(), False

    def add(self, text):
        with self.more:
            self.text += text
            self.more.notify_all()

    def close(self):
        with self.more:
            self.closed = True
            self.more.notify_all()

    def wait(self, pattern, seconds):
        """The match, or None if it did not come in time or the stream ended."""
        end = time.monotonic() + seconds
        with self.more:
            while True:
                found = re.compile(pattern, re.M).search(self.text, self.at)
                if found:
                    self.at = found.end()
                    return found
                left = end - time.monotonic()
                if left <= 0 or self.closed:
                    return None
                self.more.wait(min(left, 1))


class VM:
    def __init__(self, image, accelerator, disks, initramfs, parameters, log, extra=()):
        self.disks, self.log = disks, log
        self.console, self.agent = Stream(), Stream()
        self.began, self.ended = time.monotonic(), False
        port = self.fifo = disks[0] + ".port"
        with contextlib.suppress(OSError):
            os.unlink(port)
        os.mkfifo(port)
        # opened for both: so no open waits for the other side
        self.port = os.fdopen(os.open(port, os.O_RDWR), "rb", 0)
        command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-m", str(MEMORY), "-smp", "2",
                   *accelerator, "-device", "virtio-rng-pci", "-nic", "none",
                   "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
                   "-chardev", "file,id=agent,path=" + port, "-serial", "chardev:agent"]
        # devices are found in the order they are given in; if=virtio would come after all of them
        for n, disk in enumerate(disks):
            command += ["-drive", "file=%s,format=raw,if=none,cache=writeback,id=disk%d" % (disk, n),
                        "-device", "virtio-blk-pci,drive=disk%d" % n]
        command += list(extra)
        command += ["-kernel", os.path.join(image, "vmlinuz"), "-initrd", os.path.join(image, "initramfs-" + initramfs),
                    "-append", " ".join(["console=ttyS0", "root=/dev/vda", "ro", "panic=-1", "quiet", "loglevel=5",
                                         "printk.devkmsg=on", "systemd.show_status=1", "rd.shell=0"] + list(parameters))]
        with open(log, "a") as f:
            f.write("\n==== %s\n%s\n" % (time.strftime("%H:%M:%S"), " ".join(command)))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.threads = [threading.Thread(target=self.read, args=a, daemon=True)
                        for a in ((self.process.stdout, self.console, "| "), (self.port, self.agent, "> "))]
        for t in self.threads:
            t.start()

    def read(self, source, stream, mark):
        line, rest, decode = "", "", codecs.getincrementaldecoder("utf-8")("replace").decode
        while True:
            data = os.read(source.fileno(), 65536)
            if not data or self.ended and mark == "> ":
                break
            text = rest + decode(data)
            begun = BEGUN.search(text)
            rest = begun.group() if begun else ""
            text = ESCAPES.sub("", text[:len(text) - len(rest)])
            stream.add(text)
            line += text
            done, _, line = line.rpartition("\n")
            if done:
                with open(self.log, "a") as f:
                    for each in done.split("\n"):
                        f.write("%7.2f %s%s\n" % (time.monotonic() - self.began, mark, each))
        stream.close()
        if mark == "| ":
            time.sleep(.2)  # what the guest said last may still be on its way
            self.agent.close()

    def wait(self, stream, pattern, seconds, what):
        end = time.monotonic() + seconds * PATIENCE
        while True:
            left = end - time.monotonic()
            found = stream.wait(pattern, min(left, 5))
            if found:
                return found
            if self.process.poll() is not None:
                raise Failure("%s: the machine ended before it was seen" % what)
            dead = DEAD.search(self.console.text)
            if dead:
                raise Failure("%s: not seen, and the console says: %s" % (what, dead.group()))
            hung = HUNG.search(self.console.text)
            if hung:
                raise Hung("%s: not seen, and the console says: %s" % (what, hung.group()))
            if left <= 0:
                raise Failure("%s: not seen within %d s" % (what, seconds * PATIENCE))

    def says(self, pattern, seconds, what=None):
        """The agent says a line."""
        return self.wait(self.agent, pattern, seconds, what or "agent: " + pattern)

    def shows(self, pattern, seconds, what=None):
        """The console shows something."""
        return self.wait(self.console, pattern, seconds, what or "console: " + pattern)

    def type(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def cut(self):
        self.process.kill()
        self.end()

    def peek(self, copies):
        """The disks as a cut at this instant would leave them; the machine goes on."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            for disk, copy in zip(self.disks, copies):
                clone(disk, copy)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def off(self, seconds):
        """The guest powers itself off."""
        try:
            self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("the guest does not power off within %d s" % (seconds * PATIENCE)) from None
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.threads[0].join(10)
        if not self.ended:  # nobody else writes there now: this wakes its reader
            self.ended = True
            os.write(self.port.fileno(), b"\n")
            self.threads[1].join(10)
            self.port.close()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(OSError):
            os.unlink(self.fifo)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


# ---------------------------------------------------------------------------------------------- the accelerator

def newc(files):
    """An initramfs: (name, mode, bytes) of each file."""
    out = b""
    for n, (name, mode, data) in enumerate(list(files) + [("TRAILER!!!", 0, b"")]):
        raw = name.encode() + b"\0"
        fields = [n + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        out += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return out


def accelerator(image, work, busybox, say):
    """What boots a kernel to its first program within 20 s, KVM first: that /dev/kvm is there says nothing."""
    tcg = ["-accel", "tcg,thread=multi", "-cpu", "max"]
    with open("/proc/sys/kernel/random/boot_id") as f:
        known = os.path.join(os.path.dirname(image), "qemu-accelerator")
        key = f.read().strip()
    with contextlib.suppress(OSError), open(known) as f:
        if f.read() == key + " tcg":
            return tcg
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return tcg
    tiny = os.path.join(work, "tiny.cpio")
    with open(tiny, "wb") as f:
        f.write(newc([("dev", 0o40755, b""), ("bin", 0o40755, b""), ("bin/busybox", 0o100755, busybox),
                      ("init", 0o100755, b"#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs d /dev\n"
                                         b"echo userspace is up >/dev/console\n/bin/busybox poweroff -f\n")]))
    kvm = ["-accel", "kvm", "-cpu", "host"]
    try:
        p = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-m", "512", *kvm,
                            "-serial", "stdio", "-kernel", os.path.join(image, "vmlinuz"), "-initrd", tiny, "-append",
                            "console=ttyS0 quiet panic=-1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=20)
        if b"userspace is up" in p.stdout:
            return kvm
        why = "it ended before its first program"
    except subprocess.TimeoutExpired:
        why = "no program ran within 20 s"
    say("KVM does not work here (%s): TCG" % why)
    with open(known, "w") as f:
        f.write(key + " tcg")
    return tcg


# -------------------------------------------------------------------------------------------- the block log

def log_entries(path):
    """What QEMU's blklogwrites wrote, the format of dm-log-writes: (sector, length, flags, offset of the data)."""
    with open(path, "rb") as f:
        magic, version, count, size = struct.unpack("<QQQI", f.read(28))
        if magic != 0x6a736677736872 or version != 1:
            raise Failure("the block log is not one: %x %d" % (magic, version))
        at, out = size, []
        for _ in range(count):
            f.seek(at)
            sector, sectors, flags, _ = struct.unpack("<QQQQ", f.read(32))
            discard = bool(flags & 4)
            out.append((sector * size, sectors * size, flags, at + size))
            at += size + (0 if discard else sectors * size)
        return out


def replay(log, entries, disk):
    """Writes entries onto disk."""
    with open(log, "rb") as f, open(disk, "r+b") as out:
        for start, length, flags, at in entries:
            if flags & 4 or not length:
                continue  # a discard leaves what it likes
            f.seek(at)
            out.seek(start)
            left = length
            while left:
                data = f.read(min(left, 1 << 20))
                out.write(data)
                left -= len(data)
