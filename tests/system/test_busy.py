# SPDX-License-Identifier: Apache-2.0
"""More requests at once than a service can serve: it refuses some, and the
client is told when to come back."""
import concurrent.futures
import re
import subprocess

from harness.wait import wait_for

# More than a gateway sends to one replica (64) and lets wait for it (256).
CLIENTS = 400


def test_beyond_its_limits_the_gateway_answers_503_with_retry_after(
        system, database, agency):
    """The table is locked, so that nothing is answered meanwhile."""
    reader = agency.coordinator
    reader.get("/v1/clinicians").ok(200)
    assert re.search(r'(?m)^cairn_bus_replicas_up{service="scheduling"} [1-9]',
                     system.admin("gateway").get("/metrics").text)
    with subprocess.Popen(["psql", "-X", "-q", *database.place],
                          stdin=subprocess.PIPE, text=True) as lock:
        lock.stdin.write("BEGIN; LOCK TABLE scheduling.clinician;\n")
        lock.stdin.flush()
        wait_for(lambda: database.value(
            "SELECT count(*) FROM pg_locks WHERE relation = "
            "'scheduling.clinician'::regclass AND mode = "
            "'AccessExclusiveLock' AND granted") == "1", what="the lock")
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
            asked = [threads.submit(reader.get, "/v1/clinicians")
                     for _ in range(CLIENTS)]
            refused = next(one.result() for one in
                           concurrent.futures.as_completed(asked, 8))
            assert refused.status == 503, refused
            # Others are served meanwhile.
            reader.get("/v1/referrals").ok(200)
            lock.communicate("COMMIT;\n", timeout=10)
            replies = [one.result() for one in asked]
    assert {reply.status for reply in replies} == {200, 503}
    for reply in replies:
        if reply.status == 503:
            assert reply.code == "busy", reply
            assert reply.headers["retry-after"] == "1"
    reader.get("/v1/clinicians").ok(200)
