#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The bans: calls and words that must not occur, and where each library may be
touched. Comments do not count. tests/bans.allow holds the exceptions, a line
each: ban, path, reason; an exception that excepts nothing fails too, unless
only some paths are looked at.

    tests/bans.py [root [path...]]"""
import fnmatch
import os
import re
import subprocess
import sys

C_CODE = ["*.c", "*.h"]
SAMPLES = "tests/system/test_bans.py"
SERVICES = "gateway|access|referrals|scheduling|documents|notifications|worklist"

# ban, what matches, in which files, except where, what to use instead
BANS = [
    ("string-calls", r"\b(strcpy|strcat|v?sprintf|strncpy|strncat|strtok|gets|"
     r"alloca|stpcpy)\s*\(", C_CODE, [],
     "snprintf with its result checked, memcpy of a computed size, the arena"),
    ("shell", r"\b(system|popen)\s*\(", C_CODE, [], "posix_spawn"),
    ("fork", r"\b(v?fork|clone)\s*\(", C_CODE, [],
     "posix_spawn: fork with an open connection or ZeroMQ context is undefined"),
    ("threads", r"\b(pthread_create|thrd_create)\s*\(", C_CODE, [],
     "a fiber, or a child process"),
    ("number-parsing", r"\b(atoi|atol|atoll|atof)\s*\(", C_CODE, [],
     "cn_parse_number"),
    ("civil-time", r"\b(localtime|gmtime|mktime|timegm|strftime|strptime)(_r)?"
     r"\s*\(", C_CODE, ["common/base/clock.c"], "cn_time_..., cn_zone_..."),
    ("clocks", r"\b(clock_gettime|gettimeofday|time\s*\(\s*(NULL|0|&)|"
     r"CURLINFO_FILETIME)", C_CODE, ["common/base/clock.c"],
     "now_at, the clock of struct cn_env, cn_clock_monotonic"),
    ("calendar", r"\bical[a-z]+_|<libical/", C_CODE, ["common/base/clock.c"],
     "cn_zone_..."),
    ("exit", r"(?<![\w>.])(exit|quick_exit)\s*\(", C_CODE,
     ["*/main.c", "tests/*", "deploy/local/*", "proto/plugin/*"],
     "return an error code to main"),
    ("libpq", r"\bPQ[a-z]\w+\s*\(|<libpq-fe\.h>", C_CODE, ["common/db/*"],
     "cn_db_..."),
    ("blocking-libpq", r"\bPQ(exec\w*|prepare|connectdb\w*|reset|fn|"
     r"escape\w+|describe\w+)\s*\(|\blo_\w+\s*\(", C_CODE, [],
     "the asynchronous calls of common/db/db.c, with parameters"),
    ("database-text", r"\bPQ(result)?(Verbose)?ErrorMessage\s*\(|\bPQerror"
     r"Message\s*\(|PG_DIAG_MESSAGE_DETAIL|PG_DIAG_MESSAGE_PRIMARY",
     C_CODE, [], "SQLSTATE and the constraint's name: texts hold patients"),
    ("zeromq", r"\bzmq_\w+\s*\(|<zmq\.h>", C_CODE, ["common/bus/*"],
     "cn_bus_..."),
    ("zeromq-heartbeat", r"\bZMQ_HEARTBEAT_", C_CODE, [],
     "the ping of common/bus/bus.c: libzmq 4.3.4 can abort"),
    ("unpack", r"\bprotobuf_c_message_unpack\s*\(|\w__unpack\s*\(", C_CODE,
     ["common/wire/message.c", "proto/plugin/*"], "cn_message_unpack"),
    ("http-server", r"\bMHD_\w+\s*\(|<microhttpd\.h>", C_CODE,
     ["common/http/*"], "common/http/http.h"),
    ("post-processor", r"MHD_\w*[Pp]ost_?[Pp]rocessor", C_CODE, [],
     "a parser of our own"),
    ("sodium", r"\b(crypto_[a-z]+_?\w*|sodium_\w+|randombytes_\w+)\s*\(|"
     r"<sodium\.h>", C_CODE, ["common/wire/seal.c"], "cn_seal, the env's random"),
    ("curl", r"\bcurl_\w+\s*\(|<curl/curl\.h>", C_CODE,
     ["services/notifications/smtp.c"], "services/notifications/smtp.h"),
    ("jansson", r"<jansson\.h>", C_CODE, ["common/wire/json*"], "cn_json_..."),
    ("services-apart", r'#\s*include\s+"services/', ["common/*"], [],
     "a message on the bus; common/ knows no service"),
    ("common-names-no-service", rf'"({SERVICES})"', ["common/*.c",
                                                     "common/*.h"], [],
     "a value that the service hands in"),
    ("sleeping-tests", r"\b(sleep|usleep|nanosleep|time\.sleep)\s*\(",
     ["tests/*.c", "tests/*.py"], ["tests/system/harness/*", SAMPLES],
     "wait for an event, with a deadline"),
    ("unfinished", r"\b(TODO|FIXME|XXX|HACK)\b", C_CODE + [
        "*.py", "*.proto", "*.sql", "deploy/*", "tests/*"],
     ["tests/bans.py", SAMPLES, "tests/data/*"], "finish it, or file an issue"),
    ("outside-page", r"\b(design|reliability|contract|policy|style|api|domain|"
     r"standards|dashboard)\.md\b", C_CODE + ["*.py", "*.proto", "*.sql", "*.md",
                                             "deploy/*", "tests/*"],
     ["tests/bans.py", SAMPLES], "the sentence itself: a reader has no such page"),
    ("sql-enum", r"(?i)\bcreate\s+type\s+\S+\s+as\s+enum", ["*.sql"], [],
     "text with a CHECK: an enum defeats the index under row-level security"),
    ("security-definer", r"(?i)\bsecurity\s+definer\b", ["*.sql"], [],
     "a role's own rights"),
]
COMMENTS_COUNT = {"unfinished", "outside-page"}
SPDX_NEEDED = ["*.c", "*.h", "*.py", "*.proto", "deploy/install",
               "deploy/migrate", "deploy/local/run", "tests/run", "tests/lint",
               "tests/hooks/*", ".ci/run"]
COMMENT_OR_TEXT = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
HASH_COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#[^\n]*")
SQL_COMMENT = re.compile(r"--[^\n]*")


def matches(path, patterns):
    """fnmatch, where * crosses folders."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def without_comments(path, text):
    """The text with its comments blanked; lines stay where they are."""
    def blank(match):
        word = match[0]
        if word[0] in "\"'":
            return word
        return re.sub(r"[^\n]", " ", word)
    if matches(path, C_CODE + ["*.proto"]):
        return COMMENT_OR_TEXT.sub(blank, text)
    if path.endswith(".sql"):
        return SQL_COMMENT.sub(blank, text)
    return HASH_COMMENT.sub(blank, text)


def cross_includes(path, text):
    """A service that includes another service's code."""
    own = path.split("/")[1] if path.startswith("services/") else None
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(r'#\s*include\s+"services/(\w+)/', line)
        if own and match and match[1] != own:
            yield number, line


STATIC = re.compile(r"^static [^;={]*?\b([a-z_0-9]+)\(", re.M)
STATICS = ["common/*.c", "services/*.c", "proto/*.c"]


def doubled_statics(texts):
    """path, line number, name and the other path of each static function whose
    name stands in two files: a search for it should find one."""
    first = {}
    for path, text in texts:
        for match in STATIC.finditer(text) if matches(path, STATICS) else ():
            if first.setdefault(match[1], path) != path:
                yield (path, text.count("\n", 0, match.start(1)) + 1, match[1],
                       first[match[1]])


def faults(path, text):
    """All (ban, line number, line, instead) of one file."""
    code = without_comments(path, text)
    lines = {False: code.splitlines(), True: text.splitlines()}
    for ban, pattern, files, places, instead in BANS:
        if not matches(path, files) or matches(path, places):
            continue
        for number, line in enumerate(lines[ban in COMMENTS_COUNT], 1):
            if re.search(pattern, line):
                yield ban, number, line, instead
    for number, line in cross_includes(path, code):
        yield "services-apart", number, line, "a message on the bus"
    if matches(path, SPDX_NEEDED) and \
            "SPDX-License-Identifier: Apache-2.0" not in text[:200]:
        yield "spdx", 1, "", "an SPDX line at the top"


def read_exceptions(root):
    """{(ban, path)} with a reason each."""
    found = {}
    path = os.path.join(root, "tests/bans.allow")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split(None, 2)
            if not words or words[0].startswith("#"):
                continue
            if len(words) < 3 or len(words[2].split()) < 3:
                sys.exit(f"tests/bans.allow:{number}: a line is: "
                         "ban, path, reason")
            found[words[0], words[1]] = False
    return found


def all_paths(root):
    """The files of a checkout, those that git does not know yet included."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"], check=True, capture_output=True).stdout
    return listed.decode().split("\0")


def main():
    """Prints each fault; the exit code tells whether there was one."""
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    named = sys.argv[2:]
    paths = [path for path in named or all_paths(root)
             if path.partition("/")[0] in ("common", "services", "deploy",
                                           "proto", "tests", ".ci")]
    exceptions = read_exceptions(root)
    count = 0
    texts = []
    for path in sorted(set(paths)):
        try:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                text = file.read()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        texts.append((path, text))
        for ban, number, line, instead in faults(path, text):
            if (ban, path) in exceptions:
                exceptions[ban, path] = True
                continue
            count += 1
            print(f"{path}:{number}: [{ban}] {line.strip()}\n"
                  f"    instead: {instead}")
    for path, number, name, other in doubled_statics(texts):
        count += 1
        print(f"{path}:{number}: [one-name] {name}\n"
              f"    instead: a name of its own; {other} has this one")
    for (ban, path), used in exceptions.items():
        if not used and not named:
            count += 1
            print(f"tests/bans.allow: {ban} {path} excepts nothing")
    print(f"bans: {len(paths)} files, {count} faults")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
