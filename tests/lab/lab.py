# SPDX-License-Identifier: MIT
"""The laboratory: real containerd on real file systems whose power can be cut at any instant.

A disk is a file on an XFS made for the run, looped and formatted as ext4, XFS or btrfs. cut() clones
that file with one FICLONE, which is atomic: the clone is what the disk held at that instant, and mounting
it replays the journal as the next boot would. Everything runs in mount, network and process namespaces of
its own: no daemon, mount, loop device or port outlives the run, even a killed one.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import images
import verify

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("LAB_CACHE", os.path.join(TOP, "build", "cache"))
TOOL = os.environ.get("FSCK", os.path.join(TOP, "build", "containerd-fsck"))
REGISTRY = "127.0.0.1:5000"
VERSIONS = ("1.6", "1.7", "2")
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
FICLONE = 0x40049409
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    pass


# Nothing is judged by how long it takes: what has a limit has one only so that what hangs ends.
HANGS = 1800


def sh(*args, check=True, timeout=HANGS, env=None, stdin=None):
    """Runs a command; (exit status, output with errors)."""
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, env=env,
                       stdin=subprocess.DEVNULL if stdin is None else stdin, errors="replace")
    if check and p.returncode:
        raise Failure("%s: exit %d: %s" % (" ".join(map(str, args)), p.returncode, p.stdout.strip()[-600:]))
    return p.returncode, p.stdout


def brief(error):
    """The last thing a command said, without paths of this run."""
    text = str(error).strip().splitlines()[-1] if str(error).strip() else "nothing said"
    return re.sub(r"/\S*/(root/|io\.containerd)", r"\1", text)


# -------------------------------------------------------------------------------------------- results

bad = 0


def ok(name):
    print("ok - " + name, flush=True)


def not_ok(name, why):
    global bad
    bad += 1
    print("not ok - %s: %s" % (name, " | ".join(str(why).split("\n"))), flush=True)


def skip(name, why):
    print("skip - %s: %s" % (name, why), flush=True)


def note(text):
    print("# " + text, flush=True)


# ----------------------------------------------------------------------------------------- namespaces

def enter(name):
    """Starts the calling script again inside its own namespaces, or ends it with a named skip."""
    if os.environ.get("LAB_INSIDE") == name:
        del os.environ["LAB_INSIDE"]
        return reap()
    if os.geteuid() != 0:
        skip(name, "not root")
        sys.exit(0)
    flags = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child",
             "--mount-proc"]
    if not shutil.which("unshare") or sh(*flags, "true", check=False)[0]:
        skip(name, "this kernel or sandbox gives no mount, network and process namespaces")
        sys.exit(0)
    sys.stdout.flush()
    os.execvpe("unshare", flags + [sys.executable] + sys.argv, dict(os.environ, LAB_INSIDE=name))


def reap():
    """Process 1 of the new process namespace buries orphans; its child is the script."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        loopback_up()
        return
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda n, _: os._exit(128 + n))
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def unshare(flags):
    if libc.unshare(flags):
        raise Failure("unshare: " + os.strerror(ctypes.get_errno()))


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def isolate():
    """For a forked worker: mounts and a network of its own, and a /run as after a boot."""
    unshare(CLONE_NEWNS | CLONE_NEWNET)
    loopback_up()
    sh("mount", "--make-rprivate", "/")
    new_boot()


def new_boot():
    sh("mount", "-t", "tmpfs", "-o", "mode=755,size=512m", "run", "/run")
    os.mkdir("/run/tmp")


# ---------------------------------------------------------------------------------------------- places

class Lab:
    """A run: its work directory, the packages that tests/lab/deps brought, the images' registry."""

    def __init__(self, name):
        self.name = name
        self.packages = {}
        try:
            with open(os.path.join(CACHE, "lab", "where")) as f:
                self.packages = dict(line.split() for line in f)
        except OSError:
            pass
        self.image_dir = os.path.join(os.path.abspath(CACHE), "images")
        os.makedirs(self.image_dir, exist_ok=True)
        self.work = os.path.join(TOP, "build", "lab-work-%s-%s" % (name, os.urandom(4).hex()))

    def path(self, package, *more):
        return os.path.join(os.path.abspath(CACHE), "lab", package, *more)

    def version(self, v):
        return self.packages.get("containerd-" + v)

    def busybox(self):
        for p in ("bin/busybox", "usr/bin/busybox"):
            if os.path.exists(self.path("busybox", p)):
                with open(self.path("busybox", p), "rb") as f:
                    return f.read()
        raise Failure("no busybox: run tests/lab/deps")

    def zoneinfo(self):
        """Some time zones of Debian's tzdata; Asia/Shanghai among them."""
        top = self.path("tzdata", "usr/share/zoneinfo")
        for area in ("Asia", "Europe", "America", "Etc"):
            for name in sorted(os.listdir(os.path.join(top, area))):
                p = os.path.join(top, area, name)
                if os.path.isfile(p) and not os.path.islink(p):
                    with open(p, "rb") as f:
                        yield os.fsencode(os.path.join("usr/share/zoneinfo", area, name)), f.read()

    def missing(self):
        """Why nothing at all can run here, or None."""
        need = [p for p in ("runc", "registry", "busybox", "tzdata") if p not in self.packages]
        if need:
            return "run tests/lab/deps first: no " + ", ".join(need)
        for tool in ("mkfs.xfs", "mount", "losetup", "zstd"):
            if not shutil.which(tool):
                return "no " + tool
        return None

    def open(self, gigabytes=24):
        """Makes the reflink file system that disks live on. Why not, or None."""
        self.sweep()
        below = os.path.join(self.work, "below")
        self.disks = os.path.join(self.work, "disks")
        os.mkdir(below)
        os.mkdir(self.disks)
        with open("/proc/meminfo") as f:
            free = dict(line.split(":") for line in f)["MemAvailable"]
        if int(free.split()[0]) > 10 << 20:
            sh("mount", "-t", "tmpfs", "-o", "size=8g", "lab", below)  # memory: nothing here must last
        image = os.path.join(below, "xfs")
        with open(image, "wb") as f:
            f.truncate(gigabytes << 30)
        try:
            sh("mkfs.xfs", "-q", "-m", "reflink=1", image)
            sh("mount", "-o", "loop,noatime,discard", image, self.disks)
        except Failure as e:
            return "no XFS on a loop device: %s" % e
        probe = os.path.join(self.disks, "probe")
        with open(probe, "wb") as f:
            f.write(b"x" * 4096)
        try:
            clone(probe, probe + "2")
        except OSError as e:
            return "no reflink: %s" % e
        return None

    def close(self):
        with open("/proc/self/mounts") as f:
            mounts = [line.split()[1] for line in f]
        for where in reversed([m for m in mounts if m.startswith(self.work + "/")]):
            sh("umount", "-l", where, check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def sweep(self):
        """Takes a work directory of our own, and removes those of runs that were killed."""
        place = os.path.dirname(self.work)
        os.makedirs(self.work)
        self.lock = os.open(os.path.join(self.work, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        for name in os.listdir(place):
            old = os.path.join(place, name)
            if not name.startswith("lab-work-") or old == self.work:
                continue
            try:
                lock = os.open(os.path.join(old, "lock"), os.O_RDWR)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                pass
            except OSError:
                continue
            shutil.rmtree(old, ignore_errors=True)

    def file_system_trouble(self, fs):
        """None if disks of this kind can be made, cut and mounted beside each other."""
        if not shutil.which("mkfs." + fs):
            return "no mkfs." + fs
        a, b = os.path.join(self.disks, "a"), os.path.join(self.disks, "b")
        ma, mb = os.path.join(self.work, "ma"), os.path.join(self.work, "mb")
        try:
            os.makedirs(ma, exist_ok=True)
            os.makedirs(mb, exist_ok=True)
            make_disk(a, fs)
            mount_disk(a, ma, fs)
            open(os.path.join(ma, "one"), "w").close()
            sh("sync", "-f", ma)
            clone(a, b)
            open(os.path.join(ma, "two"), "w").close()
            mount_disk(b, mb, fs)
            if sorted(set(os.listdir(mb)) - {"lost+found"}) != ["one"]:
                return "the copy of a mounted %s cannot be mounted beside it (kernel too old?)" % fs
            return None
        except (Failure, OSError) as e:
            return str(e)
        finally:
            sh("umount", mb, check=False)
            sh("umount", ma, check=False)
            for p in (a, b):
                with contextlib.suppress(OSError):
                    os.unlink(p)

    @contextlib.contextmanager
    def session(self, gigabytes=24):
        why = self.missing()
        if why:
            skip(self.name, why)
            yield False
            return
        try:
            why = self.open(gigabytes)
            if why:
                skip(self.name, why)
            yield not why
        finally:
            self.close()

    def combinations(self, versions=VERSIONS, file_systems=FILE_SYSTEMS):
        """The (version, file system) pairs that can run; a named skip for each that cannot."""
        trouble = {fs: self.file_system_trouble(fs) for fs in file_systems}
        out = []
        for fs in file_systems:
            for v in versions:
                if not self.version(v):
                    skip("%s containerd %s on %s" % (self.name, v, fs), "that containerd is not to be had")
                elif trouble[fs]:
                    skip("%s containerd %s on %s" % (self.name, v, fs), trouble[fs])
                else:
                    out.append((v, fs))
        for v in versions:
            if self.version(v):
                note("containerd %s is %s" % (v, self.version(v)))
        return out


# ----------------------------------------------------------------------------------------------- disks

def make_disk(path, fs, megabytes=3000):
    with contextlib.suppress(OSError):
        os.unlink(path)
    with open(path, "wb") as f:
        f.truncate(megabytes << 20)
    quiet = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}[fs]
    sh("mkfs." + fs, *quiet, path)


def mount_disk(path, where, fs, read_only=False):
    options = "loop" + (",nouuid" if fs == "xfs" else "") + (",ro" if read_only else "")
    os.makedirs(where, exist_ok=True)
    sh("mount", "-t", fs, "-o", options, path, where)


def umount(where):
    for _ in range(600):
        if not sh("umount", where, check=False)[0]:
            return
        time.sleep(.1)
    sh("umount", "-l", where)


def clone(source, to):
    """The power cut: to becomes source as it is at this instant."""
    a = os.open(source, os.O_RDONLY)
    b = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        fcntl.ioctl(b, FICLONE, a)
    finally:
        os.close(a)
        os.close(b)


# ----------------------------------------------------------------------------------------- the daemons

def spawn(args, log, env=None):
    with open(log, "ab") as f:
        return subprocess.Popen(args, stdout=f, stderr=f, stdin=subprocess.DEVNULL, env=env, start_new_session=True)


def wait_for(what, condition, seconds=HANGS):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(.03)
    raise Failure(what)


def end(process, how=signal.SIGTERM, seconds=300):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Registry:
    """Debian's docker-registry on loopback, its storage in the cache."""

    def __init__(self, lab):
        self.lab, self.process = lab, None

    def start(self):
        config = "/run/registry.yml"
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                    "storage: {filesystem: {rootdirectory: '%s'}}\nhttp: {addr: '%s'}\n"
                    % (os.path.join(self.lab.image_dir, "registry"), REGISTRY))
        self.process = spawn([self.lab.path("registry", "usr/bin/docker-registry"), "serve", config],
                             "/run/registry.log")

        def answers():
            try:
                return self.ask("GET", "/v2/")[0] == 200
            except OSError:
                return False
        wait_for("the registry does not answer", answers)
        return self

    def stop(self):
        end(self.process, signal.SIGKILL)

    def ask(self, verb, path, body=None, headers=()):
        c = http.client.HTTPConnection(REGISTRY, timeout=HANGS)
        c.request(verb, path, body=body, headers=dict(headers))
        r = c.getresponse()
        data = r.read()
        answer = r.status, data, r.getheader("Location")
        c.close()
        return answer

    def push(self, image):
        """Nothing that is there is written anew: for a moment it would be half there, for another test that pulls from this storage."""
        with open(os.path.join(self.lab.image_dir, ".push"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.push_what_is_missing(image)

    def push_what_is_missing(self, image):
        for digest, data in image.blobs.items():
            if any(digest == d for d, _ in image.manifests):
                continue
            if self.ask("HEAD", "/v2/%s/blobs/%s" % (image.name, digest))[0] == 200:
                continue
            status, text, where = self.ask("POST", "/v2/%s/blobs/uploads/" % image.name, b"")
            if status != 202:
                raise Failure("push: %d %r" % (status, text))
            where = where.split(REGISTRY, 1)[-1]
            where += ("&" if "?" in where else "?") + "digest=" + digest
            status, text, _ = self.ask("PUT", where, data, {"Content-Type": "application/octet-stream"})
            if status != 201:
                raise Failure("push: %d %r" % (status, text))
        for digest, media_type in image.manifests:
            for ref in (digest, "latest"):
                status, text, _ = self.ask("GET", "/v2/%s/manifests/%s" % (image.name, ref), headers={"Accept": media_type})
                if status == 200 and text == image.blobs[digest]:
                    continue
                status, text, _ = self.ask("PUT", "/v2/%s/manifests/%s" % (image.name, ref), image.blobs[digest],
                                           {"Content-Type": media_type})
                if status != 201:
                    raise Failure("push: %d %r" % (status, text))


def described(lab, what, make):
    """The images of make(), in the registry's storage and described; made once, then cached."""
    def push(all_images):
        registry = Registry(lab).start()
        try:
            for image in all_images:
                registry.push(image)
        finally:
            registry.stop()
    lock = os.open(os.path.join(lab.image_dir, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return images.cached(lab, what, make, push)
    finally:
        os.close(lock)


def reference(image):
    return "%s/%s:latest" % (REGISTRY, image.name)


class Containerd:
    """One boot of containerd on a root."""

    def __init__(self, lab, version, root):
        self.lab, self.v, self.root = lab, version, root
        self.bin = lab.path("containerd-" + version, "usr/bin")
        self.socket = "/run/containerd/containerd.sock"
        self.log = "/run/containerd.log"
        self.process = None
        # children inherit this; runc and the shim are found through PATH
        self.env = dict(os.environ, TMPDIR="/run/tmp",
                        PATH="%s:%s:/usr/sbin:/usr/bin:/sbin:/bin" % (self.bin, lab.path("runc", "usr/sbin")))

    def start(self):
        config = "/run/containerd.toml"
        off = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
               # a container with a restart policy would run again here, and its mounts stay when containerd is killed
               "io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart",
               "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
               "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
               "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
               "io.containerd.snapshotter.v1.erofs", "io.containerd.internal.v1.tracing",
               "io.containerd.tracing.processor.v1.otlp"]
        with open(config, "w") as f:
            f.write("version = 2\ndisabled_plugins = %s\n" % json.dumps(off))
        self.process = spawn([os.path.join(self.bin, "containerd"), "--config", config, "--root", self.root,
                              "--state", "/run/containerd", "--address", self.socket], self.log, self.env)

        def answers():
            if self.process.poll() is not None:
                raise Failure("containerd ended: " + self.log_tail())
            if not os.path.exists(self.socket):
                return False
            return self.ctr("namespaces", "ls", "-q", check=False)[0] == 0
        wait_for("containerd does not answer", answers)
        return self

    def log_tail(self, size=600):
        with open(self.log, errors="replace") as f:
            return f.read()[-size:].strip().replace("\n", " | ")

    def stop(self):
        end(self.process)
        with contextlib.suppress(OSError):
            os.unlink(self.socket)

    def kill(self):
        end(self.process, signal.SIGKILL)

    def ctr_args(self, *args, ns=None):
        return [os.path.join(self.bin, "ctr"), "--address", self.socket] + (["-n", ns] if ns else []) + list(args)

    def ctr(self, *args, ns=None, check=True, timeout=HANGS):
        return sh(*self.ctr_args(*args, ns=ns), check=check, timeout=timeout, env=self.env)

    def pull_args(self, ns, image):
        return self.ctr_args("images", "pull", "--plain-http", reference(image), ns=ns)

    def pull(self, ns, image, check=True):
        return sh(*self.pull_args(ns, image), check=check, env=self.env)

    def contain(self, ns, reference, name, *command, options=(), check=True):
        """A container of an image runs the command: (exit status, what it and ctr said). What it says goes to a file and not through
        ctr's pipes: of a process that ends at once containerd 1.6 now and then passes nothing on."""
        with tempfile.NamedTemporaryFile("r", errors="replace") as said:
            status, text = self.ctr("run", "--log-uri", "file://" + said.name, "--cgroup", "lab-%s" % os.urandom(6).hex(), *options,
                                    reference, name, *command, ns=ns, check=check)
            return status, said.read() + text

    def run(self, ns, image, name, *command, remove=False, check=True):
        """A container of the image runs the command; what it said. Its writable snapshot stays."""
        return self.contain(ns, reference(image), name, *command, options=["--rm"] if remove else [], check=check)[1]

    def states(self, ns, expected=None):
        """What containerd tells of each image it lists: reference -> incomplete | packed (complete, but not
        unpacked) | ready. If all of expected are told, the list is not asked for."""
        out = {}
        for line in self.ctr("images", "check", ns=ns, check=False)[1].splitlines():
            words = line.split()
            if words and words[0].startswith(REGISTRY):
                complete = "packed" if words[-1] != "true" else "ready"
                out[words[0]] = complete if "complete" in words else "incomplete"
        if expected is None or not expected <= set(out):
            for ref in self.ctr("images", "ls", "-q", ns=ns)[1].split():
                out.setdefault(ref, "incomplete")
        return out

    def state(self, ns, image):
        return self.states(ns).get(reference(image), "absent")

    @contextlib.contextmanager
    def view(self, ns, image, tidy=True):
        """The image's root file system as a container would get it, mounted read-only. Without tidy the snapshot made for it
        stays: for a disk that is thrown away."""
        where = "/run/view-%d" % time.monotonic_ns()
        os.mkdir(where)
        self.ctr("images", "mount", reference(image), where, ns=ns)  # takes a lease: collection may run
        try:
            yield where
        finally:
            umount(where)
            if tidy:
                self.ctr("snapshots", "rm", where, ns=ns, check=False)
            os.rmdir(where)

    def wrong(self, ns, image, tidy=True, but=frozenset()):
        """How a ready image is not what was pushed: its root file system (but for what is noted) and its local blobs."""
        out = bad_blobs(self.root, image)
        try:
            with self.view(ns, image, tidy) as where:
                out += verify.differences(image.tree, where, noted=but)
        except Failure as e:
            out.append("cannot be mounted: " + brief(e))
        return out

    def upper(self, ns, key):
        """Where, below the root, a container's own layer is; None if the snapshot is not known."""
        status, text = self.ctr("snapshots", "mounts", "/nowhere", key, ns=ns, check=False)
        found = re.search(r"upperdir=([^,\s]+)", text)
        return os.path.relpath(found.group(1), self.root) if not status and found else None


def noted(report, image, fs):
    """What of an image a repair said it left as it was, by path. btrfs may commit while an extraction sets the last owners, attributes
    and times: where all else of a snapshot is there, the tool changes nothing and notes each entry (0312)."""
    if fs != "btrfs":
        return frozenset()
    return {os.fsencode(f.get("path", "")) for f in findings(report) if f["code"] == "0312" and f["name"] in image.chain}


def blob_path(root, digest):
    return os.path.join(root, "io.containerd.content.v1.content/blobs", *digest.split(":"))


def bad_blobs(root, image):
    """Which of the image's blobs are not on the disk as they should be."""
    out = []
    for digest in image.local:
        try:
            if verify.read_hash(blob_path(root, digest))[0] != digest.split(":")[1]:
                out.append("blob %s has other bytes" % digest)
        except OSError as e:
            out.append("blob %s: %s" % (digest, e.strerror))
    return out


# ---------------------------------------------------------------------------------------- containerd-fsck

def have_tool():
    return os.access(TOOL, os.X_OK)


def findings(report):
    """The list of findings in a JSON report, wherever it calls them so; of several reports all."""
    if isinstance(report, list):
        return [f for one in report for f in findings(one)]
    if isinstance(report, dict):
        for name, value in report.items():
            if name in ("findings", "problems") and isinstance(value, list):
                return value
        for value in report.values():
            found = findings(value)
            if found:
                return found
    return []


def set_boot_id(boot_id=None):
    """What a program gets whose /proc/sys/kernel/random/boot_id is /run/boot_id."""
    boot_id = boot_id or hashlib.sha256(os.urandom(16)).hexdigest()
    text = "-".join((boot_id[:8], boot_id[8:12], "4" + boot_id[13:16], "a" + boot_id[17:20], boot_id[20:32]))
    with open("/run/boot_id", "w") as f:
        f.write(text + "\n")


def fsck(verb, root, boot_id=None, timeout=HANGS):
    """Runs the tool as in a new boot: an empty /run, another boot id, and told so, for the kernel's clock knows better. (exit status,
    output, report)."""
    set_boot_id(boot_id)
    report = "/run/tmp/report-%d.json" % time.monotonic_ns()
    script = ("mount --bind /run/boot_id /proc/sys/kernel/random/boot_id && mount --bind /run/tmp /mnt && "
              "mount -t tmpfs run /run && mkdir -p \"$(dirname \"$3\")\" && mount --bind /mnt \"$(dirname \"$3\")\" && "
              "tool=$1 root=$2; shift 3; exec \"$tool\" \"$@\" \"$root\"")
    options = ["--json", report, "--after-boot"] if verb in ("check", "repair", "boot") else []
    status, out = sh("unshare", "--mount", "sh", "-c", script, "sh", TOOL, root, report, verb, *options, check=False, timeout=timeout)
    try:
        with open(report) as f:
            text = f.read().strip()
        all_roots = []
        while text:
            one, at = json.JSONDecoder().raw_decode(text)
            all_roots.append(one)
            text = text[at:].strip()
        parsed = all_roots if len(all_roots) > 1 else all_roots[0] if all_roots else {}
    except (OSError, ValueError) as e:
        parsed = {"unreadable": str(e)}
    return status, out, parsed


def told(verb, root, boot, want, words):
    status, text, report = fsck(verb, root, boot_id=boot)
    if status not in want or words not in text:
        raise Failure("%s: exit %d: %s" % (verb, status, text.strip()[-600:]))
    return text, report


def vouched(root):
    """What counts in a journal: (sizes of blobs by digest, keys of snapshots, (ref, size) of downloads by directory), as
    containerd-fsck-journal(5) has it."""
    blobs, keys, downloads, new, unsettled = {}, set(), {}, [], False
    with open(os.path.join(root, "containerd-fsck/journal"), errors="replace") as f:
        for line in f:
            words = line.split()
            if len(words) < 3 or not line.endswith("\n"):
                break
            kind = words[1]
            if kind in ("boot", "clean"):
                unsettled, new = True, new if not unsettled else []
            if kind in ("blob", "snapshot", "ingest"):
                new.append(words)
            if kind == "settled" or not unsettled:
                for w in new:
                    if w[1] == "blob":
                        blobs[w[2]] = int(w[3])
                    elif w[1] == "snapshot":
                        keys.add(w[7])
                    else:
                        downloads[w[2]] = (w[5], int(w[3]))
                new = []
    return blobs, keys, downloads


class Recorder:
    """containerd-fsck record, in the boot that is given."""

    def __init__(self, root, boot):
        self.root, self.boot, self.log = root, boot, "/run/record.log"

    def start(self, tool=None, fault=None):
        set_boot_id(self.boot)
        script = "mount --bind /run/boot_id /proc/sys/kernel/random/boot_id && exec \"$@\""
        self.process = spawn(["unshare", "--mount", "sh", "-c", script, "sh", tool or TOOL, "record", "--interval",
                                         "1", "--distance", "1", self.root], self.log,
                                        dict(os.environ, **({"FAULT": fault} if fault else {})))
        return self

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait()

    def memory(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return max(int(line.split()[1]) for line in f if line.startswith("VmHWM"))

    def said(self):
        with open(self.log) as f:
            return f.read()[-400:]
