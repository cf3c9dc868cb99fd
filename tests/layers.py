#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The folders of common/ are its layers: a file includes its own folder and
those named in its row below, and no other. One fault a line.

    tests/layers.py [root]"""
import os
import re
import sys

BELOW = "base wire policy"
STORE = BELOW + " loop db contract"
OUTBOX = STORE + " store bus"
LAYERS = {
    "base": "",
    "wire": "base",
    "policy": "base",
    "hl7": "base wire",
    "loop": "base wire",
    "http": "base wire loop",
    "db": "base wire loop",
    "bus": "base wire loop policy",
    "contract": BELOW,
    "store": STORE,
    "outbox": OUTBOX,
    "inbox": OUTBOX,
    "deadlines": OUTBOX + " inbox",
    "audit": "base wire loop db contract",
    "process": "base wire loop http bus",
}
ALL = " ".join([*LAYERS, "service"])
LAYERS["service"] = ALL
INCLUDE = re.compile(r'#\s*include\s+"common/([^"]+)"')


def faults(path, text):
    """(line number, folder) of each include that points the wrong way."""
    parts = path.split("/")
    own = parts[1] if len(parts) == 3 else ""
    allowed = {own, *LAYERS.get(own, "").split()} - {""}
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        folder = match[1].rpartition("/")[0] if match else own
        if folder not in allowed:
            yield number, folder


def main():
    """Prints each fault; the exit code tells whether there was one."""
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    count = 0
    for folder, _, names in os.walk(os.path.join(root, "common")):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if name.endswith((".c", ".h")):
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    for number, other in faults(path, file.read()):
                        count += 1
                        print(f"{path}:{number}: must not include {other}/")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
