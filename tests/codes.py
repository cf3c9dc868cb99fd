#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The words that Cairn answers with: problems, warnings, reasons. They are enums
of the protos, each value with its meaning, from which openapi.json has them; and
tables in the comments of rpcs, such as the mapping of HL7.

    tests/codes.py           check
    tests/codes.py --write   and write the tables of the READMEs anew

A fault is: a value without a meaning, a README whose table is another, a word
that the code uses and no enum has, a word of an enum that no code uses."""
import glob
import re
import sys

PLACE = re.compile(r"<!-- codes (\w+)\.proto (\S+), by tests/codes.py -->\n"
                   r"(.*?)<!-- end of codes -->", re.S)
TABLE = re.compile(r"<!-- table (\w+)\.proto (\w+), by tests/codes.py -->\n"
                   r"(.*?)<!-- end of table -->", re.S)
# Where an enum's words are used in C: the calls that take one as a literal.
USES = {
    ("problem", "Problem.Code"): [
        r"\bcn_refuse\(\s*\w+,\s*CN_\w+,\s*\"(\w+)\"",
        r"\bcn_fail_as\(\s*[^,()]+,\s*CN_\w+,\s*\"(\w+)\""],
    ("problem", "Problem.Fault.Code"): [
        r"\bcn_refuse_field\(\s*\w+,\s*[^,;]+,\s*\"(\w+)\"",
        r"\bcn_fail_field\(\s*[^,;]+,\s*[^,;]+,\s*\"(\w+)\"",
        r"\bcn_json_fault\(\s*\w+,\s*[^,;]+,\s*\"(\w+)\""],
    ("referrals", "Referral.Warning"): [
        r"\breferral_warn\([^;\"]*\"(\w+)\""],
}
# Words that never reach a client: the code that made them tries again.
INNER = {"inbox_position_moved", "rebuild_moved"}
LISTED = [("problem", "Problem.Code"), ("problem", "Problem.Fault.Code"),
          ("referrals", "Referral.Warning"),
          ("referrals", "DeclineReferralRequest.ReasonCode"),
          ("scheduling", "VisitReason.Code"),
          ("scheduling", "Visit.LeftOut.Reason"),
          ("notifications", "MessageReason.Code"),
          ("deadlines", "Deadline.BreachReason"),
          ("stream", "StreamReset.Reason")]


def enums(path):
    """{"Referral.Warning": {word: meaning}} of a proto."""
    found, names = {}, []
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for line in lines:
        code, _, comment = line.partition("//")
        opened = re.match(r"\s*(message|enum|service)\s+(\w+)\s*\{", code)
        if opened:
            names.append(opened[2])
            if opened[1] == "enum":
                found[".".join(names)] = {}
            code = code[opened.end():]
        elif "{" in code and code.count("{") > code.count("}"):
            names.append("")
        for value in re.findall(r"\b([A-Z][A-Z0-9_]*)\s*=\s*\d+\s*;", code):
            if names and ".".join(names) in found:
                found[".".join(names)][value.lower()] = comment.strip()
        if "}" in code and code.count("}") > code.count("{"):
            names.pop()
    return found


def table(words):
    """As Markdown."""
    return "".join(["| word | meaning |\n|---|---|\n"] +
                   [f"| `{word}` | {meaning} |\n"
                    for word, meaning in words.items()])


def rpc_table(proto, rpc):
    """The table in the comment of an rpc."""
    with open(f"proto/cairn/{proto}.proto", encoding="utf-8") as file:
        before = file.read().partition(f"  rpc {rpc}(")[0].splitlines()
    rows = []
    while before and before[-1].startswith("  //"):
        rows.insert(0, before.pop()[len("  // "):])
    return "".join(row + "\n" for row in rows if row.startswith("|"))


def readme_faults(protos, write):
    """Compares the tables in the READMEs, or writes them."""
    placed = set()
    for path in sorted(glob.glob("services/*/README.md") +
                       glob.glob("common/README.md")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        wanted = PLACE.sub(
            lambda match: match[0][:match.start(3) - match.start()] +
            table(protos[match[1]][match[2]]) + "<!-- end of codes -->", text)
        wanted = TABLE.sub(
            lambda match: match[0][:match.start(3) - match.start()] +
            rpc_table(match[1], match[2]) + "<!-- end of table -->", wanted)
        placed |= {(match[1], match[2]) for match in PLACE.finditer(text)}
        if wanted != text and write:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted)
        elif wanted != text:
            yield f"{path}: its words are others: tests/codes.py --write"
    for proto, name in LISTED:
        if (proto, name) not in placed:
            yield f"no README lists {name} of {proto}.proto"


def sources():
    """The C code and the SQL as one text."""
    texts = []
    for pattern in ("common/**/*.[ch]", "services/**/*.[ch]",
                    "services/*/migrations/*.sql"):
        for path in sorted(glob.glob(pattern, recursive=True)):
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
    return "\n".join(texts)


def use_faults(protos, code):
    """Words that are used and not listed, or listed and not used."""
    for (proto, name), patterns in USES.items():
        listed = protos[proto][name]
        used = {word for pattern in patterns
                for word in re.findall(pattern, code)}
        for word in sorted(used - set(listed) - INNER):
            yield f"{word}: used, but not a word of {name} in {proto}.proto"
    families = re.findall(r"X\(CN_\w+,\s*\"(\w+)\",", code)
    for word in set(families) - {"ok"} - set(protos["problem"]["Problem.Code"]):
        yield f"{word}: a family of problems that Problem.Code does not have"
    for proto, name in LISTED:
        for word, meaning in protos[proto][name].items():
            if not meaning:
                yield f"{name}.{word}: has no meaning"
            # A reason of a request comes from a client.
            if not re.search(rf"\b{word}\b", code) and "Reason" not in name:
                yield f"{name}.{word}: no code uses it"


def main():
    """Prints each fault; the exit code tells whether there was one."""
    protos = {path[len("proto/cairn/"):-len(".proto")]: enums(path)
              for path in glob.glob("proto/cairn/*.proto")}
    found = list(readme_faults(protos, "--write" in sys.argv[1:]))
    found += use_faults(protos, sources())
    for fault in found:
        print(f"fault: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
