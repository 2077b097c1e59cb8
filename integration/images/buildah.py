"""buildah: builds without a runtime (`--isolation chroot`), pushes into each form."""

import os

from images.suite import call

NEEDS = {"buildah": "buildah", "crun": "crun"}
BUILT = "localhost/built:one"


class Engine:
    def __init__(self, directory, archive):
        self.directory = directory
        self.storage = ["--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--storage-driver", "overlay"]
        os.environ["TMPDIR"] = directory
        self.buildah("pull", "--quiet", f"oci-archive:{archive}")

    def buildah(self, command, *arguments):
        call("buildah", *self.storage, command, *arguments)

    def build(self, context):
        # `--layers`: a layer for each instruction, not one for all.
        options = ["--isolation", "chroot", "--layers", "--pull-never", "--quiet", "--format", "oci"]
        self.buildah("build", *options, "--tag", BUILT, context)

    def forms(self):
        for compression in ("gzip", "zstd"):
            for form in ("oci", "oci-archive"):
                reference = f"{form}:{self.directory}/{form}-{compression}:one"
                yield f"{form}-{compression}", reference, self.pushed(reference, "--compression-format", compression)
        reference = f"docker-archive:{self.directory}/docker-archive:{BUILT}"
        yield "docker-archive", reference, self.pushed(reference)

    def pushed(self, reference, *options):
        return lambda: self.buildah("push", "--quiet", *options, BUILT, reference)

    def close(self):
        self.buildah("rmi", "--all", "--force")
