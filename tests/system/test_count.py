# SPDX-License-Identifier: Apache-2.0
"""The count of lines for each operation: which lines count, and when there are
too many."""
import pytest

from harness.lint import check, tree

count = check("count")

TWO_RPCS = """service Visits {
  rpc GetVisit(GetVisitRequest) returns (Visit) {
    option (http) = {get: "/v1/visits/{id}" scope: "visits:read"};
  }
  // option (http) = {get: "/v1/nothing"};
  rpc ListVisits(ListVisitsRequest) returns (VisitPage) {
    option (http) = {
      get: "/v1/visits"
    };
  }
  rpc Fetch(FetchRequest) returns (FetchReply);
}
"""


@pytest.fixture(name="run")
def _run(tmp_path, monkeypatch, capsys):
    def run(files):
        monkeypatch.setattr("sys.argv", ["count.py", tree(tmp_path, files)])
        return count.main(), capsys.readouterr().out
    return run


def files(lines):
    """Two operations and that many lines of C, H and SQL."""
    return {"proto/cairn/scheduling.proto": TWO_RPCS,
            "services/scheduling/a.c": "\n" * (lines - 2),
            "services/scheduling/a.h": "\n",
            "services/scheduling/migrations/0002_a.sql": "\n",
            "services/scheduling/README.md": "\n" * 1000,
            "services/gateway/a.c": "\n" * 100000,
            "common/base/err.c": "\n" * 7,
            "proto/plugin/emit.c": "\n" * 4}


def test_what_is_within_the_limit_passes_and_is_told(run):
    code, told = run(files(2 * count.LIMIT))
    assert code == 0
    assert f"{2 * count.LIMIT} lines    2 operations" in told
    assert f"{count.LIMIT}.0 each" in told
    assert "common and proto/plugin: 11 lines" in told


def test_one_line_beyond_the_limit_fails(run):
    assert run(files(2 * count.LIMIT + 1))[0] == 1


def test_an_operation_of_every_service_counts_too(run):
    more = dict(files(2 * count.LIMIT + 1),
                **{"proto/cairn/operator.proto": TWO_RPCS})
    assert run(more)[0] == 0


def test_a_tree_without_operations_fails(run):
    none = dict(files(10), **{"proto/cairn/scheduling.proto": ""})
    assert run(none)[0] == 1
