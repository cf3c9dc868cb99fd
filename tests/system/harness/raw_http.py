# SPDX-License-Identifier: Apache-2.0
"""Raw HTTP after RFC 9112: what a server must serve, and what it must refuse
because two readers of one connection could understand it differently. Each case
is followed by a marker request on the same connection, and many hide another
request (SMUGGLED) that must never be answered."""
import http.client
import io
import json
import uuid

SMUGGLED = "GET /problems HTTP/1.1\r\nHost: a\r\nRequest-Id: smuggled-request\r\n\r\n"
MARKER = ("GET /problems HTTP/1.1\r\nHost: {host}\r\nRequest-Id: marker-request\r\n"
          "Connection: close\r\n\r\n")
REFUSED = []
ENDS = "\r\n\r\n"
BODY = '{"name":"Raw","time_zone":"America/Chicago"}'
SIZE = f"{len(BODY):x}"
GET = "GET /problems HTTP/1.1\r\n"
HOST = "Host: {host}\r\n"
POST = ("POST /v1/branches HTTP/1.1\r\nHost: {host}\r\n"
        "Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: {uuid}\r\n")
LENGTH = f"Content-Length: {len(BODY)}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST = "0\r\n\r\n"


def get(fields):
    """A GET with these fields after its Host, and a hidden request behind."""
    return GET + HOST + fields + "\r\n" + SMUGGLED


def post(fields, body=""):
    """A POST under a good key."""
    return POST + fields + "\r\n" + body


def chunks(text):
    """A POST whose body is these chunks, and a hidden request behind."""
    return post(CHUNKED, text) + SMUGGLED


def one_chunk(size=SIZE, after="\r\n", end=LAST):
    """The body as one chunk."""
    return f"{size}\r\n{BODY}{after}{end}"


def table(rows, make):
    """name -> (bytes, the statuses before the marker's; REFUSED)."""
    return {name: (make(value), REFUSED) for name, value in rows.items()}


LINES = table({
    "two spaces after the method": "GET  /problems HTTP/1.1",
    "two spaces before the version": "GET /problems  HTTP/1.1",
    "a tab in the line": "GET\t/problems HTTP/1.1",
    "a tab before the version": "GET /problems\tHTTP/1.1",
    "a space before the method": " GET /problems HTTP/1.1",
    "a space after the version": "GET /problems HTTP/1.1 ",
    "a space in the target": "GET /problems /x HTTP/1.1",
    "no version": "GET /problems",
    "no target": "GET HTTP/1.1",
    "a method alone": "GET",
    "version 0.9": "GET /problems HTTP/0.9",
    "version 1.2": "GET /problems HTTP/1.2",
    "version 2.0": "GET /problems HTTP/2.0",
    "version 1.1 with a zero": "GET /problems HTTP/01.1",
    "a long version": "GET /problems HTTP/1.10",
    "a short version": "GET /problems HTTP/1.",
    "a version in lower case": "GET /problems http/1.1",
    "another protocol": "GET /problems ICAP/1.0",
    "a method in lower case": "get /problems HTTP/1.1",
    "an unknown method": "BREW /problems HTTP/1.1",
    "TRACE": "TRACE /problems HTTP/1.1",
    "CONNECT": "CONNECT {host} HTTP/1.1",
    "a control character in the method": "GE\x01T /problems HTTP/1.1",
    "a colon after the method": "GET: /problems HTTP/1.1",
    "a target without a slash": "GET problems HTTP/1.1",
    "a star for GET": "GET * HTTP/1.1",
    "a star with a query": "OPTIONS *?a HTTP/1.1",
    "a fragment": "GET /problems#x HTTP/1.1",
    "a fragment in the query": "GET /problems?a#x HTTP/1.1",
    "a NUL in the target": "GET /problems\0 HTTP/1.1",
    "a DEL in the target": "GET /problems\x7f HTTP/1.1",
    "a byte over 127 in the target": "GET /problems\xe9 HTTP/1.1",
    "a byte over 127 in the query": "GET /problems?\xe9 HTTP/1.1",
    "a control character in the query": "GET /problems?a=\x02 HTTP/1.1",
    "a URL with a user": "GET http://u@{host}/problems HTTP/1.1",
    "a URL without a host": "GET http:///problems HTTP/1.1",
    "a URL of another scheme": "GET ftp://{host}/problems HTTP/1.1",
}, lambda line: line + "\r\n" + HOST + "\r\n" + SMUGGLED)

COLONS = table({
    f"a line that begins with a colon, {where}: {form!r}":
    fields.format(form)
    for form in (": x", ":", ": ", ":\t", ":GET /problems HTTP/1.1")
    for where, fields in (("last", "{}\r\n"), ("between", "{}\r\nX-A: b\r\n"))
}, get)
COLONS |= {f"a colon before the Host: {form!r}": (
    GET + form + "\r\n" + HOST + "\r\n" + SMUGGLED, REFUSED)
           for form in (": x", ":", ":Host: a")}

NAMES = table({
    f"{sign!r} in a name": f"X{sign}A: b\r\n"
    for sign in "\"(),/;<=>?@[\\]{}\0\x01\x7f\x80\xff \t"
}, lambda fields: get(fields.replace("{", "{{").replace("}", "}}")))
NAMES |= table({
    "a name without a colon": "X-A\r\n",
    "a space before the colon": "X-A : b\r\n",
    "a tab before the colon": "X-A\t: b\r\n",
    "a space before the colon of a length": "Content-Length : 5\r\n",
    "a space before a coding's colon": "Transfer-Encoding : chunked\r\n",
    "a byte order mark before a name": "\xef\xbb\xbfX-A: b\r\n",
}, get)

VALUES = table({
    f"{sign!r} in a value": f"X-A: a{sign}b\r\n"
    for sign in "\0\x01\x08\x0b\x0c\x1b\x7f\r"
}, get)
VALUES |= table({
    "a NUL at the end of a value": "X-A: b\0\r\n",
    "a NUL before a line that is hidden": "X-A: b\0\r\nX-B: c\r\n",
}, get)

ENDINGS = {
    "a bare LF after the first line": (
        GET.replace("\r", "") + HOST + "\r\n" + SMUGGLED, REFUSED),
    "a bare LF after a field": (get("X-A: b\nX-B: c\r\n"), REFUSED),
    "a bare LF ends the head": (GET + HOST + "\n" + SMUGGLED, REFUSED),
    "bare LFs alone": ((GET + HOST).replace("\r", "") + "\n" + SMUGGLED, REFUSED),
    "LF, CR, LF ends the head": (GET + "Host: a\n\r\n" + SMUGGLED, REFUSED),
    "two CRs and an LF": (get("X-A: b\r\r\n"), REFUSED),
    "a bare CR after the first line": (
        GET.replace("\n", "") + HOST + "\r\n" + SMUGGLED, REFUSED),
    "LF before CR": (get("X-A: b\n\rX-B: c\r\n"), REFUSED),
    "a bare LF before the first line": ("\n" + get(""), REFUSED),
    "a bare CR before the first line": ("\r" + get(""), REFUSED),
    "two empty lines before the first": ("\r\n\r\n" + get(""), REFUSED),
    "a folded line": (get("X-A: b\r\n c\r\n"), REFUSED),
    "a line folded by a tab": (get("X-A: b\r\n\tc\r\n"), REFUSED),
    "a folded length": (get("Content-Length:\r\n 5\r\n"), REFUSED),
    "a folded coding": (get("Transfer-Encoding:\r\n chunked\r\n"), REFUSED),
    "a fold before the first field": (
        GET + " X-A: b\r\n" + HOST + "\r\n" + SMUGGLED, REFUSED),
}

HOSTS = {name: (GET + fields + "\r\n" + SMUGGLED, REFUSED) for name, fields in {
    "no Host": "Accept: */*\r\n",
    "an empty Host": "Host:\r\n",
    "two Hosts": HOST + HOST,
    "two Hosts that differ": HOST + "Host: other\r\n",
    "two Hosts in one field": "Host: a, b\r\n",
    "a Host with a path": "Host: a/b\r\n",
    "a Host with a user": "Host: u@a\r\n",
    "a Host with a quote": "Host: a\"b\r\n",
    "a Host with a space": "Host: a b\r\n",
    "a Host with a byte over 127": "Host: \xe9\r\n",
    "Host with a space before its colon": "Host : a\r\n",
    "a host in the target and none else": "",
}.items()}
HOSTS["a host in the target and none else"] = (
    "GET http://{host}/problems HTTP/1.1\r\n\r\n" + SMUGGLED, REFUSED)

LENGTHS = {f"Content-Length {value!r}": (
    post(f"Content-Length: {value}\r\n", BODY) + SMUGGLED, REFUSED) for value in (
        "", "-1", "+44", "x", "0x2c", "4 4", "44x", "44;", "44,", "44, 44", "4_4",
        "44.0", "1e1", "\"44\"", "18446744073709551616", "99999999999999999999",
        "\xb2")}
LENGTHS |= {
    "two lengths": (post(2 * LENGTH, BODY) + SMUGGLED, REFUSED),
    "two lengths that differ": (
        post(LENGTH + "Content-Length: 0\r\n", BODY) + SMUGGLED, REFUSED),
    "two lengths in two cases": (
        post(LENGTH + "content-length: 1\r\n", BODY) + SMUGGLED, REFUSED),
    "a length over the limit": (
        post("Content-Length: 1048577\r\n", BODY) + SMUGGLED, [413]),
}

CODINGS = {f"Transfer-Encoding {value!r}": (
    post(f"Transfer-Encoding: {value}\r\n", one_chunk()) + SMUGGLED, REFUSED)
           for value in (
               "", "x", "xchunked", "chunkedx", "chunked,", ",chunked",
               "chunked, chunked", "gzip, chunked", "chunked, identity",
               "identity", "gzip", "chunked;q=1", "\"chunked\"", "chunked x",
               "\x0bchunked", "chun\xadked")}
CODINGS |= {
    "two codings": (post(2 * CHUNKED, one_chunk()) + SMUGGLED, REFUSED),
    "two codings that differ": (
        post(CHUNKED + "Transfer-Encoding: x\r\n", one_chunk()) + SMUGGLED, REFUSED),
    "a length and a coding": (
        post("Content-Length: 5\r\n" + CHUNKED, LAST) + SMUGGLED, REFUSED),
    "a coding and a length": (
        post(CHUNKED + "Content-Length: 5\r\n", LAST) + SMUGGLED, REFUSED),
    "a coding and a length of none": (
        post(CHUNKED + "Content-Length: 0\r\n", one_chunk()) + SMUGGLED, REFUSED),
    "a coding in HTTP/1.0": (
        post(CHUNKED, one_chunk()).replace("HTTP/1.1", "HTTP/1.0") + SMUGGLED,
        REFUSED),
    "a GET with a length and a coding": (
        get("Content-Length: 5\r\n" + CHUNKED), REFUSED),
}

CHUNKS = table({
    "a bare LF after a size": f"{SIZE}\n{BODY}\r\n{LAST}",
    "a bare CR after a size": f"{SIZE}\r{BODY}\r\n{LAST}",
    "a bare LF after the data": one_chunk(after="\n"),
    "a bare CR after the data": one_chunk(after="\r"),
    "nothing after the data": one_chunk(after=""),
    "more data than its size": one_chunk(after="x\r\n"),
    "a bare LF after the last size": one_chunk(end="0\n\r\n"),
    "a bare LF at the end": one_chunk(end="0\r\n\n"),
    "a bare LF in an extension": one_chunk(size=SIZE + ";a\nb"),
    "a bare CR in an extension": one_chunk(size=SIZE + ";a\rb"),
    "a control character in an extension": one_chunk(size=SIZE + ";\x01"),
    "a space before a size": one_chunk(size=" " + SIZE),
    "a space after a size": one_chunk(size=SIZE + " "),
    "a plus before a size": one_chunk(size="+" + SIZE),
    "a minus before a size": one_chunk(size="-" + SIZE),
    "0x before a size": one_chunk(size="0x" + SIZE),
    "a size that is no number": one_chunk(size="zz"),
    "no size": one_chunk(size=""),
    "an extension without a size": one_chunk(size=";a"),
    "a size that overflows": one_chunk(size="1" + 16 * "0" + SIZE),
    "a size of many zeros": one_chunk(size=40 * "0" + SIZE),
    "a trailer that begins with a colon": one_chunk(end="0\r\n: x\r\n\r\n"),
    "a trailer without a colon": one_chunk(end="0\r\nX-A\r\n\r\n"),
    "a trailer with a space before its colon": one_chunk(end="0\r\nX-A : b\r\n\r\n"),
    "a folded trailer": one_chunk(end="0\r\nX-A: b\r\n c\r\n\r\n"),
    "a bare LF in a trailer": one_chunk(end="0\r\nX-A: b\n\r\n"),
    "a NUL in a trailer": one_chunk(end="0\r\nX-A: b\0\r\n\r\n"),
    "endless extensions": one_chunk(size=SIZE + ";" + 9000 * "a"),
    "endless trailers": one_chunk(end="0\r\n" + 2000 * "X-A: b\r\n" + "\r\n"),
}, chunks)

TWICE = {f"{name} twice": (get(2 * f"{name}: {value}\r\n"), REFUSED)
         for name, value in {
             "Authorization": "Bearer a", "Content-Type": "application/json",
             "Idempotency-Key": "a", "Request-Id": "request-1",
             "Last-Event-ID": "a"}.items()}

LIMITS = {
    "a target over the limit": (
        "GET /" + 40000 * "a" + " HTTP/1.1\r\n" + HOST + "\r\n", [414]),
    "a path over the limit": (
        "GET /" + 9000 * "a" + " HTTP/1.1\r\n" + HOST + "\r\n", [414]),
    "a head over the limit": (get("X-A: " + 40000 * "a" + "\r\n"), [431]),
    "more fields than anyone needs": (
        get("".join(f"X-{n}: b\r\n" for n in range(120))), REFUSED),
    "more parameters than anyone needs": (
        "GET /problems?" + 80 * "a&" + "a HTTP/1.1\r\n" + HOST + "\r\n" + SMUGGLED,
        REFUSED),
}

SHORT = {name: (value, REFUSED) for name, value in {
    "half a line": "GET /pro",
    "half a head": GET + HOST,
    "half a body": post("Content-Length: 4000\r\n", BODY),
    "half a chunk": post(CHUNKED, "fff\r\n" + BODY),
    "no last chunk": post(CHUNKED, f"{SIZE}\r\n{BODY}\r\n"),
}.items()}

SERVED = {
    "a plain request": (GET + HOST + "\r\n", [200]),
    "two requests at once": (2 * (GET + HOST + "\r\n"), [200, 200]),
    "an empty line before it": ("\r\n" + GET + HOST + "\r\n", [200]),
    "no space after a colon": (GET + "Host:{host}\r\n\r\n", [200]),
    "blanks around a value": (GET + "Host: \t {host} \t \r\n\r\n", [200]),
    "an empty value": (GET + HOST + "X-A:\r\n\r\n", [200]),
    "colons in a value": (GET + HOST + "X-A: b:c:d\r\n\r\n", [200]),
    "a byte over 127 in a value": (GET + HOST + "X-A: \xe9\r\n\r\n", [200]),
    "every sign of a name": (GET + HOST + "!#$%&'*+-.^_`|~09aZ: b\r\n\r\n", [200]),
    "names in other cases": (GET + "HOST: {host}\r\naCCEPT: */*\r\n\r\n", [200]),
    "a field that may come twice": (
        GET + HOST + "Accept: text/html\r\nAccept: */*\r\n\r\n", [200]),
    "a URL as the target": (
        "GET http://{host}/problems HTTP/1.1\r\n" + HOST + "\r\n", [200]),
    "a URL whose host wins": (
        "GET http://{host}/problems HTTP/1.1\r\nHost: other\r\n\r\n", [200]),
    "a star for OPTIONS": ("OPTIONS * HTTP/1.1\r\n" + HOST + "\r\n", [204]),
    "HEAD": ("HEAD /problems HTTP/1.1\r\n" + HOST + "\r\n", [200]),
    "HTTP/1.0 that stays": (
        "GET /problems HTTP/1.0\r\n" + HOST + "Connection: keep-alive\r\n\r\n", [200]),
    "a length of none": (GET + HOST + "Content-Length: 0\r\n\r\n", [200]),
    "a body by its length": (post(LENGTH, BODY), [201]),
    "a length with blanks around it": (
        post(f"Content-Length:  {len(BODY)} \r\n", BODY), [201]),
    "a length with zeros before it": (
        post(f"Content-Length: 000{len(BODY)}\r\n", BODY), [201]),
    "a body in one chunk": (post(CHUNKED, one_chunk()), [201]),
    "a body in many chunks": (
        post(CHUNKED, "".join(f"1\r\n{letter}\r\n" for letter in BODY) + LAST), [201]),
    "a size in capitals": (post(CHUNKED, one_chunk(size=SIZE.upper())), [201]),
    "a size with a zero before it": (post(CHUNKED, one_chunk(size="0" + SIZE)), [201]),
    "an extension": (post(CHUNKED, one_chunk(size=SIZE + ";a=b")), [201]),
    "an extension in quotes": (post(CHUNKED, one_chunk(size=SIZE + ";a=\"b;c\"")), [201]),
    "a trailer": (post(CHUNKED, one_chunk(end="0\r\nX-A: b\r\n\r\n")), [201]),
    "a length in a trailer": (
        post(CHUNKED, one_chunk(end="0\r\nContent-Length: 500\r\n\r\n")), [201]),
    "a coding in another case": (
        post("Transfer-Encoding: Chunked\r\n", one_chunk()), [201]),
    "a problem and then another request": (
        "GET /v1/me HTTP/1.1\r\n" + HOST + "\r\n" + GET + HOST + "\r\n", [401, 200]),
}

CASES = {**LINES, **COLONS, **NAMES, **VALUES, **ENDINGS, **HOSTS, **LENGTHS,
         **CODINGS, **CHUNKS, **TWICE, **LIMITS, **SHORT, **SERVED}


def wire(text, host, key):
    """The bytes of a case, with its marker."""
    return (text + MARKER).replace("{host}", host).replace("{key}", key).replace(
        "{uuid}", str(uuid.uuid4())).replace("{{", "{").replace("}}", "}").encode(
            "latin-1")


class Stream(io.BytesIO):
    """What came over a socket, for http.client to read."""

    def makefile(self, *_):
        """Answers follow each other in it."""
        return self

    def close(self):
        """It is read on after an answer."""


def answers(content, is_head=False):
    """[(status, headers, body)] of all answers; 100 Continue is left out."""
    stream = Stream(content)
    found = []
    while stream.tell() < len(content):
        reply = http.client.HTTPResponse(
            stream, method="HEAD" if is_head and not found else "GET")
        reply.begin()
        body = reply.read()
        found.append((reply.status,
                      {name.lower(): value for name, value in reply.getheaders()},
                      body))
    return found


def check_refusal(status, headers, body):
    """A refusal is a problem with an id, whoever gives it."""
    assert 400 <= status < 500, (status, body)
    assert headers["content-type"] == "application/problem+json", headers
    assert headers["request-id"], headers
    assert json.loads(body)["request_id"] == headers["request-id"]


def ids(found):
    """The ids of the answers."""
    return [headers.get("request-id") for _, headers, _ in found]
