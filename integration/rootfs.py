"""A Debian rootfs made by debootstrap, kept between runs, and an OCI image archive of it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

SUITE = "bookworm"
IMAGE = f"localhost/debian:{SUITE}"


def architecture():
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


def mirror():
    """Where this machine gets Debian from: the first archive of apt that is not for updates."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    lines = subprocess.check_output(command, text=True).splitlines()
    for line in lines:
        uri, codename = line.split()
        if "-" not in codename:
            return uri
    sys.exit("integration: apt knows no Debian archive (apt-get update?)")


def cache():
    return os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def directory(*packages):
    """The rootfs, with more packages; nobody writes to it, containers get an overlay."""
    made = "-".join([f"{cache()}/hull-integration/{SUITE}-minbase", *packages, architecture()])
    if not os.path.isdir(made):
        print(f"integration: debootstrap {SUITE} into {made}", flush=True)
        building = f"{made}.{os.getpid()}"
        os.makedirs(building)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, building, mirror()]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            shutil.rmtree(building)
            sys.exit(f"integration: debootstrap:\n{result.stdout[-2000:]}")
        for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(f"{building}/{left}")
        os.rename(building, made)
    return made


def image(*packages):
    """An OCI archive of one layer, kept beside the rootfs, that podman, ctr and docker import as IMAGE."""
    made = directory(*packages)
    archive = f"{made}.tar"
    if not os.path.exists(archive):
        building = f"{made}.{os.getpid()}.tar"
        pack(made, building)
        os.rename(building, archive)
    return archive


def pack(rootfs, archive, name=IMAGE, command=("sh",)):
    layer = archive + ".layer"
    subprocess.run(["tar", "-C", rootfs, "--numeric-owner", "-cf", layer, "."], check=True)
    with open(layer, "rb") as file:
        layer_digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        # Builders refuse to build on an image with more layers than history.
        "history": [{"created_by": "debootstrap"}],
    }
    media = "application/vnd.oci.image"
    with tarfile.open(archive, "w") as tar:

        def add(name, data):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

        def blob(kind, value):
            data = json.dumps(value).encode()
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": f"{media}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        tar.add(layer, f"blobs/sha256/{layer_digest}")
        described = {
            "mediaType": f"{media}.layer.v1.tar",
            "digest": f"sha256:{layer_digest}",
            "size": os.path.getsize(layer),
        }
        manifest = blob(
            "manifest.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": f"{media}.manifest.v1+json",
                "config": blob("config.v1+json", config),
                "layers": [described],
            },
        )
        manifest["annotations"] = {
            "org.opencontainers.image.ref.name": name,
            "io.containerd.image.name": name,
        }
        index = {"schemaVersion": 2, "mediaType": f"{media}.index.v1+json", "manifests": [manifest]}
        add("index.json", json.dumps(index).encode())
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    os.unlink(layer)
