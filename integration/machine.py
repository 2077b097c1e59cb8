"""The machine of hack/vm: a kernel with every controller, in which `integration/run` is called again."""

import os
import sys

import rootfs

HERE = os.path.dirname(os.path.abspath(__file__))

# Software emulation: what a container takes is ten to twenty times as long.
SLOW = "10"
SECONDS = "36000"


def enter(argv, packages, systemd, save):
    """Becomes hack/vm with `argv` as its command. The programs are built and the images made here, where it
    takes seconds: `packages` has those of each image.
    """
    if os.geteuid() != 0:
        sys.exit("integration: must be root")
    images = [rootfs.image(*it) for it in packages]
    # The machine has a /tmp of its own.
    shared = {os.path.dirname(os.environ[name]) for name in ("HULL", "HULL_UNPACK")}
    shared |= {os.path.dirname(image) for image in images}
    if save:
        os.makedirs(save, exist_ok=True)
        shared.add(save)
    variables = {name: os.environ[name] for name in ("HULL", "HULL_UNPACK")}
    variables |= {"XDG_CACHE_HOME": rootfs.cache(), "HULL_INTEGRATION_SLOW": SLOW, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [f"{HERE}/../hack/vm", "--mem", "6G", "--timeout", SECONDS]
    command += ["--systemd"] if systemd else []
    for directory in sorted(shared):
        command += ["--share", directory]
    for name, value in variables.items():
        command += ["--env", f"{name}={value}"]
    os.execv(command[0], [*command, "--", *argv])
