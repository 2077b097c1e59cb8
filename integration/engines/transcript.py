"""A case as it looks in a terminal: commands for bash, and what they write.

    ## a sentence about the container
    $ podman run --rm $IMAGE sh -c 'echo out; exit 3'
    > (a line that belongs to the command above)
    out
    [3]

Both outputs are one. A line that ends in ` (re)` is a regular expression for a whole line, `...`
stands for any number of lines, `[N]` is an exit status other than 0. Before the first `##` is text, and
so is a line that begins with `# `.
"""

import re

import process

MARK = "--- end of command"

# The status is told on a line of its own, whatever the command wrote. After one that was not expected nothing is
# run: it might wait for what will not be.
ENDED = f"""
ended() {{ printf '\\n{MARK} %s\\n' "$1"; test "$1" = "$2" || exit 0; }}
"""


class Case:
    """Commands, each with the lines and the exit status that are expected of it."""

    def __init__(self, name):
        self.name, self.commands = name, []


class Command:
    def __init__(self, text):
        self.text, self.lines, self.status = text, [], 0


def read(path):
    """The cases of a file."""
    cases = []
    with open(path) as file:
        for line in file.read().splitlines():
            if line.startswith("## "):
                cases.append(Case(line[3:]))
            elif not cases or not line or line.startswith("# "):
                continue
            elif line.startswith("$ "):
                cases[-1].commands.append(Command(line[2:]))
            elif line.startswith("> "):
                cases[-1].commands[-1].text += "\n" + line[2:]
            elif re.fullmatch(r"\[\d+\]", line):
                cases[-1].commands[-1].status = int(line[1:-1])
            else:
                cases[-1].commands[-1].lines.append(line)
    return cases


def run(case, prelude, directory, environment):
    """What was not as expected, as lines to print; none if all was. Ends at the first."""
    script = f"{directory}/.case"
    with open(script, "w") as file:
        file.write(prelude + ENDED)
        for command in case.commands:
            file.write(f"{{\n{command.text}\n}} </dev/null\nended $? {command.status}\n")
    status, output = process.plainly(["bash", script], cwd=directory, env=environment)
    told = re.split(rf"\n{MARK} (\d+)\n", output)
    for number, command in enumerate(case.commands):
        seen = told[2 * number].splitlines()
        if 2 * number + 1 == len(told):
            return [f"$ {command.text}", *seen, f"not ended: {status}"]
        code = int(told[2 * number + 1])
        if code != command.status or not matches(command.lines, seen):
            expected = command.lines + [f"[{command.status}]"]
            return [f"$ {command.text}", "expected:", *expected, "seen:", *seen, f"[{code}]"]
    return []


def matches(expected, seen):
    if not expected:
        return not seen
    first, rest = expected[0], expected[1:]
    if first == "...":
        return any(matches(rest, seen[skipped:]) for skipped in range(len(seen) + 1))
    if not seen:
        return False
    if first.endswith(" (re)"):
        same = re.fullmatch(first[:-5], seen[0])
    else:
        same = first == seen[0]
    return bool(same) and matches(rest, seen[1:])
