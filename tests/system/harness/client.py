# SPDX-License-Identifier: Apache-2.0
"""A plain HTTP client with one credential. A connection per request, so that a
gateway that was killed in between does not show."""
import http.client
import json
import os
import ssl
import urllib.parse
import uuid

HL7 = "x-application/hl7-v2+er7"
NEW = object()  # "make a key for me", where None means "send none"


class Reply:
    """An answer: status, headers (lower-case names), json (None when the body
    is none), body (bytes). Unpacks as (status, headers, json)."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None

    def __iter__(self):
        return iter((self.status, self.headers, self.json))

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"

    @property
    def text(self):
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def code(self):
        """The stable word of a problem."""
        return (self.json or {}).get("code")

    @property
    def etag(self):
        """What If-Match takes."""
        return self.headers.get("etag")

    @property
    def location(self):
        """The path that Location names, whatever URL the gateway is known by."""
        return urllib.parse.urlsplit(self.headers["location"]).path

    def pointers(self):
        """The JSON pointers of the fields at fault."""
        return [error["pointer"] for error in (self.json or {})["errors"]]

    def ok(self, *statuses):
        """The JSON of a success (any 2xx, or one of those given); else the
        test fails and shows the answer."""
        good = self.status in statuses if statuses else 200 <= self.status < 300
        assert good, f"answered {self!r}"
        return self.json


class Client:
    """Speaks to one gateway under one key (None: without a credential)."""

    def __init__(self, url, key, timeout=15):
        self.url = url
        place = urllib.parse.urlsplit(url)
        self.tls = ssl.create_default_context(
            cafile=os.environ.get("CAIRN_CA")) \
            if place.scheme == "https" else None
        self.host = place.hostname
        self.port = place.port
        self.key = key
        self.timeout = timeout

    def connect(self):
        """A connection to the gateway, or to the edge before it."""
        if self.tls is not None:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port,
                                          timeout=self.timeout)

    def raw(self, method, path, content=None, headers=None):
        """One request as it is given, with the credential added."""
        sent = {} if self.key is None else {"Authorization":
                                            "Bearer " + self.key}
        sent.update(headers or {})
        connection = self.connect()
        try:
            connection.request(method, path, content, sent)
            reply = connection.getresponse()
            return Reply(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def call(self, method, path, body=None, key=None, if_match=None,
             media_type="application/json"):
        """One JSON request."""
        headers = {}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = media_type
        if key is NEW:
            key = str(uuid.uuid4())
        if key is not None:
            headers["Idempotency-Key"] = key
        if if_match is not None:
            headers["If-Match"] = if_match
        return self.raw(method, path, content, headers)

    def get(self, path, **query):
        """GET; a list as a value becomes a,b,c."""
        words = {name: ",".join(value) if isinstance(value, list) else value
                 for name, value in query.items()}
        if words:
            path += "?" + urllib.parse.urlencode(words, safe=",")
        return self.call("GET", path)

    def post(self, path, body=None, key=NEW, if_match=None):
        """POST under a new idempotency key, or the one given."""
        return self.call("POST", path, {} if body is None else body, key,
                         if_match)

    def patch(self, path, body, key=NEW, if_match=None):
        """JSON merge patch."""
        return self.call("PATCH", path, body, key, if_match,
                         "application/merge-patch+json")

    def put(self, path, body, key=NEW, if_match=None):
        """PUT."""
        return self.call("PUT", path, body, key, if_match)

    def hl7(self, content, media_type=HL7):
        """POSTs an HL7 v2 message, byte for byte."""
        return self.raw("POST", "/v1/hl7v2", content,
                        {"Content-Type": media_type})

    def pages(self, path, **query):
        """All rows of a list, page by page."""
        rows = []
        while True:
            page = self.get(path, **query).ok(200)
            rows.extend(page["data"])
            if not page.get("has_more"):
                return rows
            query["cursor"] = page["next_cursor"]
