"""docker with `userns-remap`: each container has a user namespace, and root in it is nobody outside."""

import os

from engines import docker

NEEDS, SIMPLEST, BELONGS = docker.NEEDS, docker.SIMPLEST, docker.BELONGS

# Debian's crun gives standard streams to root of the container, and with them the host's /dev/null.
OWN = ("runc",)

# One that every Debian has, and that has no ids for others.
USER = "games"


class Engine(docker.Engine):
    NAME = "remapped"
    SETTINGS = {"userns-remap": USER}

    def __init__(self, scratch, archive):
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, "a") as file:
                file.write(f"{USER}:300000:65536\n")
        # The containers' root is to reach the images of the daemon.
        os.chmod(scratch, 0o711)
        super().__init__(scratch, archive)
