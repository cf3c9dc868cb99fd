# SPDX-License-Identifier: Apache-2.0
"""The platform's operator has a service make its copies again, and watches."""
import re

import pytest

from harness.story import Story
from harness.wait import wait_for

ASK = "/v1/services/{}/rebuild"
WATCH = "/v1/services/{}/rebuilds"
REBUILD_SECONDS = 30
COPY = "SELECT version FROM notifications.patient WHERE tenant_id = '{}'"


def ended(platform, service):
    """All rebuilds of a service by their producers, once none is open."""
    def look():
        rows = platform.get(WATCH.format(service)).ok(200)["data"]
        return all("ended_at" in row for row in rows) and rows
    rows = wait_for(look, REBUILD_SECONDS, "the end of the rebuild")
    return {row["producer"]: row for row in rows}


def metric(system, service, name, producer):
    """The sum over all replicas."""
    pattern = rf'^{name}{{producer="{producer}"}} (\S+)$'
    return sum(float(re.search(pattern, system.admin(one).get("/metrics").text,
                               re.MULTILINE).group(1))
               for one in system.names_of(service))


def test_lost_copies_are_there_again_when_the_rebuild_has_ended(
        system, agency, platform, database):
    told = Story(agency).tell()
    of_agency = COPY.format(database.tenant(agency))
    before = database.value(of_agency)
    assert before
    loaded = metric(system, "notifications",
                    "cairn_rebuild_rows_loaded_total", "referrals")
    database.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                 of_agency.replace("SELECT version", "DELETE"))
    reply = platform.post(ASK.format("notifications"),
                          {"producer": "referrals"})
    (row,) = [one for one in reply.ok(202)["data"]
              if one["producer"] == "referrals"]
    done = ended(platform, "notifications")["referrals"]
    assert done["asked_at"] == row["asked_at"] <= done["ended_at"]
    assert done["loaded"] > 0 and done["failed"] == 0
    assert database.value(of_agency) == before
    wait_for(lambda: metric(system, "notifications", "cairn_rebuild_open",
                            "referrals") == 0, what="the metric's end")
    assert metric(system, "notifications", "cairn_rebuild_rows_loaded_total",
                  "referrals") == loaded + done["loaded"]
    # Who asked is in the log, for the operator is of no agency's audit.
    said = "rebuild of the copies of referrals asked for by platform, " \
        + reply.headers["request-id"]
    assert sum(system.log(name).count(said)
               for name in system.names_of("notifications")) == 1
    # What comes next is followed again.
    told.client.patch("/v1/patients/" + told.patient_id,
                      {"language": "es"}).ok(200)
    wait_for(lambda: int(database.value(of_agency)) > int(before),
             what="the copy of the change")


def test_without_a_producer_all_that_is_followed_is_made_again(platform):
    asked = platform.post(ASK.format("scheduling")).ok(202)["data"]
    assert {row["producer"] for row in asked} >= {"access", "referrals"}
    done = ended(platform, "scheduling")
    for row in asked:
        assert done[row["producer"]]["asked_at"] == row["asked_at"]


def test_what_the_service_does_not_follow_is_refused(platform):
    for name in ("scheduling", "nobody", ""):
        reply = platform.post(ASK.format("scheduling"), {"producer": name})
        assert reply.status == 422 and reply.pointers() == ["/producer"]
    for reply in (platform.post(ASK.format("payroll")),
                  platform.get(WATCH.format("payroll"))):
        assert (reply.status, reply.code) == (404, "no_such_path")


@pytest.mark.parametrize("role", ["administrator", "coordinator"])
def test_an_agency_neither_asks_nor_watches(agency, role):
    client = getattr(agency, role)
    assert client.post(ASK.format("scheduling")).status == 403
    assert client.get(WATCH.format("scheduling")).status == 403
