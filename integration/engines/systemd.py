"""systemd as the first process of podman's containers, with hull as podman's `--runtime`."""

from engines import podman, transcript

NEEDS = podman.NEEDS
IN_IMAGE = ["systemd-sysv", "dbus"]

SIMPLEST = transcript.Case("a container")
SIMPLEST.commands.append(transcript.Command("podman run --rm $IMAGE true"))


class Engine(podman.Engine):
    """podman with an image in which systemd and a bus are installed."""
