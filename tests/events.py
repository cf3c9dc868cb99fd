#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every event with its producer and who reacts how, and every state machine, as
the programs themselves tell them (cairn-<service> --print-events).

    tests/events.py <folder of the programs>            print, and check
    tests/events.py <folder of the programs> --write    and write the tables of
                                                        moves into the READMEs

A fault is: a state that no move enters or leaves though it should, an event of
a move that the contract does not have, an event that is told and followed by
nobody and not excused in tests/events.allow, a README whose table is another.
"""
import collections
import os
import re
import subprocess
import sys

SERVICES = ["access", "referrals", "scheduling", "documents", "notifications"]
BEGIN, END = "<!-- moves, by make events -->", "<!-- end of moves -->"


def rows_of(folder):
    """{service: [fields of each line]}"""
    found = {}
    for service in SERVICES:
        text = subprocess.run(
            [os.path.join(folder, f"cairn-{service}"), "--print-events"],
            check=True, capture_output=True, text=True).stdout
        found[service] = [line.split("\t") for line in text.splitlines()]
    return found


def excuses(path):
    """{event: reason}"""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip().split(None, 1) for line in file
                 if line.strip() and not line.startswith("#")]
    return {words[0]: words[1] for words in lines if len(words) == 2}


def event_faults(rows, excused):
    """Prints each event; yields what is wrong."""
    told, readers = {}, collections.defaultdict(list)
    for service, lines in rows.items():
        for line in lines:
            if line[0] == "event" and not line[1].endswith(".snapshot"):
                told[line[1]] = service
            elif line[0] == "follow" and not line[2].endswith(".snapshot"):
                readers[line[2]].append(f"{service} ({line[3]})")
    for event, service in sorted(told.items(), key=lambda item: item[::-1]):
        who = ", ".join(readers[event]) or \
            f"nobody: {excused.get(event, '?')}"
        print(f"{service:14} {event:26} {who}")
        if not readers[event] and event not in excused:
            yield f"{event}: nobody reacts, and it is not excused"
        if readers[event] and event in excused:
            yield f"{event}: somebody reacts, the excuse is not needed"
    for event in sorted(set(readers) - set(told)):
        yield f"{event}: followed, but nobody tells it"
    for service, lines in rows.items():
        for line in lines:
            if line[0] == "move" and line[5] != "-" and \
                    told.get(line[5]) != service:
                yield f"{line[5]}: told by a move, but not in {service}.proto"


def move_faults(lines):
    """What is wrong with a service's machines."""
    for machine in sorted({line[1] for line in lines if line[0] == "state"}):
        moves = [line for line in lines if line[:2] == ["move", machine]]
        entered = {line[4] for line in moves}
        left = {state for line in moves for state in line[3].split(",")}
        for _, _, state, kind in (line for line in lines
                                  if line[:2] == ["state", machine]):
            if kind == "unused" and state in entered:
                yield f"{machine} {state}: a move enters it, it is not unused"
            elif kind != "unused" and state not in entered:
                yield f"{machine} {state}: no move enters it"
            elif kind == "moves" and state not in left:
                yield f"{machine} {state}: no move leaves it"
            elif kind == "ends" and state in left:
                yield f"{machine} {state}: a move leaves it, it is no end"


def table(lines):
    """The moves of a service as Markdown; empty when it has none."""
    moves = [line for line in lines if line[0] == "move"]
    if not moves:
        return ""
    rows = ["| of | command | from | to | tells |", "|---|---|---|---|---|"]
    for _, machine, command, origin, to, event in moves:
        rows.append(f"| {machine} | `{command}` | {origin.replace(',', ', ')} "
                    f"| {to} | {'' if event == '-' else f'`{event}`'} |")
    return "\n".join(rows)


def readme_faults(service, lines, write):
    """Compares the table in the service's README, or writes it."""
    path, wanted = f"services/{service}/README.md", table(lines)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    pattern = re.compile(re.escape(BEGIN) + r"\n(.*?)" + re.escape(END), re.S)
    match = pattern.search(text)
    if not wanted and not match:
        return
    if not match:
        yield f"{path}: has no place for its moves ({BEGIN} ... {END})"
    elif match[1] != wanted + "\n":
        if write:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text[:match.start(1)] + wanted + "\n" +
                           text[match.end(1):])
        else:
            yield f"{path}: its moves are others: make events WRITE=1"


def main():
    """Prints, checks; the exit code tells whether there was a fault."""
    rows = rows_of(sys.argv[1])
    faults = list(event_faults(rows, excuses("tests/events.allow")))
    for service, lines in rows.items():
        faults += move_faults(lines)
        faults += readme_faults(service, lines, "--write" in sys.argv[2:])
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
