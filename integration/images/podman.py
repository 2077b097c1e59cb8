"""podman: builds with a runtime of its own or without one, saves in each form that it has."""

import os

import rootfs
from images.suite import call

NEEDS = {"podman": "podman", "crun": "crun"}
BUILT = "localhost/built:one"


class Engine:
    def __init__(self, directory, archive):
        self.directory = directory
        self.global_options = ["--root", f"{directory}/storage", "--runroot", f"{directory}/run"]
        self.global_options += ["--tmpdir", f"{directory}/tmp", "--storage-driver", "overlay"]
        self.global_options += ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        os.environ["TMPDIR"] = directory
        self.podman("load", "--quiet", "--input", archive)

    def podman(self, command, *arguments):
        call("podman", *self.global_options, command, *arguments)

    def build(self, context):
        options = ["--isolation", "chroot", "--layers", "--pull=never", "--quiet", "--format", "docker"]
        self.podman("build", *options, "--tag", BUILT, context)

    def forms(self):
        for form in ("oci-archive", "oci-dir", "docker-archive"):
            path = f"{self.directory}/{form}"
            name = "" if form == "oci-dir" else f":{BUILT}"
            reference = f"{'oci' if form == 'oci-dir' else form}:{path}{name}"
            yield form, reference, self.saved("save", "--quiet", "--format", form, "--output", path, BUILT)
        path = f"{self.directory}/pushed"
        yield "pushed-zstd", f"oci:{path}:one", self.saved(
            "push", "--quiet", "--compression-format", "zstd", BUILT, f"oci:{path}:one"
        )
        path = f"{self.directory}/several"
        yield "docker-archive-of-two", f"docker-archive:{path}:{BUILT}", self.saved(
            "save", "--quiet", "--multi-image-archive", "--output", path, BUILT, rootfs.IMAGE
        )

    def saved(self, *words):
        return lambda: self.podman(*words)

    def close(self):
        self.podman("rmi", "--all", "--force")
