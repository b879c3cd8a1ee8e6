# SPDX-License-Identifier: MIT
"""The guest's side of a case. The kernel parameter fscktest=STEP,STEP... names what is to be done, in order.

Each thing it says is a line on the second serial port, with the guest's uptime before it; the last one is the verdict:
  verdict ok: text       or       verdict BAD: text; text
The verdict is on the console as well. Whether an image is right is judged here, file by file, from the description of what was
pushed; the host only pulls the plug and reads.
"""

import json
import os
import pickle
import re
import subprocess
import sys
import time
import traceback

HOME = "/usr/lib/fscktest"
sys.path.insert(0, HOME)
import verify

REGISTRY = "127.0.0.1:5000"
ROOT = "/var/lib/containerd"
KEPT = "what a container wrote, and waited for\n"
CLOCK = "default"  # the namespace of the image that can run
port = open("/dev/ttyS1", "wb", 0)
bad, good = [], []


def uptime():
    with open("/proc/uptime") as f:
        return float(f.read().split()[0])


def parameter(name):
    with open("/proc/cmdline") as f:
        found = re.search(r"(?:^|\s)%s=(\S+)" % re.escape(name), f.read())
    return found.group(1) if found else ""


def say(text):
    port.write(("%.2f %s\n" % (uptime(), text.replace("\n", " | "))).encode())


def wrong(text):
    bad.append(text)
    say("BAD " + text)


def sh(*command, seconds=3600, check=False):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                       errors="replace")
    if check and p.returncode:
        raise RuntimeError("%s: exit %d: %s" % (" ".join(command), p.returncode, p.stdout.strip()[-400:]))
    return p.returncode, p.stdout


def ctr(ns, *args, **kw):
    return sh("ctr", "-n", ns, *args, **kw)


def wait_for(what, condition, seconds=3600):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(.2)
    wrong("%s within %d s" % (what, seconds))
    return False


def described():
    with open(HOME + "/model.pickle", "rb") as f:
        return pickle.load(f)


def everything():
    """The images of this case: all, or those that fscktest.only= names."""
    only = parameter("fscktest.only")
    return [(ns, i) for ns, some in described().items() for i in some
            if not only or i.name.rsplit("/", 1)[-1] in only.split(",")]


def reference(image):
    return "%s/%s:latest" % (REGISTRY, image.name)


def short(ns, image):
    return "%s/%s" % (ns, image.name.rsplit("/", 1)[-1])


def containerd_up(repaired=True):
    """A repaired one tells who it is, too: 1.6 cannot while introspection/uuid is empty, as a cut leaves it."""
    asked = ["version"] if repaired else ["namespaces", "ls"]
    return wait_for("containerd does not answer", lambda: sh("ctr", *asked)[0] == 0)


# ------------------------------------------------------------------------------------------------------- steps

registry = None


def start_registry():
    global registry
    if registry:
        return
    registry = subprocess.Popen(["docker-registry", "serve", HOME + "/registry.yml"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def answers():
        import http.client
        try:
            c = http.client.HTTPConnection(REGISTRY, timeout=600)
            c.request("GET", "/v2/")
            return c.getresponse().status == 200
        except OSError:
            return False
    wait_for("the registry does not answer", answers)


def step_pull():
    """All images, two at once."""
    containerd_up()
    start_registry()
    say("pulling")
    began = time.monotonic()
    todo, pulls = [(short(ns, i), ns, i) for ns, i in everything()], {}
    while todo or pulls:
        while todo and len(pulls) < 2:
            name, ns, image = todo.pop(0)
            with open("/run/pull-" + name.replace("/", "-"), "wb") as log:
                pulls[name] = subprocess.Popen(["ctr", "-n", ns, "images", "pull", "--plain-http", reference(image)],
                                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for name, p in list(pulls.items()):
            if p.poll() is not None:
                del pulls[name]
                say("pull of %s ended with %d after %.1f s" % (name, p.returncode, time.monotonic() - began))
                if p.returncode:
                    with open("/run/pull-" + name.replace("/", "-"), errors="replace") as f:
                        wrong("pull of %s: %s" % (name, f.read()[-300:]))
        time.sleep(.05)
    say("pulled")


def step_settle():
    """What was written is on the disk."""
    sh("sync")
    say("settled")


def step_container():
    """One that containerd starts again by itself, with something in its own layer."""
    image = next(i for ns, i in everything() if ns == CLOCK and i.name.endswith("/clock"))
    ctr(CLOCK, "run", "-d", "--null-io", "--label", "containerd.io/restart.status=running", "--label",
        "containerd.io/restart.policy=always", reference(image), "keeper", "/bin/sh", "-c",
        "[ -e /root/kept ] || { printf '%s' '" + KEPT + "' | dd of=/root/kept conv=fsync; "
        "dd if=/bin/busybox of=/root/copy bs=65536 conv=fsync; }; date >>/root/starts; exec sleep 100000", check=True)
    wait_for("the container has written nothing", lambda: ctr(CLOCK, "tasks", "exec", "--exec-id", "w%d" % time.monotonic_ns(),
                                                              "keeper", "/bin/ls", "/root/starts")[0] == 0)
    say("container runs")


def step_kept():
    """The container runs again, on its own layer, in which all is that it had waited for."""
    def runs():
        return any(line.split()[0] == "keeper" and line.split()[-1] == "RUNNING"
                   for line in ctr(CLOCK, "tasks", "ls")[1].splitlines() if line.strip())
    if not wait_for("the container with a restart policy does not run again", runs):
        say("tasks: " + ctr(CLOCK, "tasks", "ls")[1])
        say("containers: " + ctr(CLOCK, "containers", "ls")[1])
        return
    status, text = ctr(CLOCK, "tasks", "exec", "--exec-id", "kept", "keeper", "/bin/cat", "/root/kept")
    if status or text != KEPT:
        wrong("the container's file: %r" % text[-300:])
    status, text = ctr(CLOCK, "tasks", "exec", "--exec-id", "copy", "keeper", "/bin/md5sum", "/root/copy", "/bin/busybox")
    sums = [line.split()[0] for line in text.splitlines() if line.strip()]
    if status or len(set(sums)) != 1 or len(sums) != 2:
        wrong("the container's copy of its program: %r" % text[-300:])
    good.append("the container runs again with its data")


def states():
    """reference -> ready | packed (complete, not unpacked) | incomplete, as containerd tells, for each (namespace, image)."""
    out = {}
    for ns in described():
        known = {}
        for line in ctr(ns, "images", "check")[1].splitlines():
            words = line.split()
            if words and words[0].startswith(REGISTRY):
                complete = "ready" if words[-1] == "true" else "packed"
                known[words[0]] = complete if "complete" in words else "incomplete"
        for ref in ctr(ns, "images", "ls", "-q")[1].split():
            known.setdefault(ref, "incomplete")
        out[ns] = known
    return out


def differences(ns, image, limit=20):
    out = []
    for digest in image.local:
        try:
            path = os.path.join(ROOT, "io.containerd.content.v1.content/blobs", *digest.split(":"))
            if verify.read_hash(path)[0] != digest.split(":")[1]:
                out.append("blob %s has other bytes" % digest)
        except OSError as e:
            out.append("blob %s: %s" % (digest, e.strerror))
    where = "/run/view"
    os.makedirs(where, exist_ok=True)
    status, text = ctr(ns, "images", "mount", reference(image), where)
    if status:
        return out + ["cannot be mounted: " + text.strip()[-200:]]
    try:
        out += verify.differences(image.tree, where, limit)
    finally:
        sh("umount", where)
        ctr(ns, "snapshots", "rm", where)
        ctr(ns, "leases", "rm", where)  # or the next boot's forced check removes what this one has left
    return out


def look(judge):
    containerd_up(repaired=judge)
    # what is on the disk, not what was written: clean pages go, dirty ones are not written out for it
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    known = states()
    counts = {"ready": 0, "packed": 0, "incomplete": 0, "absent": 0}
    broken = []
    for ns, i in everything():
        state = known[ns].get(reference(i), "absent")
        counts[state] += 1
        lines = differences(ns, i, 1000000 if not judge else 20) if state == "ready" else []
        say("image %s %s wrong=%d%s" % (short(ns, i), state, len(lines), " " + "; ".join(lines[:3]) if lines else ""))
        if lines:
            broken.append((short(ns, i), lines))
    return counts, broken


def step_judge():
    """Every image that is listed complete is exact, and a container runs. The registry is not there."""
    if registry:
        wrong("the registry runs")
    counts, broken = look(True)
    for name, lines in broken:
        wrong("%s is listed complete and is not what was pushed: %s" % (name, "; ".join(lines[:3])))
    text = "%d of %d images listed complete and exact" % (counts["ready"] - len(broken), sum(counts.values()))
    rest = ["%d %s" % (counts[s], what) for s, what in (("packed", "not unpacked"), ("incomplete", "told incomplete"),
                                                       ("absent", "not listed")) if counts[s]]
    good.append(", ".join([text] + rest))
    step_run()


def step_run():
    known = states()
    for ns, i in everything():
        if i.name.endswith("/clock") and known[ns].get(reference(i)) == "ready":
            status, out = ctr(ns, "run", "--rm", reference(i), "try-%d" % time.monotonic_ns(), "/bin/sh", "-c",
                              "date; echo it runs")
            if status or "it runs" not in out:
                wrong("a container of %s: %s" % (short(ns, i), out.strip()[-200:] or "says nothing"))
            else:
                good.append("a container runs")
            return
    good.append("no image that a container could run is listed")


def step_whole():
    """All images are there: nothing had to be given up."""
    known = states()
    lost = [short(ns, i) for ns, i in everything() if known[ns].get(reference(i)) != "ready"]
    if lost:
        wrong("not complete: " + ", ".join(lost))


def step_broken():
    """For a boot without repair: what is wrong is counted, and that something is."""
    counts, broken = look(False)
    good.append("%d of %d images listed complete are not what was pushed, %d wrong files"
                % (len(broken), counts["ready"], sum(len(lines) for _, lines in broken)))
    if not broken:
        wrong("nothing is wrong in this store: this proves nothing")


def step_heal():
    """What is not complete is pulled, and then exact."""
    start_registry()
    known = states()
    for ns, i in everything():
        if known[ns].get(reference(i)) == "ready":
            continue
        status, text = ctr(ns, "images", "pull", "--plain-http", reference(i))
        if status:
            wrong("%s cannot be pulled: %s" % (short(ns, i), text.strip()[-200:]))
            continue
        lines = differences(ns, i)
        if lines:
            wrong("%s is wrong after a pull: %s" % (short(ns, i), "; ".join(lines[:3])))
    good.append("every other image pulls and is exact")


def step_booted():
    """multi-user.target is reached."""
    if wait_for("multi-user.target is not reached",
                lambda: sh("systemctl", "is-active", "multi-user.target")[1].strip() == "active"):
        good.append("multi-user.target is reached")


def step_ruin():
    """Both meta pages of the main database become zeros, as after a bad sector."""
    sh("systemctl", "stop", "containerd", check=True)
    path = ROOT + "/io.containerd.metadata.v1.bolt/meta.db"
    with open(path, "r+b") as f:
        f.write(b"\0" * 8192)
        f.flush()
        os.fsync(f.fileno())
    sh("sync")
    say("ruined")


def step_misplace():
    """The directory of the main database becomes a link to where it was moved: nobody knows what containerd will make of that."""
    sh("systemctl", "stop", "containerd", check=True)
    place = ROOT + "/io.containerd.metadata.v1.bolt"
    os.rename(place, ROOT + "/moved")
    os.symlink("moved", place)
    sh("sync")
    say("misplaced")


def step_by_hand():
    """What a person is told to do when it stepped aside."""
    sh("systemctl", "stop", "containerd", check=True)
    status, text = sh("containerd-fsck", "repair")
    for line in text.splitlines()[:40]:
        say("hand| " + line)
    if status not in (0, 1):
        wrong("containerd-fsck repair by hand ends with %d: %s" % (status, text.strip()[-300:]))
    good.append("by hand status %d" % status)
    sh("systemctl", "reset-failed", "containerd")
    sh("systemctl", "start", "containerd", check=True)


def step_tool():
    """What the tool said and when, in whichever place it ran."""
    rows = []
    for line in sh("journalctl", "-b", "--no-pager", "-o", "json", "--output-fields",
                   "MESSAGE,UNIT,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,_PID,CODE_FUNC,MESSAGE_ID")[1].splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        text = row.get("MESSAGE") or ""
        unit = row.get("_SYSTEMD_UNIT", "")
        if isinstance(text, list):
            text = bytes(text).decode("utf-8", "replace")
        about = row.get("UNIT", "") if row.get("_PID") == "1" else unit
        if about.startswith("containerd-fsck") or "containerd-fsck" in text or row.get("SYSLOG_IDENTIFIER") == "containerd-fsck":
            rows.append((int(row["__MONOTONIC_TIMESTAMP"]) / 1e6, about, row.get("SYSLOG_IDENTIFIER", ""), text))
    spans = {}
    for at, about, who, text in rows:
        say("tool| %.3f %s %s: %s" % (at, about or "-", who, text))
        if about:
            if text.startswith("Starting "):
                spans[about] = [at, None]
            elif about in spans and re.match("Finished|Failed to start|.*Deactivated successfully", text) and not spans[about][1]:
                spans[about][1] = at
    for about, (a, b) in spans.items():
        say("ran %s %.2f %s" % (about, a, "%.2f" % b if b else "-"))
    for line in sh("systemctl", "show", "containerd-fsck.service", "-p", "ActiveState,SubState,Result,ExecMainStatus,"
                   "ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic")[1].splitlines():
        say("unit| " + line)
    journal = ROOT + "/containerd-fsck/journal"
    try:
        with open(journal, "rb") as f:
            lines = f.read().decode("utf-8", "replace").splitlines()
        say("journal: %d records" % len(lines))
        for line in lines[:3] + (lines[-12:] if len(lines) > 3 else []):
            say("journal| " + line[:200])
    except OSError as e:
        say("journal: %s" % e.strerror)
    for path in ("/run/containerd-fsck", ROOT + "/containerd-fsck"):
        try:
            say("%s holds %s" % (path, " ".join(sorted(os.listdir(path)))))
        except OSError as e:
            say("%s: %s" % (path, e.strerror))
    try:
        with open(ROOT + "/containerd-fsck/report.json") as f:
            say("report| " + json.dumps(json.load(f))[:3000])
    except (OSError, ValueError) as e:
        say("report: %s" % e)


def step_poweroff():
    pass


def step_wait():
    pass


def main():
    steps = parameter("fscktest").split(",")
    say("agent up, steps " + " ".join(steps))
    try:
        for step in steps:
            globals()["step_" + step.replace("-", "_")]()
    except BaseException as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        wrong("%s: %s (line %d)" % (type(e).__name__, e, at.lineno))
    text = "BAD: " + "; ".join(bad) if bad else "ok: " + "; ".join(good or ["done"])
    say("verdict " + text)
    try:
        with open("/dev/console", "w") as f:
            f.write("\nfscktest verdict %s\n" % text)
    except OSError:
        pass
    if registry:
        registry.kill()
    if steps[-1] == "poweroff":
        sh("systemctl", "poweroff", "--no-block")
    while True:
        time.sleep(1000)


main()
