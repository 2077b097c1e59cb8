"""podman: `create` and `init` with a recording runtime. Its container waits in the state
"created" meanwhile, so that every mount source and namespace that its config names exists.
"""

import os
import shutil
import subprocess

import rootfs as debian
from configs import volume

NEEDS = {"podman": "podman", "conmon": "conmon", "runc": "runc", "crun": "crun"}


def cases(volume, file):
    """Name and arguments of `podman create`."""
    yield "plain", []
    yield "tty", ["-t"]
    yield "interactive", ["-i"]
    yield "tty-interactive", ["-t", "-i"]
    yield "read-only", ["--read-only"]
    yield "read-only-all", ["--read-only", "--read-only-tmpfs=false"]
    yield "user-ids", ["--user", "1000:1000"]
    yield "user-name", ["--user", "games"]
    yield "user-groups", ["--user", "1000", "--group-add", "7", "--group-add", "audio"]
    yield "umask", ["--umask", "0077"]
    yield "workdir", ["--workdir", "/usr/share", "-e", "A=b=c", "-e", "EMPTY="]
    yield "cap-add", ["--cap-add", "NET_ADMIN,SYS_TIME"]
    yield "cap-drop", ["--cap-drop", "ALL"]
    yield "cap-one", ["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"]
    yield "cap-user", ["--user", "1000", "--cap-add", "NET_RAW"]
    yield "privileged", ["--privileged"]
    yield "privileged-tty", ["--privileged", "-t"]
    yield "no-new-privileges", ["--security-opt", "no-new-privileges"]
    yield "mask", ["--security-opt", "mask=/proc/version:/etc/apt"]
    yield "unmask", ["--security-opt", "unmask=ALL"]
    yield "hidepid", ["--security-opt", "proc-opts=hidepid=2"]
    yield "volume", ["-v", f"{volume}:/data"]
    yield "volume-ro", ["-v", f"{volume}:/data:ro"]
    yield "volume-nodev", ["-v", f"{volume}:/data/deep/below:noexec,nosuid,nodev"]
    yield "volume-file", ["-v", f"{file}:/etc/one.conf:ro"]
    for propagation in ("private", "rprivate", "slave", "rslave", "shared", "rshared"):
        yield f"volume-{propagation}", ["-v", f"{volume}:/data:{propagation}"]
    yield "volume-nonrecursive", ["--mount", f"type=bind,src={volume},dst=/data,bind-nonrecursive"]
    yield "tmpfs", ["--tmpfs", "/scratch"]
    yield "tmpfs-options", ["--tmpfs", "/scratch:rw,size=1m,mode=0710,noexec"]
    yield "tmpfs-copy-up", ["--mount", "type=tmpfs,dst=/etc/apt,tmpcopyup"]
    yield "tmpfs-run-var", ["--tmpfs", "/var/run", "--tmpfs", "/tmp"]
    yield "devpts", ["--mount", "type=devpts,dst=/mnt,uid=1000,gid=5,mode=600,max=10"]
    yield "hostname", ["--hostname", "web.example"]
    yield "device", ["--device", "/dev/null:/dev/mine:r", "--device", "/dev/full:/dev/dir/full"]
    yield "ulimit", ["--ulimit", "nofile=100:200", "--ulimit", "core=0:0", "--ulimit", "stack=1048576:2097152"]
    yield "sysctl", ["--sysctl", "net.ipv4.ip_unprivileged_port_start=80", "--sysctl", "kernel.msgmax=4096"]
    yield "init", ["--init"]
    yield "shm-size", ["--shm-size", "1m"]
    yield "oom-score-adj", ["--oom-score-adj", "500"]
    yield "personality", ["--personality", "LINUX32"]
    yield "systemd", ["--systemd=always"]
    yield "pid-host", ["--pid", "host"]
    yield "ipc-host", ["--ipc", "host"]
    yield "uts-host", ["--uts", "host"]
    yield "cgroupns-host", ["--cgroupns", "host"]
    yield "network-host", ["--network", "host"]
    yield "network-bridge", ["--network", "podman"]
    yield "annotation", ["--annotation", "run.example/key=value"]
    yield "memory", ["--memory", "64m", "--cpus", "1", "--pids-limit", "10"]
    yield "user-namespace", ["--uidmap", "0:100000:65536"]


class Engine:
    """podman with its storage, its state and its configuration in the scratch directory."""

    def __init__(self, scratch, archive, record):
        self.directory = f"{scratch}/podman"
        os.makedirs(self.directory)
        configuration = f"{self.directory}/containers.conf"
        with open(configuration, "w") as file:
            file.write(f'[network]\nnetwork_config_dir = "{self.directory}"\n')
        self.environment = {**os.environ, "CONTAINERS_CONF": configuration, "TMPDIR": self.directory}
        self.record = record
        self.podman("load", "--quiet", "--input", archive)
        self.volume, self.file = volume.make(self.directory)

    def podman(self, *arguments):
        command = ["podman", "--root", f"{self.directory}/storage", "--runroot", "/run/podman/root"]
        command += ["--tmpdir", "/run/podman/tmp", "--cgroup-manager", "cgroupfs"]
        command += ["--storage-driver", "overlay", "--events-backend", "none"]
        command += ["--runtime", self.record]
        result = subprocess.run(
            [*command, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode:
            raise RuntimeError(f"podman {arguments[0]}: {result.stdout.strip()}")
        return result.stdout

    def cases(self):
        for name, arguments in cases(self.volume, self.file):
            if name == "init" and not shutil.which("catatonit") and not os.path.exists("/usr/libexec/podman/catatonit"):
                continue
            yield name, arguments

    def start(self, name, arguments):
        """Leaves the container's config.json beside the recording runtime."""
        network = [] if "--network" in arguments else ["--network", "none"]
        self.podman("create", "--name", name, *network, *arguments, debian.IMAGE, "sleep", "inf")
        self.podman("init", name)

    def stop(self, name):
        self.podman("rm", "--force", "--time", "0", "--ignore", name)

    def close(self):
        subprocess.run(["umount", "-R", self.volume], check=True)
