"""A config.json that an engine wrote becomes a bundle: what a runtime of this project's present
state does not do yet is removed, the program is replaced by inside.sh, and each removal is told.
"""

import json
import os
import resource
import subprocess

import process
import view

HERE = os.path.dirname(os.path.abspath(__file__))
CAP_SYS_RESOURCE = 1 << 24


def may_raise_limits():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & CAP_SYS_RESOURCE)


def edit(config, cgroups_path):
    """Changes `config` and gives a list of what was removed or replaced."""
    told = []
    linux = config["linux"]

    def remove(where, pointer, key, why):
        if where.pop(key, None):
            told.append(f"{pointer}/{key} ({why})")

    remove(linux, "/linux", "intelRdt", "not supported")
    # The engine has given the files of its rootfs to the ids of the namespace.
    remove(linux, "/linux", "uidMappings", "the rootfs is the host's")
    remove(linux, "/linux", "gidMappings", "the rootfs is the host's")
    for namespace in [it for it in linux["namespaces"] if it["type"] == "user"]:
        linux["namespaces"].remove(namespace)
        told.append("/linux/namespaces user (the rootfs is the host's)")
    # They are programs of the engine that expect its state.
    remove(config, "", "hooks", "the engine's own")
    # The engine's container is in its cgroup.
    linux["cgroupsPath"] = cgroups_path
    drop_limits(config, told)
    drop_controllers(linux.get("resources") or {}, told)
    config["root"]["path"] = "rootfs"
    config["process"]["args"] = inside(config)
    return told


def drop_limits(config, told):
    """Removes what needs CAP_SYS_RESOURCE, if this process does not have it."""
    if may_raise_limits():
        return
    described = config["process"]
    for limit in list(described.get("rlimits") or []):
        name = limit["type"].removeprefix("RLIMIT_")
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
        if hard != resource.RLIM_INFINITY and limit["hard"] > hard:
            described["rlimits"].remove(limit)
            told.append(f"/process/rlimits {name} (no CAP_SYS_RESOURCE here)")
    with open("/proc/self/oom_score_adj") as own:
        if (described.get("oomScoreAdj") or 1000) < int(own.read()):
            del described["oomScoreAdj"]
            told.append("/process/oomScoreAdj (no CAP_SYS_RESOURCE here)")


# The property of linux.resources, and what it needs. Device rules need no controller.
CONTROLLERS = {
    "memory": {"memory"},
    "cpu": {"cpu", "cpuset"},
    "pids": {"pids"},
    "blockIO": {"io"},
    "hugepageLimits": {"hugetlb"},
    "rdma": {"rdma"},
}


def drop_controllers(resources, told):
    """Removes limits whose controllers cgroup v2 does not have here: a host of hybrid form."""
    with open("/sys/fs/cgroup/cgroup.controllers") as file:
        here = set(file.read().split())
    for key, needed in CONTROLLERS.items():
        if not needed <= here and resources.pop(key, None):
            told.append(f"/linux/resources/{key} (no {' or '.join(sorted(needed - here))} in cgroup v2 here)")
    for file in list(resources.get("unified") or {}):
        if file.split(".")[0] not in here | {"cgroup"}:
            del resources["unified"][file]
            told.append(f"/linux/resources/unified/{file} (its controller is not in cgroup v2 here)")


def inside(config):
    """The arguments that run inside.sh for this config."""
    with open(f"{HERE}/inside.sh") as script:
        words = ["sh", "-c", script.read(), "inside"]
    linux = config["linux"]
    hidden = linux.get("maskedPaths", []) + linux.get("readonlyPaths", [])
    sysctls = ["/proc/sys/" + name.replace(".", "/") for name in linux.get("sysctl", {})]
    for lines in ([it["destination"] for it in config.get("mounts", [])], hidden, sysctls):
        words.append("\n".join(lines))
    return words


class Bundle:
    """A bundle whose rootfs is new for every run: an overlay of the Debian one."""

    def __init__(self, scratch, rootfs, name, config):
        self.lower, self.config = rootfs, config
        self.path = f"{scratch}/layers/bundles/{name}"
        os.makedirs(f"{self.path}/rootfs")

    def run(self, command, environment=None):
        """Exit status and output of `command` followed by `run --bundle .. ID`."""
        layer = f"{self.path}/layer"
        with open(f"{self.path}/config.json", "w") as file:
            json.dump(self.config, file)
        view.overlay(self.lower, f"{self.path}/rootfs", layer)
        try:
            command = [*command, "run", "--bundle", self.path, os.path.basename(self.path)]
            if self.config["process"].get("terminal"):
                return process.on_terminal(command)
            return process.plainly(command)
        finally:
            subprocess.run(["umount", f"{self.path}/rootfs"], check=True)
            subprocess.run(["rm", "-rf", layer], check=True)
