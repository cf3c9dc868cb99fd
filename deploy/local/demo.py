#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Waits for a starting Cairn and loads its demo, through the HTTP API alone.

    demo.py wait <home> <supervisor's pid> <url>...
    demo.py load <home> <url>...

There is a URL for each gateway; the demo is loaded through the first. CAIRN_URL
and CAIRN_CA in the environment are how people reach it, where that is another
way: the address that <home>/env tells, and the authority of its certificate.

Loading may be repeated: every write has its own fixed Idempotency-Key, and
nothing is written where <home>/env names a demo whose keys still work."""
import glob
import http.client
import json
import os
import sys
import time
import urllib.parse

START_SECONDS = 60  # from the first process to the gateway's first answer
RETRY_SECONDS = 30  # one call, while a service starts or comes back
RETRY_STATUS = (502, 503, 504)

WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]
WEEKEND = ["saturday", "sunday"]
# The sample referral lives in 42010, which a Kentucky branch near it serves.
POSTAL_CODES = ["42001", "42003", "42010", "42025", "42053", "42066", "42071"]
BRANCH = {"name": "Demo branch", "time_zone": "America/Chicago",
          "postal_codes": POSTAL_CODES, "phone": "+12705550100"}
OTHER_BRANCH = {"name": "Other branch", "time_zone": "America/Denver",
                "postal_codes": ["80202", "80203"]}
LISTS = ["referrals", "visits", "documents", "messages"]


def clinician(name, discipline, languages, days, begin, end, gender,
              codes=None):
    """A clinician of the demo, as POST /v1/clinicians takes it."""
    return {
        "name": name, "discipline": discipline, "languages": languages,
        "gender": gender, "coverage": {"postal_codes": codes or POSTAL_CODES},
        "licence": {"number": "KY-" + name.rpartition(" ")[2], "state": "KY",
                    "expires_on": "2035-12-31"},
        "hours": [{"weekday": day, "from": begin, "to": end} for day in days],
    }


CLINICIANS = [
    clinician("Example Nurse 101", "rn", ["en"], WEEKDAYS, "08:00", "17:00",
              "female"),
    clinician("Example Nurse 102", "rn", ["en", "es"], WEEKDAYS + WEEKEND,
              "07:00", "19:00", "male"),
    clinician("Example Nurse 103", "rn", ["en"], WEEKEND, "08:00", "16:00",
              "female"),
    clinician("Example Nurse 104", "rn", ["en", "fr"], WEEKDAYS, "08:00",
              "16:30", "female", ["42001", "42003"]),
    clinician("Example Therapist 201", "pt", ["en"], WEEKDAYS + WEEKEND,
              "08:00", "18:00", "male"),
    clinician("Example Therapist 202", "pt", ["en", "es"], WEEKDAYS, "09:00",
              "17:00", "female"),
    clinician("Example Therapist 301", "ot", ["en"], WEEKDAYS, "08:00",
              "16:00", "female"),
    clinician("Example Therapist 401", "slp", ["en"], WEEKDAYS, "08:00",
              "16:00", "male"),
    clinician("Example Social Worker 501", "msw", ["en"], WEEKDAYS, "08:30",
              "17:00", "female"),
    clinician("Example Aide 601", "aide", ["en"], WEEKDAYS, "07:00", "15:00",
              "male"),
    clinician("Example Aide 602", "aide", ["en", "es"], WEEKDAYS + WEEKEND,
              "12:00", "20:00", "female"),
]


class Failed(Exception):
    """What the person at the terminal is told, in one line."""


def call(url, method, path, key, body=None, idempotency_key=None):
    """One request. Returns (status, body)."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port,
                                            timeout=10)
    headers = {} if key is None else {"Authorization": "Bearer " + key}
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    try:
        connection.request(method, path, content, headers)
        reply = connection.getresponse()
        text = reply.read()
    finally:
        connection.close()
    try:
        return reply.status, json.loads(text)
    except ValueError:
        return reply.status, {}


def call_until_up(url, method, path, key, body=None, idempotency_key=None):
    """As call, again while the services behind it are not there yet."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            status, reply = call(url, method, path, key, body, idempotency_key)
            problem = f"{status} {reply.get('code', '')}"
        except OSError as error:
            status, reply, problem = 503, {}, type(error).__name__
        if status not in RETRY_STATUS:
            return status, reply
        if time.monotonic() > deadline:
            raise Failed(f"{method} {path}: {problem}")
        time.sleep(0.05)


def create(url, path, key, body, idempotency_key):
    """POSTs what has to come into being."""
    status, reply = call_until_up(url, "POST", path, key, body,
                                  "demo-" + idempotency_key)
    if status not in (200, 201):
        raise Failed(f"POST {path}: {status} {reply.get('code', '')} "
                     f"{reply.get('detail', '')} {reply.get('errors', '')}")
    return reply


def read_line(path):
    """The one line of a file."""
    with open(path, encoding="utf-8") as file:
        return file.readline().strip()


def read_env(home):
    """NAME=value lines of <home>/env; empty when there is none."""
    try:
        with open(os.path.join(home, "env"), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("=", 1)
                        for line in file if "=" in line)
    except FileNotFoundError:
        return {}


def write_env(home, values):
    """Replaces <home>/env as a whole."""
    path = os.path.join(home, "env")
    draft = os.open(path + ".part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                    0o600)
    with os.fdopen(draft, "w", encoding="utf-8") as file:
        for name, value in values.items():
            file.write(f"{name}={value}\n")
    os.rename(path + ".part", path)


def agency(url, platform_key, name, branch, word):
    """Makes an agency with a branch. Returns its keys and the branch."""
    made = create(url, "/v1/agencies", platform_key,
                  {"name": name, "time_zone": branch["time_zone"]},
                  word + "-agency")
    administrator = made["administrator_key"]
    office = create(url, "/v1/branches", administrator, branch,
                    word + "-branch")
    key = create(url, "/v1/api-keys", administrator,
                 {"name": "Demo coordinator", "role": "coordinator",
                  "branch_id": office["id"], "branch_ids": [office["id"]]},
                 word + "-coordinator")
    return administrator, office["id"], key["key"]


def works(url, key):
    """Is it a key of a branch, and does it still work?"""
    if not key:
        return False
    status, reply = call_until_up(url, "GET", "/v1/me", key)
    return status == 200 and bool(reply.get("branch_id"))


def load(home, urls):
    """Makes both agencies, or finds that they are there."""
    url = urls[0]
    env = read_env(home)
    key = env.get("CAIRN_API_KEY")
    other = env.get("CAIRN_API_KEY_OTHER_AGENCY")
    administrator = env.get("CAIRN_ADMINISTRATOR_KEY")
    if not works(url, key) or not works(url, other):
        platform_key = read_line(os.path.join(home, "secrets/platform.key"))
        administrator, branch_id, key = agency(
            url, platform_key, "Demo Home Health", BRANCH, "one")
        for body in CLINICIANS:
            create(url, "/v1/clinicians", administrator,
                   dict(body, branch_id=branch_id),
                   body["name"].replace(" ", "-").lower())
        _, _, other = agency(url, platform_key, "Other Home Health",
                             OTHER_BRANCH, "two")
    more = {f"CAIRN_URL_{n}": other_url
            for n, other_url in enumerate(urls[1:], 2)}
    seen = {name: os.environ.get(name) for name in ("CAIRN_URL", "CAIRN_CA")}
    values = {"CAIRN_URL": seen["CAIRN_URL"] or url,
              "CAIRN_CA": seen["CAIRN_CA"], **more, "CAIRN_API_KEY": key,
              "CAIRN_ADMINISTRATOR_KEY": administrator,
              "CAIRN_API_KEY_OTHER_AGENCY": other}
    write_env(home, {name: value for name, value in values.items() if value})
    for name in LISTS:
        status, _ = call_until_up(url, "GET", f"/v1/{name}?limit=1", key)
        if status != 200:
            raise Failed(f"GET /v1/{name}: {status}")


def wait(home, supervisor, urls):
    """Until every process is ready and every gateway knows the platform's
    key."""
    key = read_line(os.path.join(home, "secrets/platform.key"))
    deadline = time.monotonic() + START_SECONDS
    left = [("http://" + read_line(path), "/readyz", None)
            for path in sorted(glob.glob(os.path.join(home, "run/*.admin")))]
    left += [(url, "/v1/me", key) for url in urls]
    seen = "no answer"
    while left:
        url, path, credential = left[0]
        if time.monotonic() > deadline:
            raise Failed(f"{url}{path} is not ready after {START_SECONDS} s:"
                         f" {seen}")
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            raise Failed("the supervisor ended before all was ready"
                         ) from None
        try:
            status, _ = call(url, "GET", path, credential)
            if status == 200:
                left.pop(0)
                continue
            seen = f"it answers {status}"
        except (OSError, http.client.HTTPException) as error:
            seen = type(error).__name__
        time.sleep(0.02)


def main():
    """Reads the arguments."""
    words = sys.argv[1:]
    try:
        if len(words) >= 4 and words[0] == "wait":
            wait(words[1], int(words[2]), words[3:])
        elif len(words) >= 3 and words[0] == "load":
            load(words[1], words[2:])
        else:
            sys.exit("usage: demo.py wait <home> <pid> <url>...\n"
                     "       demo.py load <home> <url>...")
    except Failed as failure:
        sys.exit(f"make run: {failure}")


if __name__ == "__main__":
    main()
