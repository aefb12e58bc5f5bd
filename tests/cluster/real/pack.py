#!/usr/bin/env python3
"""The command pack.py NAME SOURCE TAR [ENTRYPOINT...]: makes an image from scratch, with one layer.

SOURCE is a static binary, which becomes the entrypoint, or a folder, which becomes the root
of the file system. The archive has the layout of `docker save`, which `ctr images import`
reads.
"""

import hashlib
import io
import json
import os
import sys
import tarfile

name, source, out, *entrypoint = sys.argv[1:]


def add(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def owned_by_root(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    if os.path.isdir(source):
        for entry in sorted(os.listdir(source)):
            tar.add(os.path.join(source, entry), entry, filter=owned_by_root)
    else:
        entrypoint = ["/" + os.path.basename(source)]
        with open(source, "rb") as file:
            add(tar, os.path.basename(source), file.read(), 0o755)
    for folder in ("tmp", "etc"):
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
        tar.addfile(info)
    add(tar, "etc/passwd", b"root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n")
layer = layer.getvalue()
config = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
).encode()
config_name = hashlib.sha256(config).hexdigest() + ".json"
with tarfile.open(out, "w") as tar:
    add(tar, "layer.tar", layer)
    add(tar, config_name, config)
    add(
        tar,
        "manifest.json",
        json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode(),
    )
