"""How long an engine takes for a container, from the command to its end, with each runtime; and how much
of that are its calls of the runtime.

Every round runs each runtime in turn, so that a busy machine is busy for all of them. The calls are timed
in a second run of the same command, by a program between engine and runtime: what that costs
itself is in neither figure.
"""

import os
import shutil
import statistics
import subprocess
import time

import rootfs

OTHERS = ("crun", "runc")

# As the engine sees it: until the runtime has ended, not what is left of it.
TIMED = """#!/bin/bash
begin=${{EPOCHREALTIME/[.,]/}}
{program} "$@"
status=$?
echo $((${{EPOCHREALTIME/[.,]/}} - begin)) >>{log}
exit $status
"""


def run(rounds, scratch, suite, module):
    """Prints the times of the commands in `module.MEASURED`."""
    engine = module.Engine(scratch, rootfs.image())
    runtimes = {"hull": os.environ["HULL"], **{name: shutil.which(name) for name in OTHERS if shutil.which(name)}}
    contenders = [Contender(engine, name, path, f"{scratch}/{suite}/timed") for name, path in runtimes.items()]
    try:
        for command in module.MEASURED:
            measure(rounds, command, contenders)
    finally:
        engine.close()


class Contender:
    """A runtime, plainly and with a program in front of it that writes down how long each call takes."""

    def __init__(self, engine, name, path, directory):
        os.makedirs(f"{directory}/{name}")
        self.name, self.log = name, f"{directory}/{name}/log"
        timed = f"{directory}/{name}/{os.path.basename(path)}"
        with open(timed, "w") as file:
            file.write(TIMED.format(program=path, log=self.log))
        os.chmod(timed, 0o755)
        self.plain, self.timed = self.environment(engine, path), self.environment(engine, timed)

    def environment(self, engine, path):
        # The path in every case, for podman knows some names.
        return {**os.environ, **engine.environment(self.name, path), "RUNTIME": path}

    def whole(self, command):
        """Milliseconds of the command."""
        return self.time(command, self.plain)

    def calls(self, command):
        """Milliseconds of the calls of the runtime in it, together."""
        open(self.log, "w").close()
        self.time(command, self.timed)
        with open(self.log) as log:
            return sum(int(line) for line in log) / 1000

    def time(self, command, environment):
        begin = time.monotonic()
        result = subprocess.run(["sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        elapsed = time.monotonic() - begin
        if result.returncode:
            raise RuntimeError(result.stderr.decode(errors="replace").strip().split("\n")[-1])
        return 1000 * elapsed


def measure(rounds, command, contenders):
    """One command, with all that can run it here."""
    print(f"\n{command}", flush=True)
    able = []
    for contender in contenders:
        try:
            contender.calls(command)
            able.append(contender)
        except RuntimeError as error:
            print(f"skip: {contender.name}: {error}")
    whole, calls = ({contender.name: [] for contender in able} for _ in range(2))
    for number in range(rounds):
        for turn in range(len(able)):
            contender = able[(number + turn) % len(able)]
            whole[contender.name].append(contender.whole(command))
            calls[contender.name].append(contender.calls(command))
    whole, calls = ({name: figures(of) for name, of in samples.items()} for samples in (whole, calls))
    engine = {name: tuple(a - b for a, b in zip(whole[name], calls[name])) for name in whole}
    rows = {"whole": whole, "calls of the runtime": calls, "the engine itself": engine}
    names = [contender.name for contender in able]
    others = [name for name in names if name != "hull"] if "hull" in names else []
    print(f"{'ms':20}" + "".join(f" |{name:^17}" for name in names) + "".join(f" |{f'hull/{name}':^13}" for name in others))
    print(f"{'':20}" + f" |{'min':>8} {'median':>8}" * len(names) + f" |{'min':>6} {'median':>6}" * len(others))
    for row, of in rows.items():
        line = f"{row:20}" + "".join(f" |{of[name][0]:8.1f} {of[name][1]:8.1f}" for name in names)
        for name in others:
            low, middle = (ours / theirs for ours, theirs in zip(of["hull"], of[name]))
            line += f" |{low:6.2f} {middle:6.2f}"
        print(line, flush=True)


def figures(samples):
    """Minimum and median."""
    return min(samples), statistics.median(samples)
