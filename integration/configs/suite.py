"""What engines write: hull runs their config.json, and what the container sees is compared with
what it sees under crun and runc.
"""

import json
import os
import re
import shutil

import rootfs
from configs import bundle, compare

HERE = os.path.dirname(os.path.abspath(__file__))


def run(options, scratch, suite, module, tally):
    """Every case of the engine `module`, which has `NEEDS` and a class `Engine`."""
    short = os.path.basename(suite)
    record = recorder(f"{scratch}/{short}-runtime")
    engine = module.Engine(scratch, rootfs.image(), record)
    try:
        for case, arguments in engine.cases():
            name = f"{suite}/{case}"
            if not re.search(options.only, name):
                continue
            try:
                engine.start(case, arguments)
            except RuntimeError as error:
                # What it wrote before it failed may name mount sources that are gone.
                tally.skip(name, error)
                engine.stop(case)
                continue
            try:
                check(options, scratch, name, f"{record}.config.json", tally)
            finally:
                engine.stop(case)
    finally:
        engine.close()


def recorder(directory):
    """A runtime for an engine that records, and hands on to runc."""
    os.mkdir(directory)
    record = f"{directory}/runc"
    os.symlink(f"{HERE}/record", record)
    os.symlink(shutil.which("runc") or "runc", f"{record}.real")
    return record


def check(options, scratch, name, recorded, tally):
    with open(recorded) as file:
        config = json.load(file)
    short = name.replace("/", "-")
    told = bundle.edit(config, f"/bundles/{short}")
    print(f"{name}: without {', '.join(told) or 'nothing'}", flush=True)
    tested = bundle.Bundle(scratch, rootfs.directory(), short, config)
    before = left_behind()
    seen, outputs = {}, {}
    for label, program in (("hull", os.environ["HULL"]), ("crun", "crun"), ("runc", "runc")):
        # crun before 1.9 knows no other version.
        tested.config = {**config, "ociVersion": "1.0.2"} if label == "crun" else config
        words = command(program, f"/run/state/{label}")
        status, output = tested.run(words)
        after = left_behind()
        outputs[label] = f"exit status {status}\n{output}"
        if status == 0 and "== end\n" in output:
            seen[label] = compare.sections(output, config, scratch)
            if "disabled" in words:
                del seen[label]["cgroup"]
        if label == "hull" and after != before:
            tally.fail(name, ["left behind: " + it for it in sorted(after ^ before)])
            return
        before = after
    if options.save:
        save(f"{options.save}/{name}", config, outputs)
    references = [seen[label] for label in ("crun", "runc") if label in seen]
    for label in {"crun", "runc"} - set(seen):
        print(f"  {label} does not run it: {last_line(outputs[label])}")
    if not references:
        tally.skip(name, "neither crun nor runc run it")
    elif "hull" not in seen:
        tally.fail(name, outputs["hull"].splitlines()[-20:])
    else:
        wrong, allowed = compare.differences(name, seen["hull"], references)
        for line in allowed:
            print(f"  differs: {line}")
        if wrong:
            tally.fail(name, wrong)
        else:
            tally.passed.append(name)


def last_line(text):
    return text.strip().rpartition("\n")[2]


def command(program, state):
    """crun sets device rules for every container, and raises a limit for that."""
    words = [program, "--root", state]
    if os.path.basename(program) == "crun" and not bundle.may_raise_limits():
        words += ["--cgroup-manager", "disabled"]
    return words


def left_behind():
    """Mounts, cgroups and state: equal before and after a run."""
    with open("/proc/self/mountinfo") as mounts:
        found = {"mount " + line.split()[4] for line in mounts}
    for directory, _, _ in os.walk("/sys/fs/cgroup/bundles"):
        if directory != "/sys/fs/cgroup/bundles":
            found.add("cgroup " + directory)
    for runtime in ("hull", "crun", "runc"):
        if os.path.isdir(f"/run/state/{runtime}"):
            found |= {f"state {runtime} {name}" for name in os.listdir(f"/run/state/{runtime}")}
    return found


def save(directory, config, outputs):
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/config.json", "w") as file:
        json.dump(config, file, indent=2)
    for label, output in outputs.items():
        with open(f"{directory}/{label}", "w") as file:
            file.write(output)
