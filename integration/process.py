"""One command, with what it wrote: plainly, or on a terminal."""

import os
import pty
import subprocess
import termios
import time

SLOW = int(os.environ.get("HULL_INTEGRATION_SLOW", "1"))
TIMEOUT = 60 * SLOW  # seconds


def plainly(command, **options):
    """Exit status and output; `options` are those of Popen. The status is "timeout" after TIMEOUT."""
    # A file, not a pipe: whoever keeps a pipe open would be waited for.
    with open("/run/output", "w+b") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options
        )
        status = wait(process)
        output.seek(0)
        return status, output.read().decode(errors="replace")


def said(command, name, **options):
    """Standard output of a command that must succeed."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if result.returncode:
        raise RuntimeError(f"{name}: {result.stderr.strip()}")
    return result.stdout


def until(is_so, otherwise):
    """Returns when `is_so` gives true; an error of a command in it is a no. An engine tells nobody when
    it is there, has read its configuration again, or knows of an image: so it is asked again.
    """
    for _ in range(10 * TIMEOUT):
        try:
            if is_so():
                return
        except RuntimeError:
            pass
        # Often enough that no case is slower for it, seldom enough to leave the processor to the engine.
        time.sleep(0.1)
    raise RuntimeError(otherwise)


def on_terminal(command):
    """The same in a session of its own on a terminal of 24 lines and 80 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    output = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            break
        output += data
    os.close(ours)
    return wait(process), output.decode(errors="replace").replace("\r\n", "\n")


def wait(process):
    try:
        return process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "timeout"
