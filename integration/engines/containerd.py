"""containerd with its shim for runc, and hull as the shim's `BinaryName`."""

import os
import shutil
import subprocess

import process
import rootfs
from engines import transcript

NEEDS = {"containerd": "containerd", "ctr": "containerd"}

SIMPLEST = transcript.Case("a container")
SIMPLEST.commands.append(transcript.Command("ctr run --rm $RUN $IMAGE web true"))

# What `--bench` measures. Where the device rules of others need CAP_SYS_RESOURCE, a privileged one has none.
MEASURED = (
    "ctr run --rm $RUN $IMAGE web true",
    "ctr run --rm --privileged $RUN $IMAGE web true",
)

# What belongs to a container of this engine, as patterns of glob(3).
BELONGS = ("/run/containerd/runc/hull/*", "/run/containerd/state/io.containerd.runtime.v2.task/hull/*", "/sys/fs/cgroup/hull/*")


class Engine:
    """A daemon of its own, and a ctr in front of $PATH that talks to it."""

    NAMESPACE = "hull"

    def __init__(self, scratch, archive):
        self.directory = f"{scratch}/engines/{self.NAMESPACE}"
        os.makedirs(f"{self.directory}/bin")
        self.write("config.toml", self.configuration(f"{scratch}/layers/{self.NAMESPACE}"))
        self.write("bin/ctr", f'#!/bin/sh\nexec {shutil.which("ctr")} --address {ADDRESS} --namespace {self.NAMESPACE} "$@"\n')
        os.chmod(f"{self.directory}/bin/ctr", 0o755)
        with open(f"{self.directory}/log", "wb") as log:
            command = ["containerd", "--config", f"{self.directory}/config.toml"]
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        process.until(lambda: self.ctr("version"), f"containerd does not answer on {ADDRESS}")
        self.ctr("images", "import", archive)
        # On a hybrid host there is no controller for the weight that ctr always asks for.
        with open("/sys/fs/cgroup/cgroup.controllers") as controllers:
            self.flags = "" if "cpu" in controllers.read().split() else " --cpu-shares 0"

    def configuration(self, root):
        return (
            f'version = 2\nroot = "{root}"\nstate = "/run/containerd/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{ADDRESS}"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.directory}/opt"\n'
        )

    def write(self, name, text):
        with open(f"{self.directory}/{name}", "w") as file:
            file.write(text)

    def environment(self, label, runtime):
        return {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "RUN": f"--runc-binary {runtime}{self.flags}",
            "IMAGE": rootfs.IMAGE,
        }

    def ctr(self, *arguments):
        return process.said([f"{self.directory}/bin/ctr", *arguments], f"ctr {' '.join(arguments[:2])}")

    def clean(self):
        for name in self.ctr("tasks", "list", "--quiet").split():
            self.ctr("tasks", "delete", "--force", name)
        for name in self.ctr("containers", "list", "--quiet").split():
            self.ctr("containers", "delete", name)

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()


ADDRESS = "/run/containerd/engine.sock"
