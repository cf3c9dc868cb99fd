# SPDX-License-Identifier: Apache-2.0
"""What a request runs in PostgreSQL, as a pgbench script. The statements and
their order are those that PostgreSQL itself saw from the service: a request is
made with log_statement on, its units are read from the server's log, the
parameters that differ from one request to the next become unique again."""
import re

PREFIX = "@%p %u %v@ "
LINE = re.compile(r"^@(\d+) (\w*) (\S*)@ (LOG|DETAIL):  (.*)$")
EXECUTE = re.compile(r"^execute (\w+)(?:/\w+)?: (.*)$", re.S)
PARAMETER = re.compile(r"\$(\d+) = (NULL|'(?:[^']|'')*')")
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
INSTANT = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
NUMBER = re.compile(r"^-?\d+$")

# Of a client's counter :c: a number of 12 digits, in the order of time as the
# service's own ids are, never twice in one database.
STEP = 64
FIRST = 10 ** 11
SLICE = 10 ** 8
NUMBER_LINES = ["\\set c :c + 1",
                f"\\set n {FIRST} + :slice * {SLICE} + "
                f"(:c * :clients + :client_id) * {STEP}"]


class Statement:
    """One execution: the prepared name, the SQL text, the parameters as text
    (None for NULL)."""

    def __init__(self, name, sql, values):
        self.name = name
        self.sql = sql
        self.values = values


def unquote(word):
    """A parameter as the log writes it."""
    return None if word == "NULL" else word[1:-1].replace("''", "'")


def read_units(log, user):
    """The units in a piece of the server's log, in their order; each is the
    list of its Statements. The virtual transaction id holds them together."""
    units = {}
    last = None
    for line in log.split("\n"):
        match = LINE.match(line)
        if match is None:
            if last is not None and line.startswith("\t"):
                last.sql += "\n" + line[1:]
            continue
        pid, name, transaction, kind, text = match.groups()
        if name != user:
            last = None
            continue
        if kind == "DETAIL" and last is not None:
            found = {int(n): unquote(value)
                     for n, value in PARAMETER.findall(text)}
            last.values = [found[n] for n in sorted(found)]
            continue
        execute = EXECUTE.match(text)
        last = None
        if execute:
            last = Statement(execute[1], execute[2], [])
            units.setdefault((pid, transaction), []).append(last)
    return list(units.values())


def names(unit):
    """The names of a unit's statements."""
    return [statement.name for statement in unit]


def unique_text(value):
    """An expression for a text of the same length that no other request has."""
    keep = value[:max(0, len(value) - 12)].replace("'", "''")
    return f"('{keep}' || :n::text)"


class Script:
    """A pgbench script and the variables that it is called with."""

    def __init__(self):
        self.lines = list(NUMBER_LINES)
        self.variables = {}
        self.by_value = {}
        self.kinds = {}

    def constant(self, value):
        """A parameter that every request has alike: sent as a parameter too."""
        if value is None:
            return "NULL"
        if value not in self.by_value:
            self.by_value[value] = f"p{len(self.by_value)}"
            self.variables[self.by_value[value]] = value
        return ":" + self.by_value[value]

    def unique(self, value, other):
        """A parameter that differed between two requests."""
        if value is None or other is None:
            return self.constant(value)
        if UUID.match(value):
            kind = self.kinds.setdefault(value, len(self.kinds))
            return f"('01990000-0000-7000-80{kind:02x}-' || :n::text)::uuid"
        if INSTANT.match(value):
            return "now()"
        if NUMBER.match(value):
            return f"(:n::bigint / {STEP} % 16)"
        if value.startswith("{") and other.startswith("{"):
            parts = zip(value[1:-1].split(","), other[1:-1].split(","))
            return "ARRAY[" + ", ".join(
                self.element(a.strip('"'), b.strip('"'))
                for a, b in parts) + "]"
        if value.startswith("\\x"):
            return self.constant(value)  # sealed: of this size, but any bytes
        return unique_text(value)

    def element(self, value, other):
        """One of an array."""
        if value != other:
            return self.unique(value, other)
        return "'" + value.replace("'", "''") + "'"

    def add(self, unit, other, replace=None):
        """A unit; other is the same one of another request. replace(name, n,
        value) may give the expression of a parameter."""
        self.lines.append("\\startpipeline")
        for statement, twin in zip(unit, other):
            words = {}
            for i, value in enumerate(statement.values):
                given = replace(statement.name, i + 1, value) if replace \
                    else None
                if given is None:
                    given = self.constant(value) if value == twin.values[i] \
                        else self.unique(value, twin.values[i])
                words[i + 1] = given
            sql = re.sub(r"\$(\d+)", lambda m, w=words: w[int(m[1])],
                         statement.sql)
            self.lines.append(" ".join(sql.split("\n")) + ";")
        self.lines.append("\\endpipeline")

    def text(self):
        """The script."""
        return "\n".join(self.lines) + "\n"


def same_shape(one, other):
    """Do two requests run the same statements?"""
    return [names(unit) for unit in one] == [names(unit) for unit in other]


def create_script(one, other):
    """From the units of two creates."""
    script = Script()
    for unit, twin in zip(one, other):
        script.add(unit, twin)
    return script


def split_array(value):
    """The elements of an array without quoted ones."""
    return [word for word in value[1:-1].split(",") if word]


def gathered_ids(count):
    """The ids of a gathered insert."""
    return ("(SELECT array_agg(('01990000-0000-7000-8100-' || (:n::bigint + g)::text)"
            f"::uuid) FROM generate_series(1, {count}) g)")


def read_script(reads, gathered, target=None):
    """As many reads as one gathered insert of audit rows holds, and the insert.
    reads: the same read three times, the third one of another row; target: an
    expression for the id that stands where they differ."""
    unit, again, other = reads
    moving = {a for one, two, three in zip(unit, again, other)
              for a, b, c in zip(one.values, two.values, three.values)
              if a == b and a != c and a is not None and UUID.match(a)}
    count = len(split_array(gathered[-1].values[1]))
    script = Script()
    for _ in range(count):
        if target is not None:
            script.lines.append(
                f"\\set id :first + {STEP} * random(0, :last)")
        script.add(unit, unit, lambda _name, _n, value:
                   target if value in moving else None)
    script.add(gathered, gathered, lambda name, n, _value:
               gathered_ids(count) if name == gathered[-1].name and n == 2
               else None)
    return script, count
