"""The configuration of engines, as README.md tells it to users: what is written there is tested."""

import os
import re

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "README.md")
INSTALLED = "/usr/local/bin/hull"


def configuration(mark, program):
    """The one block of README.md that contains `mark`, for hull at `program`."""
    with open(README) as file:
        blocks = re.findall(r"^```[a-z]+\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if mark in block and INSTALLED in block]
    if len(found) != 1:
        raise RuntimeError(f"README.md has {len(found)} blocks with {mark} and {INSTALLED}")
    return found[0].replace(INSTALLED, program)
