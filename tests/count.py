#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what an operation costs: the lines of all .c, .h and .sql files of the
services (the gateway apart) for each rpc that has an HTTP option in its proto.
Prints each service and the total; fails above LIMIT.

    tests/count.py [root]"""
import glob
import os
import re
import sys

# Lines for each operation, over all services. It is lowered, never raised.
LIMIT = 225
# It serves all services and has no operation of its own.
APART = "gateway"
HTTP = re.compile(r"\boption\s*\(http\)")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


def lines(root, folder):
    """How many lines the .c, .h and .sql files below a folder have."""
    count = 0
    for place, _, names in os.walk(os.path.join(root, folder)):
        for name in names:
            if name.endswith((".c", ".h", ".sql")):
                with open(os.path.join(place, name), "rb") as file:
                    count += file.read().count(b"\n")
    return count


def operations(root, stem="*"):
    """How many rpcs of proto/cairn/<stem>.proto have an HTTP option."""
    count = 0
    for path in glob.glob(os.path.join(root, "proto/cairn", stem + ".proto")):
        with open(path, encoding="utf-8") as file:
            count += len(HTTP.findall(COMMENT.sub("", file.read())))
    return count


def main():
    """Prints the counts; the exit code tells whether LIMIT is exceeded."""
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    total = 0
    for service in sorted(os.listdir(os.path.join(root, "services"))):
        if service != APART:
            count = lines(root, "services/" + service)
            own = operations(root, service)
            each = f"{count / own:.1f} each" if own else "none"
            print(f"{service:14} {count:6} lines {own:4} operations  {each}")
            total += count
    # common/ serves the operator's operations for every service.
    rpcs = operations(root)
    if rpcs == 0:
        print("no operation was found in proto/cairn")
        return 1
    print(f"{'all':14} {total:6} lines {rpcs:4} operations  "
          f"{total / rpcs:.1f} each, at most {LIMIT}")
    print(f"common and proto/plugin: "
          f"{lines(root, 'common') + lines(root, 'proto/plugin')} lines")
    return 1 if total > LIMIT * rpcs else 0


if __name__ == "__main__":
    sys.exit(main())
