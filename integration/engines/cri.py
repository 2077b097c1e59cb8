"""containerd's part for Kubernetes, with hull as the default runtime that README.md configures."""

import os
import shutil

import process
import readme
import rootfs
import view
from engines import containerd, transcript

NEEDS = {
    **containerd.NEEDS,
    "/usr/lib/python3/dist-packages/grpc": "python3-grpcio",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "busybox": "busybox-static",
}

SIMPLEST = transcript.Case("a pod")
SIMPLEST.commands.append(transcript.Command("cri run simplest >pod"))

# What belongs to a container of this engine, as patterns of glob(3).
BELONGS = ("/run/containerd/runc/k8s.io/*", "/run/containerd/state/io.containerd.runtime.v2.task/k8s.io/*")

HERE = os.path.dirname(os.path.abspath(__file__))
CRI = 'plugins."io.containerd.grpc.v1.cri"'
PAUSE = "localhost/pause:1"

NETWORK = """{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24", "dataDir": "%s"}}]
}
"""


class Engine(containerd.Engine):
    """The same daemon; `cri` in front of $PATH is the client."""

    NAMESPACE = "k8s.io"

    def __init__(self, scratch, archive):
        self.scratch = scratch
        super().__init__(scratch, archive)
        self.ctr("images", "import", self.pause())
        os.symlink(f"{HERE}/cri/client", f"{self.directory}/bin/cri")
        self.wait_for_images()

    def configuration(self, root):
        with open("/sys/fs/cgroup/cgroup.controllers") as controllers:
            is_hybrid = "cpu" not in controllers.read().split()
        os.makedirs(f"{self.directory}/cni")
        self.write("cni/10-pods.conflist", NETWORK % f"{self.directory}/addresses")
        text = f'root = "{root}"\nstate = "/run/containerd/state"\n'
        text += readme.configuration("version = 2", os.environ["HULL"])
        # The end of README.md's block are the options of hull, as it says.
        systemd = "SystemdCgroup = true\n" if view.under_systemd() else ""
        text += systemd
        for own in ("crun", "runc"):
            text += f'[{CRI}.containerd.runtimes.{own}]\nruntime_type = "io.containerd.runc.v2"\n'
            text += f'[{CRI}.containerd.runtimes.{own}.options]\nBinaryName = "{shutil.which(own) or own}"\n{systemd}'
        text += f'[{CRI}]\nsandbox_image = "{PAUSE}"\nrestrict_oom_score_adj = true\n'
        # Where cgroup v2 has no controllers; the weight of a pod cannot be left out.
        text += f"disable_cgroup = {str(is_hybrid).lower()}\n"
        text += f'[{CRI}.cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "{self.directory}/cni"\n'
        text += f'[grpc]\naddress = "{containerd.ADDRESS}"\n'
        return text + f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.directory}/opt"\n'

    def pause(self):
        """The image of the container that holds a pod's namespaces."""
        made = f"{self.directory}/pause"
        os.makedirs(f"{made}/bin")
        shutil.copy(shutil.which("busybox"), f"{made}/bin/busybox")
        rootfs.pack(made, f"{made}.tar", PAUSE, ["/bin/busybox", "tail", "-f", "/dev/null"])
        return f"{made}.tar"

    def wait_for_images(self):
        # The part for Kubernetes hears of an import later than who imports.
        process.until(
            lambda: self.ctr("images", "list").count("io.cri-containerd.image=managed") >= 2,
            "containerd's CRI does not see the images",
        )

    def environment(self, label, runtime):
        return {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "CRI_SOCKET": containerd.ADDRESS,
            # README.md makes hull the default.
            "RUNTIME_HANDLER": "" if label == "hull" else label,
            "CGROUP_PARENT": "pods.slice" if view.under_systemd() else "/k8s.io",
            "IMAGE": rootfs.IMAGE,
        }

    def cri(self, *arguments):
        environment = {**os.environ, **self.environment("hull", "")}
        return process.said([f"{self.directory}/bin/cri", *arguments], f"cri {arguments[0]}", env=environment)

    def clean(self):
        for pod in self.cri("pods").split():
            self.cri("stop-pod", pod)
            self.cri("remove-pod", pod)
