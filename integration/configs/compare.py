"""What two runtimes made of one bundle, line by line, without what cannot be equal."""

import os
import re

# Lines in which runtimes may differ: (name of the bundle, section, line, why). Regular expressions.
DIFFERENCES = [
    (
        r".",
        "mounts",
        r"^\S+ nodev,noexec,nosuid,relatime,ro (shared )?tmpfs none / \S+$",
        "a masked directory: hull's tmpfs is read-only too for who reaches it another way",
    ),
    (
        r".",
        "mounts",
        r"^\S+ noexec,nosuid,relatime,ro (shared )?\S+ \S+ /null ",
        "a masked file: the host's /dev/null (CVE-2025-31133), whose mode and times nobody may change",
    ),
    (
        r"rootfs-shared",
        "mounts",
        r"^/proc/(bus|fs|irq|sys) nodev,noexec,nosuid,relatime,ro shared proc proc ",
        "a read-only path: the propagation of crun and the flags of runc",
    ),
    (
        r"privileged",
        "mounts",
        r"^/sys/fs/cgroup .* cgroup2 cgroup2? / \S+$",
        "the source is the config's; crun, alone here, writes cgroup2",
    ),
    (
        r"privileged",
        "mounts",
        r"^/dev/console (noexec,nosuid,)?relatime,rw devpts ",
        "the flags of devpts, as under runc; crun, alone here, has none",
    ),
    (
        r".",
        "devices",
        r"^'/dev/core' ",
        "a link only if /proc/kcore exists (runtime-linux.md); crun always makes it",
    ),
]


def sections(output, config, scratch):
    """The output of inside.sh as {section: [line]}."""
    found, section = {}, "start"
    for line in output.splitlines():
        if line.startswith("== "):
            section = line[3:]
            found[section] = []
        else:
            found.setdefault(section, []).append(line)
    for name, make_equal in (("mounts", mounts), ("namespaces", namespaces), ("cgroup", cgroup)):
        if name in found:
            found[name] = make_equal(found[name], config)
    return {name: [line.replace(scratch, "SCRATCH") for line in lines] for name, lines in found.items()}


def mounts(lines, _):
    """Without numbers: ids, devices, peer groups; but whether a peer group is one out here."""
    with open("/proc/self/mountinfo") as here:
        peers = set(re.findall(r" shared:(\d+)", here.read()))
    result = []
    for line in lines:
        before, _, after = line.partition(" - ")
        _, _, _, root, where, options, *propagation = before.split()
        kind, source, *data = after.split()
        propagation = [it.partition(":") for it in propagation]
        propagation = [f"{kind} out here" if group in peers else kind for kind, _, group in propagation]
        if kind == "overlay" and where == "/":
            data = []
        data = ",".join(sorted(",".join(data).split(",")))
        options = ",".join(sorted(options.split(",")))
        result.append(" ".join([where, options, *propagation, kind, source, root, data]))
    return sorted(result)


def namespaces(lines, config):
    """New, joined, or the runtime's own, instead of inode numbers."""
    joined = {}
    for namespace in config["linux"]["namespaces"]:
        if namespace.get("path"):
            joined[os.stat(namespace["path"]).st_ino] = f"joined {namespace['path']}"
    for name in "cgroup ipc mnt net pid time user uts".split():
        joined.setdefault(os.stat(f"/proc/self/ns/{name}").st_ino, "the runtime's")

    def named(line):
        kind, _, rest = line.partition(" ")
        inode = re.search(r"\[(\d+)\]", rest)
        return f"{kind} {joined.get(int(inode[1]), 'new')}" if inode else line

    return [named(line) for line in lines]


def cgroup(lines, _):
    return [line for line in lines if line.startswith("0::")]


def differences(name, ours, references):
    """What `ours` has that no reference has, and lacks that all have; and why some may differ."""
    wrong, allowed = [], []
    every = set(ours).union(*references)
    for section in sorted(every):
        mine = set(ours.get(section, []))
        theirs = [set(it[section]) for it in references if section in it]
        if section == "cgroup" and (section not in ours or not theirs):
            continue  # who was told to leave cgroups alone says nothing about them
        theirs = theirs or [set()]
        extra = [f"+ {line}" for line in sorted(mine - set.union(*theirs))]
        missing = [f"- {line}" for line in sorted(set.intersection(*theirs) - mine)]
        for line in extra + missing:
            why = reason(name, section, line[2:])
            if why:
                allowed.append(f"{section} {line}: {why}")
            else:
                wrong.append(f"{section} {line}")
    return wrong, allowed


def reason(name, section, line):
    for bundles, where, pattern, why in DIFFERENCES:
        if re.search(bundles, name) and where == section and re.search(pattern, line):
            return why
    return None
