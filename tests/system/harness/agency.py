# SPDX-License-Identifier: Apache-2.0
"""A tenant of its own for a test, so that tests do not disturb each other."""
from harness.client import Client

ALL_WEEK = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
            "sunday"]
POSTAL_CODES = ["42010", "42001"]
DISCIPLINES = ["rn", "pt"]
ROLES = ["coordinator", "integrator"]


class Agency:
    """An agency made through the platform's key. `administrator`, and one
    attribute per role made (`coordinator`, `integrator`, ...), are Clients."""

    def __init__(self, url, platform, name="Test agency",
                 time_zone="America/Chicago", postal_codes=None,
                 disciplines=None, roles=None, auto_book_soc=None):
        self.url = url
        self.time_zone = time_zone
        self.postal_codes = postal_codes or POSTAL_CODES
        body = {"name": name, "time_zone": time_zone}
        if auto_book_soc is not None:
            body["auto_book_soc"] = auto_book_soc
        made = platform.post("/v1/agencies", body).ok(201)
        self.id = made["id"]
        self.administrator = Client(url, made["administrator_key"])
        self.branch_id = self.branch("Test branch")["id"]
        for role in ROLES if roles is None else roles:
            setattr(self, role, self.client(role))
        self.clinicians = [self.clinician(discipline) for discipline in
                           (DISCIPLINES if disciplines is None
                            else disciplines)]

    def branch(self, name, **fields):
        """A further branch."""
        body = {"name": name, "time_zone": self.time_zone,
                "postal_codes": self.postal_codes, **fields}
        return self.administrator.post("/v1/branches", body).ok(201)

    def key(self, role, **fields):
        """A key of that role in the agency's branch: the ApiKey with its key."""
        body = {"name": f"Test {role}", "role": role,
                "branch_id": self.branch_id, "branch_ids": [self.branch_id],
                **fields}
        return self.administrator.post("/v1/api-keys", body).ok(201)

    def client(self, role, **fields):
        """A client with a new key of that role."""
        return Client(self.url, self.key(role, **fields)["key"])

    def clinician(self, discipline="rn", **fields):
        """A clinician who works every day from 06:00 to 22:00 in all the
        agency's ZIP codes, unless fields say otherwise."""
        body = {
            "name": f"Test Clinician {discipline}", "discipline": discipline,
            "languages": ["en"], "branch_id": self.branch_id,
            "coverage": {"postal_codes": self.postal_codes},
            "licence": {"number": "T-1", "state": "KY",
                        "expires_on": "2035-12-31"},
            "hours": [{"weekday": day, "from": "06:00", "to": "22:00"}
                      for day in ALL_WEEK],
            **fields,
        }
        return self.administrator.post("/v1/clinicians", body).ok(201)
