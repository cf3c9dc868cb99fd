# SPDX-License-Identifier: Apache-2.0
"""The check finds code that two services both have, also under other names."""
import pytest

from harness.lint import check, tree

alike = check("alike")

# A line of code for each number; the shapes differ by their operators.
SHAPES = ["int {0} = 1;", "if ({0} > 2) {{", "{0} += 3;", "}}",
          "return {0} != 4;"]


def code(lines, name="count", head="/* SPDX */\n#include \"x.h\"\n"):
    """That many lines of code."""
    return head + "".join(SHAPES[n % len(SHAPES)].format(name) + "\n"
                          for n in range(lines))


TABLE = "static const struct row ROWS[] = {{\n{}}};\n"


def rows(count, word):
    """A table with that many rows."""
    return TABLE.format("".join(f'    {{ "{word}_{n}", {word}_{n}, {n} }},\n'
                                for n in range(count)))


# what it shows, a file of one service, the same place in another, runs
SAMPLES = [
    ("the same lines", code(12), code(12), 1),
    ("one line less", code(11), code(11), 0),
    ("other names", code(12), code(12, "total"), 1),
    ("other numbers", code(12), code(12).replace("1", "0x7f"), 1),
    ("other texts", code(12).replace("4", '"a"'),
     code(12).replace("4", '"b \\" c"'), 1),
    ("comments and blank lines between",
     code(12), code(12).replace("\n", " // why\n\n/* a\n * b */\n"), 1),
    ("other spaces", code(12), code(12).replace(" ", "   "), 1),
    ("includes do not count", code(11), "#include <a.h>\n" + code(11), 0),
    ("an include between", code(12),
     code(12).replace("return", "#include <a.h>\nreturn", 1), 1),
    ("another operator", code(12), code(12).replace("+=", "-="), 0),
    ("another keyword", code(12), code(12).replace("if", "while"), 0),
    ("rows of a table", rows(11, "open"), rows(11, "CLOSED"), 1),
    ("few rows of a table", rows(9, "open"), rows(9, "CLOSED"), 0),
]


def found(tmp_path, files):
    return alike.runs(alike.read(tree(tmp_path, files)))


@pytest.mark.parametrize("one, other, count",
                         [sample[1:] for sample in SAMPLES],
                         ids=[sample[0] for sample in SAMPLES])
def test_a_run_of_two_services_is_found(tmp_path, one, other, count):
    runs = found(tmp_path, {"services/access/a.c": one,
                            "services/gateway/b.h": other})
    assert len(runs) == count


def test_both_places_are_told_by_their_lines(tmp_path):
    runs = found(tmp_path, {"services/access/a.c": code(14),
                            "services/referrals/b.c": "int far;\n" + code(14)})
    assert runs[0] == (14, "services/access/a.c:3-16",
                       "services/referrals/b.c:4-17")


def test_one_service_may_repeat_itself(tmp_path):
    assert not found(tmp_path, {"services/access/a.c": code(20),
                                "services/access/b.c": code(20)})


def test_more_runs_than_allowed_fail(tmp_path, monkeypatch, capsys):
    root = tree(tmp_path, {"services/access/a.c": code(12),
                           "services/referrals/a.c": code(12)})
    monkeypatch.setattr("sys.argv", ["alike.py", root])
    monkeypatch.setattr(alike, "ALLOWED", 0)
    assert alike.main() == 1
    assert "services/access/a.c:3-14 ~ services/referrals/a.c:3-14" in \
        capsys.readouterr().out
    monkeypatch.setattr(alike, "ALLOWED", 1)
    assert alike.main() == 0
