#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the migrations of the platform and of each service, one fault a line:
names and numbers; dbmate's two blocks; row-level security enabled and forced,
with a policy, for each table that has a tenant_id; a name for each constraint;
a down block that drops the tables and functions of its up block; no name in
another service's schema. The store tests show that the SQL runs.

    tests/migrations.py [root]"""
import glob
import os
import re
import sys

UP, DOWN = "-- migrate:up", "-- migrate:down"
LEFT_OUT = re.compile(r"--[^\n]*|'(?:''|[^'])*'")
CONSTRAINT = re.compile(
    r"(CONSTRAINT\s+\w+\s+|WITH\s+|CREATE\s+)?"
    r"\b(PRIMARY\s+KEY|UNIQUE|CHECK|FOREIGN\s+KEY\s*\([^)]*\)\s*REFERENCES|"
    r"REFERENCES|EXCLUDE)\b")
MADE = re.compile(r"\bCREATE\s+(TABLE|FUNCTION)\s+([\w.{}]+)")
# Tables that belong to no tenant. The one row of audit_sealer says how far the
# sealer has come.
OF_NO_TENANT = {"{{schema}}.audit_sealer"}
PART_OF_TABLE = r"CREATE\s+TABLE\s+{}\s*\((.*?)\n\);"


def plain(text):
    """SQL without comments and texts; lines stay where they are."""
    return LEFT_OUT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def blocks(text):
    """(up, down), or None where the file has another form."""
    lines = text.split("\n")
    marks = [n for n, line in enumerate(lines) if line.startswith("-- migrate:")]
    if len(marks) != 2 or marks[0] != 0 or lines[marks[1]] != DOWN or \
            lines[0] not in (UP, UP + " transaction:false"):
        return None
    return "\n".join(lines[1:marks[1]]), "\n".join(lines[marks[1] + 1:])


def file_faults(text, schema, schemas):
    """The faults of one migration that can be seen in it alone."""
    parts = blocks(text)
    if parts is None:
        yield 1, f'a migration is a block "{UP}" and a block "{DOWN}"'
        return
    up, down = plain(parts[0]), plain(parts[1])
    if not up.strip() or not down.strip():
        yield 1, "a block is empty"
    for kind, name in MADE.findall(up):
        if not re.search(rf"DROP\s+{kind}\s[^;]*{re.escape(name)}\b", down):
            yield 1, f"the down block does not drop {name}"
    text = plain(text)
    for found in CONSTRAINT.finditer(text):
        before = (found[1] or "").split(None, 1)
        if not before or before[0] == "CREATE" and found[2] != "UNIQUE":
            yield line_of(text, found.start(2)), \
                f"a {found[2].split('(')[0].strip()} without a name"
    for other in schemas - {schema}:
        for found in re.finditer(rf"\b{other}(?=\.\w|_app\b|_relay\b)", text):
            yield line_of(text, found.start()), f"names the schema {other}"


def line_of(text, offset):
    """The number of the line at an offset."""
    return text.count("\n", 0, offset) + 1


def tenant_faults(text):
    """The faults of the tables that one service's migrations make."""
    text = plain(text)
    for name in re.findall(r"\bCREATE\s+TABLE\s+([\w.{}]+)", text):
        escaped = re.escape(name)
        body = re.search(PART_OF_TABLE.format(escaped), text, re.S)
        if body is None:
            yield f'the table {name} does not end in a line ");"'
        elif name not in OF_NO_TENANT and \
                re.search(r"^\s*tenant_id\s", body[1], re.M):
            for what in (rf"ALTER TABLE {escaped} ENABLE ROW LEVEL SECURITY",
                         rf"ALTER TABLE {escaped} FORCE ROW LEVEL SECURITY",
                         rf"CREATE POLICY \w+ ON {escaped}"):
                if not re.search(what + r"\b", text):
                    yield f"the table {name} has a tenant_id and no " + \
                        what.replace(escaped, name).replace(r"\w+", "...")


def faults(root):
    """Every fault, as "path:line: what"."""
    folders = sorted(glob.glob(os.path.join(root, "services/*/migrations")))
    schemas = {folder.split(os.sep)[-2] for folder in folders}
    platform = sorted(glob.glob(os.path.join(root, "common/schema/*.sql")))
    for folder in [os.path.join(root, "common/schema"), *folders]:
        schema = folder.split(os.sep)[-2]
        own = sorted(glob.glob(folder + "/*.sql"))
        numbers = [] if schema not in schemas else \
            [os.path.basename(path)[:4] for path in platform]
        together = ""
        for path in own:
            name, shown = os.path.basename(path), os.path.relpath(path, root)
            if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name):
                yield f"{shown}:1: a migration's name is NNNN_what.sql"
            if name[:4] in numbers:
                yield f"{shown}:1: another migration has the number {name[:4]}"
            numbers.append(name[:4])
            with open(path, encoding="utf-8") as file:
                text = file.read()
            together += text
            for number, what in file_faults(text, schema, schemas):
                yield f"{shown}:{number}: {what}"
        for what in tenant_faults(together):
            yield f"{os.path.relpath(folder, root)}: {what}"


def main():
    """Prints each fault; the exit code tells whether there was one."""
    found = list(faults(sys.argv[1] if len(sys.argv) > 1 else "."))
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
