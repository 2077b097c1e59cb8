"""Engines with hull as their runtime: every case with the engine's own runtime first, and with hull.
A case that no runtime of the engine passes is skipped with its reason.
"""

import glob
import os
import re
import shutil

import rootfs
from engines import transcript
from process import until

HERE = os.path.dirname(os.path.abspath(__file__))
OWN = ("crun", "runc")

PRELUDE = f"""
# For what tells nobody when it is so; the case's time limit ends it.
eventually() {{ until "$@" >eventually.out 2>&1; do sleep 0.1; done; cat eventually.out; }}
# COMMAND on a terminal, typing what comes on standard input.
terminal() {{ {HERE}/terminal "$@"; }}
"""


def run(options, scratch, suite, module, tally):
    """Every case in the files beside `module`, which has `NEEDS`, perhaps `IN_IMAGE` (packages beside
    the essential ones), perhaps `OWN` (the engine's own runtimes), `SIMPLEST` (a case that a runtime
    passes if it works here at all) and a class `Engine`: environment(label, runtime) gives the variables
    of the cases, clean() removes every container.
    """
    engine = module.Engine(scratch, rootfs.image(*getattr(module, "IN_IMAGE", ())))
    labels = getattr(module, "OWN", OWN)
    runtimes = {label: shutil.which(label) for label in labels if shutil.which(label)}
    runtimes["hull"] = os.environ["HULL"]
    tested = Runner(engine, runtimes, f"{scratch}/{suite}/cases", module)
    try:
        own = []
        for label in labels:
            if label not in runtimes:
                print(f"{suite}: {label} is not installed")
                continue
            wrong = tested.try_case(module.SIMPLEST, label)
            if wrong:
                print(f"{suite}: {label} cannot run a container here: {reason(wrong)}")
            else:
                own.append(label)
        for path in sorted(glob.glob(f"{HERE}/{os.path.basename(suite)}/*.cases")):
            file = os.path.basename(path).removesuffix(".cases")
            for case in transcript.read(path):
                name = f"{suite}/{file}: {case.name}"
                if re.search(options.only, name):
                    check(options, tested, own, name, case, tally)
    finally:
        engine.close()


def check(options, tested, own, name, case, tally):
    wrong = ["no runtime of the engine runs here"]
    for label in own:
        wrong = tested.try_case(case, label)
        if not wrong:
            break
        if options.save:
            save(f"{options.save}/{name}.{label}", wrong)
        print(f"{name}: with {label}: {reason(wrong)}", flush=True)
    if wrong:
        tally.skip(name, "the engine's own runtimes fail")
        return
    before = left_behind(tested.module)
    wrong = tested.try_case(case, "hull")
    if not wrong:
        def left():
            return left_behind(tested.module) - before

        try:
            # An engine's monitor of a container ends after it.
            until(lambda: not left(), "left behind")
        except RuntimeError:
            wrong = [f"left behind: {it}" for it in sorted(left())]
    if wrong:
        tally.fail(name, wrong)
    else:
        tally.passed.append(name)
        print(f"{name}: as with {label}", flush=True)


class Runner:
    """Runs a case with one of the runtimes, in a directory of its own."""

    def __init__(self, engine, runtimes, directory, module):
        self.engine, self.runtimes, self.directory, self.module = engine, runtimes, directory, module
        self.count = 0

    def try_case(self, case, label):
        self.count += 1
        directory = f"{self.directory}/{self.count}"
        os.makedirs(directory)
        environment = {**os.environ, **self.engine.environment(label, self.runtimes[label])}
        try:
            return transcript.run(case, PRELUDE, directory, environment)
        finally:
            self.engine.clean()


def reason(wrong):
    """One line of what transcript.run() tells: the command, and what it wrote last."""
    said = [line for line in wrong[1:] if not re.fullmatch(r"\[\d+\]|", line)]
    return f"{wrong[0]}: {said[-1] if said else wrong[-1]}"


def save(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def left_behind(module):
    """Mounts, cgroups and state that belong to containers."""
    with open("/proc/self/mountinfo") as mounts:
        points = {line.split()[4] for line in mounts}
    # The storage of podman mounts this directory on itself when it begins, and unmounts it when it likes.
    found = {f"mount {point}" for point in points if not point.endswith("/storage/overlay")}
    for directory, _, _ in os.walk("/sys/fs/cgroup"):
        if re.search(r"[0-9a-f]{64}", directory):
            found.add("cgroup " + directory)
    for pattern in ("/run/hull/*", *getattr(module, "BELONGS", ())):
        found |= {f"state {path}" for path in glob.glob(pattern)}
    return found
