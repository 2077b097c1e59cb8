"""buildah with `--isolation oci` and hull as its `--runtime`: storage and state of its own."""

import os
import shutil

import process
import rootfs
from engines import transcript

NEEDS = {"buildah": "buildah", "busybox": "busybox-static"}

SIMPLEST = transcript.Case("a step")
SIMPLEST.commands.append(transcript.Command("at=$(buildah from $IMAGE); buildah run --runtime $RUNTIME_PATH --isolation oci $at true"))


class Engine:
    """buildah, through a program in front of $PATH that adds the options of this run."""

    def __init__(self, scratch, archive):
        self.directory = f"{scratch}/engines/buildah"
        os.makedirs(f"{self.directory}/bin")
        with open(f"{self.directory}/bin/buildah", "w") as file:
            file.write(f'''#!/bin/sh
command=$1
shift
exec {shutil.which("buildah")} --root {self.directory}/storage --runroot /run/hull-buildah \\
    --storage-driver overlay "$command" "$@"
'''.lstrip())
        os.chmod(f"{self.directory}/bin/buildah", 0o755)
        self.buildah("tag", self.buildah("pull", "--quiet", f"oci-archive:{archive}").strip(), rootfs.IMAGE)
        self.kept = self.images()

    def environment(self, label, runtime):
        """The variables of a case that runs with this runtime."""
        return {
            "BUILDAH_ISOLATION": "oci",
            "BUILDAH_RUNTIME": runtime,
            "TMPDIR": self.directory,
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "RUNTIME_PATH": runtime,
            "IMAGE": rootfs.IMAGE,
            "BUSYBOX": shutil.which("busybox"),
        }

    def buildah(self, *arguments):
        environment = {**os.environ, **self.environment("hull", os.environ["HULL"])}
        return process.said([f"{self.directory}/bin/buildah", *arguments], f"buildah {arguments[0]}", env=environment)

    def images(self):
        return set(self.buildah("images", "--all", "--quiet", "--no-trunc").split())

    def clean(self):
        self.buildah("rm", "--all")
        # One that another is made of goes with it.
        for image in self.images() - self.kept:
            if image in self.images():
                self.buildah("rmi", "--force", image)

    def close(self):
        pass
