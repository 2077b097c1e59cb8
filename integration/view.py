"""A private view of the host, in which engines and runtimes run: own mount, network, pid and
cgroup namespaces, a cgroup2 mount without v1 beside it, tmpfs over /run, and nothing that is
written below /etc or /var/lib reaches the host. When its first process ends, all end.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

INSIDE = "HULL_INTEGRATION_SCRATCH"


def enter(argv):
    """Runs `argv` again inside and exits with its status; inside, returns the scratch directory.

    $HULL and $HULL_UNPACK are copied: they may lie in a directory that is covered inside, and may be
    built meanwhile.
    """
    scratch = os.environ.get(INSIDE)
    if scratch:
        return inside(scratch)
    if os.geteuid() != 0:
        sys.exit("integration: must be root")
    if under_systemd():
        # It must know these processes and cgroups by their own names, and the machine forgets all.
        return tempfile.mkdtemp(prefix="hull-integration-")
    cgroup = make_cgroup()
    scratch = tempfile.mkdtemp(prefix="hull-integration-")
    # The root of a cgroup namespace is the cgroup it is made in. Then out of it, the process that
    # waits outside too: a cgroup with processes cannot give controllers to those below it.
    join = 'echo $$ >"$0/cgroup.procs"; exec "$@"'
    to_root = ["sh", "-c", join, cgroup, "unshare", "--cgroup"]
    to_leaf = ["sh", "-c", join, f"{cgroup}/harness"]
    unshare = "unshare --mount --net --pid --fork --kill-child --mount-proc".split()
    status = 1
    try:
        os.mkdir(f"{scratch}/tested")
        programs = ("HULL", "HULL_UNPACK")
        tested = {name: shutil.copy(os.environ[name], f"{scratch}/tested") for name in programs}
        process = subprocess.Popen(
            [*to_root, *to_leaf, *unshare, sys.executable, *argv],
            env={**os.environ, INSIDE: scratch, **tested},
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both
        signal.signal(signal.SIGTERM, lambda *_: process.kill())
        status = process.wait()
    finally:
        shutil.rmtree(scratch)
        remove_cgroup(cgroup)
    sys.exit(status if status >= 0 else 128 - status)


def under_systemd():
    """Whether this is a machine of hack/vm whose first process is systemd."""
    return "HULL_VM" in os.environ and os.path.isdir("/run/systemd/system")


def cgroup_mount():
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if rest.split()[0] == "cgroup2":
                return fields.split()[4]
    sys.exit("integration: no cgroup2 is mounted here")


def make_cgroup():
    """Below the cgroup of this process, whose own settings are left alone."""
    with open("/proc/self/cgroup") as lines:
        own = next(line[3:].strip() for line in lines if line.startswith("0::"))
    cgroup = f"{cgroup_mount()}{own.rstrip('/')}/hull-integration-{os.getpid()}"
    os.makedirs(f"{cgroup}/harness")
    return cgroup


def remove_cgroup(cgroup):
    for directory, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(directory)


def inside(scratch):
    """First process of the pid namespace: it reaps what others leave; a child goes on."""
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            pid, status = os.wait()
            if pid == child:
                sys.stdout.flush()
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    layers = f"{scratch}/layers"  # a tmpfs: its directories can be upper layers anywhere
    os.mkdir(layers)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layers)
    for directory in ("/etc", "/var/lib"):
        overlay(directory, directory, layers + directory)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    subprocess.run(["umount", "-l", "/sys/fs/cgroup"], check=False)
    mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return scratch


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def overlay(lower, where, layer):
    """Mounts `lower` at `where` with an upper layer in the directory `layer`, which is made."""
    os.makedirs(f"{layer}/upper")
    os.makedirs(f"{layer}/work")
    options = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work"
    mount("-t", "overlay", "-o", options, "overlay", where)
