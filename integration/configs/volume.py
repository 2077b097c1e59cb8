"""What containers get by -v: a volume with a mount below it and with peers for propagation, and a file."""

import os
import subprocess


def make(directory):
    """The paths of both, below `directory`."""
    volume, file = f"{directory}/volume", f"{directory}/file"
    os.mkdir(volume)
    with open(file, "w") as opened:
        opened.write("content\n")
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    os.mkdir(f"{volume}/below")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{volume}/below"], check=True)
    return volume, file
