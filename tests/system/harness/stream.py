# SPDX-License-Identifier: Apache-2.0
"""A reader of GET /v1/stream over a raw socket, as strict as a browser's
EventSource: an event counts only after its empty line."""
import dataclasses
import json
import select
import socket
import struct
import time
import urllib.parse

HEAD_MAX = 65536
READ_SIZE = 65536
STREAM = "/v1/stream"


@dataclasses.dataclass
class Event:
    """One event; data is its JSON."""
    id: str
    type: str
    data: dict
    at: float  # monotonic, when it was read


class Chunks:
    """The body of a chunked answer, taken apart as it comes. `ended`: the last
    chunk has come."""

    def __init__(self):
        self.raw = b""
        self.ended = False

    def feed(self, raw):
        """The bytes of the body in what came."""
        self.raw += raw
        body = b""
        while not self.ended:
            size, mark, rest = self.raw.partition(b"\r\n")
            if not mark:
                break
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            assert rest[length:length + 2] == b"\r\n"
            body += rest[:length]
            self.raw = rest[length + 2:]
            self.ended = length == 0
        return body


class Lines:
    """From bytes to events, by the rules of the HTML standard."""

    def __init__(self, last_id=None):
        self.rest = b""
        self.last_id = last_id
        self.comments = 0
        self.retry = None
        self._clear()

    def _clear(self):
        self.id_given = None
        self.type = ""
        self.data = []

    def _line(self, line):
        if line.startswith(":"):
            self.comments += 1
            return
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "id":
            self.id_given = value
        elif name == "event":
            self.type = value
        elif name == "data":
            self.data.append(value)
        elif name == "retry":
            self.retry = int(value)
        else:
            raise AssertionError(f"an unknown field {name}")

    def feed(self, body):
        """The events that end in what came."""
        events = []
        *lines, self.rest = (self.rest + body).split(b"\n")
        for line in lines:
            if line:
                self._line(line.decode())
                continue
            if self.id_given is not None:
                self.last_id = self.id_given
            if self.data:
                events.append(Event(self.last_id, self.type,
                                    json.loads("\n".join(self.data)),
                                    time.monotonic()))
            self._clear()
        return events


class Stream:
    """One connection. status and headers are known at once."""

    def __init__(self, url, key, last_id=None, timeout=15, receive_buffer=None,
                 headers=None, **query):
        place = urllib.parse.urlsplit(url)
        self.socket = socket.socket(
            socket.AF_INET6 if ":" in place.hostname else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                   receive_buffer)
        self.socket.settimeout(timeout)
        self.chunks = Chunks()
        self.lines = Lines(last_id)
        self.closed = False
        try:
            self.socket.connect((place.hostname, place.port))
            self._ask(place, key, last_id, headers or {}, query)
            self._head()
        except BaseException:
            self.socket.close()
            raise

    def _ask(self, place, key, last_id, headers, query):
        path = STREAM
        if query:
            path += "?" + urllib.parse.urlencode(query, safe=",")
        lines = [f"GET {path} HTTP/1.1", f"Host: {place.netloc}",
                 "Accept: text/event-stream"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if last_id:
            lines.append(f"Last-Event-ID: {last_id}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _head(self):
        raw = b""
        while b"\r\n\r\n" not in raw:
            got = self.socket.recv(READ_SIZE)
            if not got:
                raise ConnectionError("no answer")
            raw += got
            assert b"\r\n\r\n" in raw or len(raw) < HEAD_MAX
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (field.partition(":") for field in fields)}
        self.pending = body

    @property
    def last_id(self):
        """What a browser would send as Last-Event-ID."""
        return self.lines.last_id

    @property
    def ended(self):
        """It ended with its last chunk, not with the connection alone."""
        return self.chunks.ended

    def problem(self):
        """The JSON of an answer that is no stream."""
        length = int(self.headers["content-length"])
        while len(self.pending) < length:
            self.pending += self.socket.recv(READ_SIZE)
        return json.loads(self.pending)

    def _take(self):
        """What came, as events."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self.pending = self.chunks.feed(self.pending)
        events = self.lines.feed(self.pending)
        self.pending = b""
        return events

    def read(self, seconds):
        """The events that come within a time, or until it ends."""
        deadline = time.monotonic() + seconds
        events = self._take()
        while not self.closed and not self.ended:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                break
            try:
                self.pending = self.socket.recv(READ_SIZE)
            except ConnectionError:
                self.pending = b""
            self.closed = not self.pending
            events += self._take()
        return events

    def until(self, enough, seconds=10, what="events"):
        """Reads until enough(all events so far); returns them."""
        deadline = time.monotonic() + seconds
        events = self._take()
        while not enough(events):
            assert not self.closed and not self.ended, \
                f"{what}: the stream ended after {events}"
            assert time.monotonic() < deadline, \
                f"{what}: not within {seconds} s, only {events}"
            events += self.read(0.02)
        return events

    def rest(self, seconds=5):
        """Reads to its end. Returns the events and when it came."""
        events = self.read(seconds)
        assert self.closed or self.ended, f"no end within {seconds} s"
        return events, time.monotonic()

    def close(self):
        """Closes like a client that leaves."""
        self.socket.close()

    def reset(self):
        """Ends like a connection that breaks: RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
