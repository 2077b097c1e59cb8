"""docker with hull among its runtimes, and as its default one."""

import json
import os
import shutil
import signal
import subprocess
import tarfile

import process
import readme
import rootfs
import view
from engines import transcript

NEEDS = {"dockerd": "docker.io", "tmux": "tmux", "tini": "tini"}

SIMPLEST = transcript.Case("a container")
SIMPLEST.commands.append(transcript.Command("docker run --rm $RUN $IMAGE true"))

# What belongs to a container of this engine, as patterns of glob(3).
BELONGS = ("/run/docker/runtime-runc/moby/*", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/*")

# Debian's client, whatever else is called docker on this machine.
DOCKER = "/usr/bin/docker"


class Engine:
    """A daemon of its own that starts its own containerd. What runtime is the default is changed
    with each case's: of `docker build` it cannot be chosen otherwise.
    """

    NAME = "docker"
    SETTINGS = {}

    def __init__(self, scratch, archive):
        self.directory = f"{scratch}/engines/{self.NAME}"
        os.makedirs(f"{self.directory}/bin")
        os.symlink(DOCKER, f"{self.directory}/bin/docker")
        manager = "systemd" if view.under_systemd() else "cgroupfs"
        self.configuration = {
            **json.loads(readme.configuration('"default-runtime"', os.environ["HULL"])),
            # A directory that overlayfs can have an upper layer in; and nothing of the host's.
            "data-root": f"{scratch}/layers/{self.NAME}",
            "storage-driver": "overlay2",
            "exec-opts": [f"native.cgroupdriver={manager}"],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "shutdown-timeout": 1,
            **self.SETTINGS,
        }
        self.default = self.configuration["default-runtime"]
        if shutil.which("crun"):
            self.configuration["runtimes"]["crun"] = {"path": shutil.which("crun")}
        self.write()
        with open(f"{self.directory}/log", "wb") as log:
            command = ["dockerd", "--config-file", f"{self.directory}/daemon.json"]
            environment = {**os.environ, **self.environment("hull", "")}
            self.daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_for_default()
        self.load(archive)

    def write(self):
        with open(f"{self.directory}/daemon.json", "w") as file:
            json.dump(self.configuration, file, indent=2)

    def wait_for_default(self):
        process.until(
            lambda: self.docker("info", "--format", "{{.DefaultRuntime}}").strip() == self.default,
            f"dockerd does not answer, or does not have {self.default} as its default runtime",
        )

    def load(self, archive):
        """docker before 25 reads no OCI archive: the one layer of it becomes an image."""
        with tarfile.open(archive) as tar:
            layer = max(tar.getmembers(), key=lambda entry: entry.size)
            command = [f"{self.directory}/bin/docker", "import", "--change", 'CMD ["sh"]', "-", rootfs.IMAGE]
            loading = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            shutil.copyfileobj(tar.extractfile(layer), loading.stdin)
            loading.stdin.close()
            if loading.wait():
                raise RuntimeError("docker import failed")

    def environment(self, label, runtime):
        if label != self.default:
            self.default = self.configuration["default-runtime"] = label
            self.write()
            self.daemon.send_signal(signal.SIGHUP)
            self.wait_for_default()
        return {
            "PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}",
            "DOCKER_CONFIG": f"{self.directory}/client",
            "RUNTIME": label,
            "RUN": f"--runtime {label} --network none",
            "IMAGE": rootfs.IMAGE,
        }

    def docker(self, *arguments):
        return process.said([f"{self.directory}/bin/docker", *arguments], f"docker {arguments[0]}")

    def clean(self):
        containers = self.docker("ps", "--all", "--quiet").split()
        if containers:
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("volume", "prune", "--force")

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()
