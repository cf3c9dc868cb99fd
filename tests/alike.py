#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Finds what two services wrote twice: RUN or more lines of C, one after the
other, that are the same in both or differ only in their names, numbers and
texts. Blank lines, comments and #include lines are left out before lines are
compared; spaces do not matter. Prints both places of each run, longest first;
fails when there are more runs than ALLOWED. Migrations are not compared: they
are the record of what was done to a database, and are never changed.

    tests/alike.py [root]"""
import itertools
import os
import re
import sys

RUN = 12
# Runs that are still there. It is lowered, never raised.
ALLOWED = 0
TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|'
    r"^[ \t]*#[ \t]*include[^\n]*|[A-Za-z_]\w*|\.?\d[\w.]*|\n|[^\s\w]",
    re.S | re.M)
KEYWORDS = set(
    "auto bool break case char const continue default do double else enum "
    "extern false float for goto if inline int long NULL register restrict "
    "return short signed sizeof static struct switch true typedef union "
    "unsigned void volatile while".split())


def shape_of(token):
    """What stands for a token where shapes are compared."""
    if token[0] in "\"'":
        return '""'
    if token[0].isdigit() or (token[0] == "." and len(token) > 1):
        return "0"
    if (token[0].isalpha() or token[0] == "_") and token not in KEYWORDS:
        return "x"
    return token


def shapes(text):
    """(line number, shape) of each line that holds code."""
    found = []
    line, number = [], 1
    for match in TOKEN.finditer(text + "\n"):
        token = match[0]
        left_out = token.startswith(("/*", "//")) or "include" in token and \
            token.lstrip().startswith("#")
        if not left_out and token != "\n":
            line.append(shape_of(token))
        # A comment may end a line and begin another one.
        if "\n" in token:
            if line:
                found.append((number, " ".join(line)))
            line = []
            number += token.count("\n")
    return found


def read(root):
    """[(service, path, its shapes)] of all C files of the services."""
    files = []
    for folder, _, names in os.walk(os.path.join(root, "services")):
        for name in names:
            if name.endswith((".c", ".h")):
                path = os.path.relpath(os.path.join(folder, name), root)
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    files.append((path.split(os.sep)[1], path,
                                  shapes(file.read())))
    return sorted(files)


def windows_alike(files):
    """Pairs ((file, line), (file, line)) of two services at which RUN lines
    have the same shapes."""
    places = {}
    for index, (_, _, found) in enumerate(files):
        for first in range(len(found) - RUN + 1):
            window = tuple(shape for _, shape in found[first:first + RUN])
            places.setdefault(window, []).append((index, first))
    return {pair for same in places.values()
            for pair in itertools.combinations(same, 2)
            if files[pair[0][0]][0] != files[pair[1][0]][0]}


def runs(files):
    """(lines, place, other place) of each run, as long as it goes on."""
    pairs = windows_alike(files)
    found = []
    for (a, i), (b, j) in pairs:
        if ((a, i - 1), (b, j - 1)) in pairs:
            continue
        more = 0
        while ((a, i + more + 1), (b, j + more + 1)) in pairs:
            more += 1
        count = RUN + more
        found.append((count, place(files[a], i, count),
                      place(files[b], j, count)))
    return sorted(found, key=lambda run: (-run[0], run[1:]))


def place(file, first, count):
    """path:first line-last line"""
    _, path, found = file
    return f"{path}:{found[first][0]}-{found[first + count - 1][0]}"


def main():
    """Prints each run; the exit code tells whether there are too many."""
    found = runs(read(sys.argv[1] if len(sys.argv) > 1 else "."))
    for count, one, other in found:
        print(f"{count:3} lines: {one} ~ {other}")
    print(f"alike: {len(found)} runs of {RUN} or more lines between two "
          f"services, {ALLOWED} allowed")
    return 1 if len(found) > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
