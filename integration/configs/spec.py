"""The bundle that `spec` of each runtime writes, as it is but for rootfs and program."""

import os
import subprocess

NEEDS = {"runc": "runc", "crun": "crun"}


class Engine:
    """The runtimes themselves."""

    def __init__(self, scratch, _, record):
        self.directory, self.record = f"{scratch}/spec", record
        os.makedirs(self.directory)

    def cases(self):
        yield "hull", [os.environ["HULL"]]
        yield "crun", ["crun"]
        yield "runc", ["runc"]

    def start(self, name, arguments):
        directory = f"{self.directory}/{name}"
        os.mkdir(directory)
        result = subprocess.run([*arguments, "spec"], cwd=directory, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{arguments[0]} spec: {result.stderr.strip()}")
        os.replace(f"{directory}/config.json", f"{self.record}.config.json")

    def stop(self, name):
        pass

    def close(self):
        pass
