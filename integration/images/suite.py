"""Images that engines build, saved in each form, unpacked in each layout, run by hull and by crun:
the program in the container finds what was built.
"""

import os
import re
import shutil
import subprocess

import process
import rootfs
from configs import suite as configs

CONTAINERFILE = f"""
FROM {rootfs.IMAGE}
RUN groupadd --gid 2000 web && useradd --uid 1000 --gid web --groups audio web
RUN mkdir -p /srv/data /srv/gone && echo one >/srv/data/one && touch /srv/gone/file /srv/data/old \\
    && mkfifo /srv/fifo && ln -s ../data/one /srv/gone/link
RUN rm -r /srv/gone /usr/share/doc && mkdir /usr/share/doc && touch /usr/share/doc/new \\
    && rm /srv/data/old && ln /srv/data/one /srv/data/two && install -m 4750 -g web /bin/true /srv/set-user-id \\
    && chown -R web: /srv/data
ENV GREETING="hello there"
VOLUME /srv/volume
WORKDIR /srv/data
USER web
CMD ["sh", "-c", "id; pwd; echo $GREETING; ls -A /srv /usr/share/doc; \\
    stat -c '%n %A %h %u %g' one two ../set-user-id; touch three && ls"]
"""

# A copy, a copy of a store's layers, and those layers themselves.
LAYOUTS = {"copy": [], "stored": ["--layout", "copy"], "shared": ["--layout", "shared"]}

EXPECTED = """\
uid=1000(web) gid=2000(web) groups=2000(web),29(audio)
/srv/data
hello there
/srv:
data
fifo
set-user-id
volume

/usr/share/doc:
new
one -rw-r--r-- 2 1000 2000
two -rw-r--r-- 2 1000 2000
../set-user-id -rwsr-x--- 1 0 2000
one
three
two
"""


def run(options, scratch, suite, module, tally):
    """Every form of the engine `module`, which has `NEEDS` and a class `Engine`: build(directory) builds
    what a Containerfile there says, and forms() gives a name, a reference for hull-unpack and what saves it.
    """
    directory = f"{scratch}/{suite}"
    os.makedirs(f"{directory}/context")
    with open(f"{directory}/context/Containerfile", "w") as file:
        file.write(CONTAINERFILE)
    engine = module.Engine(directory, rootfs.image())
    try:
        try:
            engine.build(f"{directory}/context")
        except RuntimeError as error:
            tally.skip(suite, error)
            return
        for form, reference, save in engine.forms():
            names = {layout: f"{suite}/{form}-{layout}" for layout in LAYOUTS}
            chosen = {layout: name for layout, name in names.items() if re.search(options.only, name)}
            if not chosen:
                continue
            try:
                save()
            except RuntimeError as error:
                for name in chosen.values():
                    tally.skip(name, error)
                continue
            for layout, name in chosen.items():
                check(directory, name, reference, layout, tally)
    finally:
        engine.close()


def check(directory, name, reference, layout, tally):
    short = name.replace("/", "-")
    # On the disk, where overlayfs has its attributes, and no other test's.
    bundle, store = f"{directory}/bundle", f"{directory}/store"
    further = [*LAYOUTS[layout], "--store", store] if LAYOUTS[layout] else []
    shared = layout == "shared"
    before = configs.left_behind()
    try:
        unpack(*further, "--quiet", reference, bundle)
        unpack("verify", "--quiet", reference)
        for label, program in (("hull", os.environ["HULL"]), ("crun", "crun")):
            if shared:
                unpack("mount", bundle)
            words = configs.command(program, f"/run/state/{label}")
            status, output = process.plainly([*words, "run", "--bundle", bundle, f"{short}-{label}"])
            if shared:
                unpack("umount", bundle)
            if (status, output) != (0, EXPECTED):
                tally.fail(f"{name} with {label}", [f"exit status {status}", *output.splitlines()])
                return
            # What the container wrote, which the other one shall not find.
            written = f"{bundle}/{'upper' if shared else 'rootfs'}/srv/data/three"
            os.unlink(written)
        left = configs.left_behind() - before
        if left:
            tally.fail(name, [f"left behind: {it}" for it in sorted(left)])
            return
        tally.passed.append(name)
        print(f"{name}: as under crun", flush=True)
    except RuntimeError as error:
        tally.fail(name, str(error).splitlines())
    finally:
        subprocess.run(["umount", "--quiet", f"{bundle}/rootfs"], check=False)
        for made in (bundle, store):
            shutil.rmtree(made, ignore_errors=True)


def unpack(*arguments):
    call(os.environ["HULL_UNPACK"], *arguments)


def call(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{os.path.basename(command[0])} {command[1]}: {result.stderr.strip()}")
