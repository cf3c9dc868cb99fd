# SPDX-License-Identifier: Apache-2.0
"""Keys and who holds them, through the gateway."""
import datetime

from harness.client import Client


def test_a_rotated_key_and_its_successor_both_hold_for_a_day(agency):
    old = agency.key("coordinator")
    made = agency.administrator.post(f"/v1/api-keys/{old['id']}/rotate")
    new = made.ok(201)
    assert new["id"] != old["id"] and new["key"] != old["key"]
    assert (new["role"], new["branch_id"]) == ("coordinator", agency.branch_id)
    assert "expires_at" not in new
    Client(agency.url, old["key"]).get("/v1/referrals").ok(200)
    Client(agency.url, new["key"]).get("/v1/referrals").ok(200)
    kept = agency.administrator.get(f"/v1/api-keys/{old['id']}").ok(200)
    ends = datetime.datetime.fromisoformat(kept["expires_at"][:19])
    made = datetime.datetime.fromisoformat(new["created_at"][:19])
    assert abs((ends - made).total_seconds() - 86400) <= 1
    assert "key" not in kept


def test_a_repeated_rotation_shows_the_same_key(agency):
    old = agency.key("integrator")
    path = f"/v1/api-keys/{old['id']}/rotate"
    first = agency.administrator.post(path, key="rotate-once").ok(201)
    again = agency.administrator.post(path, key="rotate-once").ok(201)
    assert first == again


def test_a_revoked_key_cannot_be_rotated(agency):
    old = agency.key("integrator")
    agency.administrator.post(f"/v1/api-keys/{old['id']}/revoke").ok(200)
    reply = agency.administrator.post(f"/v1/api-keys/{old['id']}/rotate")
    assert (reply.status, reply.code) == (409, "illegal_state")
