"""containerd: a daemon of its own and `ctr run --runc-binary` with a recording runtime. Its
container sleeps meanwhile, so that every mount source and namespace that its config names exists.
"""

import os
import subprocess

import process
import rootfs as debian
from configs import volume

NEEDS = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "crun": "crun"}


def cases(volume, file):
    """Name and arguments of `ctr run`."""

    def mount(kind, source, destination, options):
        return ["--mount", f"type={kind},src={source},dst={destination},options={options}"]

    yield "plain", []
    yield "tty", ["--tty"]
    yield "read-only", ["--read-only"]
    yield "privileged", ["--privileged"]
    yield "privileged-tty", ["--privileged", "--tty"]
    yield "new-privileges", ["--allow-new-privs"]
    yield "cap-add", ["--cap-add", "CAP_NET_ADMIN"]
    yield "cap-drop", ["--cap-drop", "CAP_KILL", "--cap-drop", "CAP_CHOWN"]
    yield "seccomp", ["--seccomp"]
    yield "environment", ["--env", "A=b=c", "--env", "EMPTY=", "--cwd", "/usr/share"]
    yield "cwd-missing", ["--cwd", "/made/by/the/runtime"]
    yield "volume", mount("bind", volume, "/data", "rbind:rw")
    yield "volume-ro", mount("bind", volume, "/data", "rbind:ro")
    yield "volume-nonrecursive", mount("bind", volume, "/data", "bind:ro:nosuid:nodev:noexec")
    yield "volume-slave", mount("bind", volume, "/data", "rbind:rslave")
    yield "volume-shared", mount("bind", volume, "/data", "rbind:rshared")
    yield "volume-file", mount("bind", file, "/etc/one.conf", "bind:ro")
    yield "tmpfs", mount("tmpfs", "tmpfs", "/scratch", "size=1m:mode=710:noexec:noatime")
    yield "device", ["--device", "/dev/full"]
    yield "net-host", ["--net-host"]
    yield "with-namespace", ["--with-ns", "uts:/proc/self/ns/uts"]
    yield "rootfs-shared", ["--rootfs-propagation", "rshared"]
    yield "rootfs-slave", ["--rootfs-propagation", "rslave"]
    yield "annotation", ["--annotation", "example/key=value"]
    yield "memory", ["--memory-limit", "67108864", "--cpu-shares", "512"]


class Engine:
    """containerd with root, state and socket of its own."""

    def __init__(self, scratch, archive, record):
        self.directory, self.record = f"{scratch}/containerd", record
        os.makedirs(self.directory)
        self.address = "/run/containerd/ctr.sock"
        configuration = f"{self.directory}/config.toml"
        with open(configuration, "w") as file:
            file.write(
                f'version = 2\nroot = "{self.directory}/root"\nstate = "/run/containerd/state"\n'
                f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.address}"\n'
                f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.directory}/opt"\n'
            )
        with open(f"{self.directory}/log", "wb") as log:
            self.daemon = subprocess.Popen(
                ["containerd", "--config", configuration], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        process.until(lambda: self.ctr("version"), f"containerd does not answer on {self.address}")
        self.ctr("images", "import", archive)
        self.volume, self.file = volume.make(self.directory)

    def ctr(self, *arguments, terminal=False):
        command = ["ctr", "--address", self.address, "--namespace", "hull", *arguments]
        run = process.on_terminal if terminal else process.plainly
        status, output = run(command)
        if status:
            raise RuntimeError(f"ctr {' '.join(arguments[:2])}: {output.strip()}")
        return output

    def cases(self):
        yield from cases(self.volume, self.file)

    def start(self, name, arguments):
        command = ["run", "--detach", "--runc-binary", self.record, *arguments]
        self.ctr(*command, debian.IMAGE, name, "sleep", "inf", terminal="--tty" in arguments)

    def stop(self, name):
        for arguments in (("tasks", "delete", "--force", name), ("containers", "delete", name)):
            try:
                self.ctr(*arguments)
            except RuntimeError as error:
                if "not found" not in str(error):
                    raise

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()
        subprocess.run(["umount", "-R", self.volume], check=True)
