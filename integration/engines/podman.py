"""podman with hull as `--runtime`: storage, state and configuration of its own."""

import glob
import json
import os
import shutil

import process
import readme
import rootfs
import view
from engines import transcript

NEEDS = {"podman": "podman", "conmon": "conmon", "catatonit": "catatonit"}

SIMPLEST = transcript.Case("a container")
SIMPLEST.commands.append(transcript.Command("podman run --rm $IMAGE true"))

# What `--bench` measures. Where the device rules of others need CAP_SYS_RESOURCE, a privileged one has none.
MEASURED = (
    "podman run --rm --network none $IMAGE true",
    "podman run --rm --network none --privileged $IMAGE true",
)


class Engine:
    """podman, through a program in front of $PATH that adds the options of this run."""

    def __init__(self, scratch, archive):
        self.directory = f"{scratch}/{type(self).__module__.replace('.', '/')}"
        self.run = f"/run/hull-{os.path.basename(self.directory)}"
        os.makedirs(f"{self.directory}/bin")
        os.mkdir(f"{self.directory}/networks")
        manager = "systemd" if view.under_systemd() else "cgroupfs"
        # Its defaults want CAP_SYS_RESOURCE, and a controller that a hybrid host has elsewhere.
        self.write("containers.conf", f'''
[containers]
default_ulimits = []
pids_limit = 0
[network]
network_config_dir = "{self.directory}/networks"
''' + readme.configuration("[engine.runtimes]", os.environ["HULL"]))
        self.write("bin/podman", f'''#!/bin/sh
exec {shutil.which("podman")} --root {self.directory}/storage --runroot {self.run}/root \\
    --tmpdir {self.run}/tmp --cgroup-manager {manager} --storage-driver overlay \\
    --events-backend file --runtime "$RUNTIME" "$@"
''')
        os.chmod(f"{self.directory}/bin/podman", 0o755)
        self.podman("load", "--quiet", "--input", archive)

    def write(self, name, text):
        with open(f"{self.directory}/{name}", "w") as file:
            file.write(text.lstrip())

    def environment(self, label, runtime):
        """The variables of a case that runs with this runtime."""
        return {
            "CONTAINERS_CONF": f"{self.directory}/containers.conf",
            "TMPDIR": self.directory,
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "RUNTIME": label,
            "RUNTIME_PATH": runtime,
            "IMAGE": rootfs.IMAGE,
        }

    def podman(self, *arguments):
        environment = {**os.environ, **self.environment("hull", os.environ["HULL"])}
        return process.said([f"{self.directory}/bin/podman", *arguments], f"podman {arguments[0]}", env=environment)

    def clean(self):
        # A mount of a container that has ended can be busy a moment longer, with every runtime.
        process.until(self.remove_all, "podman does not remove its containers")

    def remove_all(self):
        # Most cases leave nothing, and asking podman takes seconds in an emulated machine.
        names = self.names()
        if any(name.endswith("-infra") for name in names):
            self.podman("pod", "rm", "--all", "--force", "--time", "0")
        if names:
            self.podman("rm", "--all", "--force", "--time", "0")
        if glob.glob(f"{self.directory}/storage/volumes/*"):
            self.podman("volume", "rm", "--all", "--force")
        return True

    def names(self):
        """Of the containers that podman's storage has."""
        found = []
        for path in glob.glob(f"{self.directory}/storage/overlay-containers/*containers.json"):
            with open(path) as file:
                found += [name for container in json.load(file) for name in container["names"]]
        return found

    def close(self):
        pass
