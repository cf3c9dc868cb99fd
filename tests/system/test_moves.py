# SPDX-License-Identifier: Apache-2.0
"""The tables of moves and events are complete, and their check finds a gap."""
import importlib.util
import os
import subprocess

from harness.system import REPO

BUILD = f"build/{os.environ.get('MODE', 'release')}"
_spec = importlib.util.spec_from_file_location(
    "events", os.path.join(REPO, "tests/events.py"))
events = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(events)

WHOLE = [
    ["state", "thing", "open", "moves"],
    ["state", "thing", "closed", "ends"],
    ["move", "thing", "make", "new", "open", "thing.made"],
    ["move", "thing", "close", "open", "closed", "-"],
    ["event", "thing.made", "things:read"],
]


def without(line):
    return [other for other in WHOLE if other != WHOLE[line]]


def test_every_event_has_a_reader_and_every_state_a_way_in_and_out():
    done = subprocess.run(
        ["tests/events.py", BUILD], cwd=REPO, capture_output=True, text=True,
        check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_machine_that_is_whole_has_no_fault():
    assert not list(events.move_faults(WHOLE))


def test_a_state_that_no_move_enters_or_leaves_is_a_fault():
    assert list(events.move_faults(without(2))) == \
        ["thing open: no move enters it"]
    assert sorted(events.move_faults(without(3))) == \
        ["thing closed: no move enters it", "thing open: no move leaves it"]


def test_an_event_that_nobody_follows_is_a_fault_unless_excused():
    rows = {"things": WHOLE}
    assert list(events.event_faults(rows, {})) == \
        ["thing.made: nobody reacts, and it is not excused"]
    assert not list(events.event_faults(rows, {"thing.made": "shown"}))


def test_a_move_tells_only_what_the_contract_has():
    assert list(events.event_faults({"things": without(4)}, {})) == \
        ["thing.made: told by a move, but not in things.proto"]
