# SPDX-License-Identifier: MIT
"""The guest's disks and initramfs images, from the Debian root that qemu/build made and from what this tree builds.

In the cache, under a name that is a digest of all that goes in: a changed tool, unit or module makes them anew.

  vmlinuz
  initramfs-plain     systemd, without the tool: a node on which the unit does the work
  initramfs-unit      systemd and dracut/55containerd-fsck
  initramfs-hook      no systemd, and the module: its pre-pivot hook
  root-ext4 root-xfs  the store on the root file system
  root-own            the store on a disk of its own, by fstab
  store-ext4 store-xfs  that disk, empty
"""

import fcntl
import hashlib
import os
import pickle
import shutil

import images
import lab as laboratory
from lab import CACHE, TOOL, TOP, sh

SCALE = .25  # of the images of tests/crash: what a virtual processor unpacks in about half a minute
MODULES = "base bash kernel-modules rootfs-block fs-lib udev-rules usrmount shutdown"
# They cost seconds of each boot and tell nothing.
MASKED = ("getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
          "e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer xfs_scrub_all.timer "
          "docker-registry.service systemd-update-utmp.service systemd-update-utmp-runlevel.service "
          "systemd-networkd.service systemd-resolved.service systemd-pstore.service systemd-binfmt.service "
          "systemd-logind.service systemd-user-sessions.service modprobe@configfs.service modprobe@drm.service "
          "modprobe@fuse.service sys-kernel-config.mount sys-fs-fuse-connections.mount sys-kernel-debug.mount "
          "sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount")


def sources():
    """What is copied into the guest, as (path, where)."""
    yield TOOL, "usr/sbin/containerd-fsck"
    guest = os.path.join(TOP, "qemu", "guest")
    yield os.path.join(guest, "agent.py"), "usr/lib/fscktest/agent.py"
    yield os.path.join(guest, "registry.yml"), "usr/lib/fscktest/registry.yml"
    yield os.path.join(guest, "fscktest.service"), "usr/lib/systemd/system/fscktest.service"
    for name in ("images.py", "verify.py"):
        yield os.path.join(TOP, "tests", "lab", name), "usr/lib/fscktest/" + name


def installed(root):
    """Units and module, as a distribution would install them."""
    sh("make", "-s", "-C", TOP, "install-systemd", "install-dracut", "DESTDIR=" + root, "PREFIX=/usr")


def digest(paths, *more):
    h = hashlib.sha256(repr(more).encode())
    for path, where in paths:
        with open(path, "rb") as f:
            h.update(where.encode() + b"\0" + hashlib.sha256(f.read()).digest())
    return h.hexdigest()[:16]


def below(top):
    return [(os.path.join(at, name), os.path.relpath(os.path.join(at, name), top))
            for at, _, names in sorted(os.walk(top)) for name in sorted(names)]


def described(lab):
    """The images, in a registry's storage of their own: only they go into the guest."""
    lab.image_dir = os.path.join(os.path.abspath(CACHE), "qemu-registry-%g" % SCALE)
    os.makedirs(lab.image_dir, exist_ok=True)
    return laboratory.described(lab, "qemu/%g" % SCALE, lambda: images.make_set(lab, "qemu", SCALE))


def put(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as f:
        f.write(text)


def link(root, path, target):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    if os.path.lexists(full):
        os.unlink(full)
    os.symlink(target, full)


def furnish(lab, root, sets):
    for path, where in sources():
        full = os.path.join(root, where)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        shutil.copy(path, full)
        os.chmod(full, 0o755 if where.startswith("usr/sbin/") else 0o644)
    installed(root)
    wants = "etc/systemd/system/multi-user.target.wants/"
    for unit in ("fscktest.service", "containerd.service"):
        link(root, wants + unit, "/lib/systemd/system/" + unit)
    for unit in MASKED.split():
        link(root, "etc/systemd/system/" + unit, "/dev/null")
        for above in ("multi-user.target", "timers.target", "getty.target", "sysinit.target"):
            try:
                os.unlink(os.path.join(root, "etc/systemd/system/%s.wants" % above, unit))
            except OSError:
                pass
    # a mount point must be there before a read-only root is mounted
    os.makedirs(os.path.join(root, "var/lib/containerd"), 0o711, exist_ok=True)
    put(root, "etc/fstab", "/dev/vda / auto defaults 0 0\n")
    put(root, "etc/hostname", "guest\n")
    put(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    # a console that nobody logs in to, and a journal that ends with the boot
    put(root, "etc/systemd/journald.conf.d/guest.conf", "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    put(root, "etc/systemd/system.conf.d/guest.conf", "[Manager]\nStatusUnitFormat=combined\n")
    put(root, "etc/issue", "")
    with open(os.path.join(root, "usr/lib/fscktest/model.pickle"), "wb") as f:
        pickle.dump(sets, f)
    shutil.copytree(os.path.join(lab.image_dir, "registry"), os.path.join(root, "var/lib/fscktest/registry"))
    sh("chroot", root, "python3", "-m", "compileall", "-q", "/usr/lib/fscktest/images.py", "/usr/lib/fscktest/verify.py")


def make_initramfs(root, kernel, path, modules):
    sh("chroot", root, "dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--kver", kernel, "--no-compress",
       "--drivers", "virtio_blk virtio_pci ext4 xfs", "--filesystems", "ext4 xfs", "--modules", modules, "/tmp/initramfs",
       timeout=900)
    shutil.move(os.path.join(root, "tmp/initramfs"), path + ".new")
    os.rename(path + ".new", path)


def make_root(lab, root, path, fs, fstab):
    """A disk with the tree; holes stay holes."""
    laboratory.make_disk(path, fs, 3000)
    where = os.path.join(lab.work, "made")
    laboratory.mount_disk(path, where, fs)
    try:
        sh("cp", "-a", "--one-file-system", root + "/.", where, timeout=900)
        put(where, "etc/fstab", fstab)
        if "/var/lib/containerd" in fstab:  # what is mounted read-only in the initramfs needs its place
            os.makedirs(os.path.join(where, "var/lib/containerd"), exist_ok=True)
    finally:
        laboratory.umount(where)


def ready(lab, base, small):
    """The directory, made if it is not there. small: only what the smoke case boots."""
    sets = described(lab)
    cache, there = os.path.abspath(CACHE), os.path.join(lab.work, "installed")
    installed(there)
    tool = below(there) + [(TOOL, "")]
    out = os.path.join(cache, "qemu-image-" + digest(list(sources()) + tool + [(os.path.abspath(__file__), "")],
                                                     os.path.basename(base), SCALE))
    # held to the end of the run: nobody takes away what others boot from
    lock = os.open(os.path.join(cache, "qemu-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)

    def is_there():
        return os.path.exists(os.path.join(out, "done")) or small and os.path.exists(os.path.join(out, "done-small"))
    if is_there():
        return out, sets
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not is_there():
        make(lab, base, sets, cache, tool, out, small)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return out, sets


def make(lab, base, sets, cache, tool, out, small):
    laboratory.note("making the guest's disks and initramfs images")
    systemd = MODULES + " systemd systemd-initrd dracut-systemd"
    kinds = {"plain": (systemd, []), "unit": (systemd + " containerd-fsck", tool), "hook": (MODULES + " containerd-fsck", tool)}
    # dracut takes longest, and what it makes changes least
    made = {name: os.path.join(cache, "qemu-initramfs-%s-%s" % (name, digest(paths, os.path.basename(base), modules)))
            for name, (modules, paths) in kinds.items()}
    for old in os.listdir(cache):
        if old.startswith("qemu-image-"):
            shutil.rmtree(os.path.join(cache, old), ignore_errors=True)
        elif old.startswith("qemu-initramfs-") and os.path.join(cache, old) not in made.values():
            os.unlink(os.path.join(cache, old))
    os.makedirs(out)
    with open(os.path.join(base, "kernel")) as f:
        kernel = f.read().strip()
    root = os.path.join(lab.disks, "root")
    for name in ("upper", "work", "root"):
        os.makedirs(os.path.join(lab.disks, name))
    sh("mount", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s/upper,workdir=%s/work"
       % (os.path.join(base, "root"), lab.disks, lab.disks), root)
    for d in ("dev", "proc", "sys"):
        sh("mount", "--rbind", "/" + d, os.path.join(root, d))
    furnish(lab, root, sets)
    for name, (modules, _) in kinds.items():
        if small and name != "plain":
            continue
        if not os.path.exists(made[name]):
            make_initramfs(root, kernel, made[name], modules)
            laboratory.note("initramfs-%s: %.1f MB" % (name, os.path.getsize(made[name]) / 1e6))
        os.symlink(os.path.join("..", os.path.basename(made[name])), os.path.join(out, "initramfs-" + name))
    for d in ("dev", "proc", "sys"):
        sh("umount", "-R", "-l", os.path.join(root, d))
    shutil.copy(os.path.join(base, "vmlinuz"), out)
    alone = "/dev/vda / auto defaults 0 0\n"
    for name, fs, fstab in (("root-ext4", "ext4", alone), ("root-xfs", "xfs", alone), ("root-own", "ext4", alone +
                            "/dev/vdb /var/lib/containerd auto defaults,x-initrd.mount 0 0\n")):
        if small and name != "root-ext4":
            continue
        make_root(lab, root, os.path.join(lab.disks, name), fs, fstab)
        sh("cp", "--sparse=always", os.path.join(lab.disks, name), os.path.join(out, name))
        os.unlink(os.path.join(lab.disks, name))
    for fs in ("ext4", "xfs"):
        laboratory.make_disk(os.path.join(out, "store-" + fs), fs, 1500)
    laboratory.umount(root)
    for name in ("upper", "work", "root"):
        shutil.rmtree(os.path.join(lab.disks, name), ignore_errors=True)
    open(os.path.join(out, "done-small" if small else "done"), "w").close()
