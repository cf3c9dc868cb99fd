# SPDX-License-Identifier: Apache-2.0
# Makes a JSON line of each line that a program of others writes, with the
# members that Cairn's own lines have: ts, level, svc, msg. A line that is JSON
# already stays as it is.
#   mawk -W interactive -f json-lines.awk svc=postgres -
# PostgreSQL's lines begin as log_line_prefix of postgresql.conf has it:
#   time|pid|user|database|SQLSTATE|LOG:  text

function escaped(text,    out, i, c) {
    out = ""
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "\\" || c == "\"")
            c = "\\" c
        else if (c ~ /[\001-\037]/)
            c = " "
        else if (c !~ /[ -~]/)
            c = "?" # as in the lines of our own
        out = out c
    }
    return out
}

function member(name, value) {
    return value == "" ? "" : ",\"" name "\":\"" escaped(value) "\""
}

function put(ts, level, more, text) {
    printf "{\"ts\":\"%s\",\"level\":\"%s\",\"svc\":\"%s\"%s,\"msg\":\"%s\"}\n",
        ts, level, svc, more, escaped(text)
    fflush()
}

function level_of(text) {
    if (text ~ /^(\[ALERT\]|\[EMERG\]|ERROR|FATAL|PANIC)/ || text ~ /: (ERROR|FATAL):/)
        return "error"
    # haproxy warns of a server that comes, too.
    if (text ~ /(is UP|administratively READY|changed its IP from \(none\))/)
        return "info"
    return text ~ /^(\[WARNING\]|WARNING)/ ? "warn" : "info"
}

function now() {
    return strftime("%Y-%m-%dT%H:%M:%SZ", systime(), 1)
}

/^\{"ts":/ {
    print
    fflush()
    next
}

/^[0-9-]+ [0-9:.]+ UTC\|[0-9]+\|[^|]*\|[^|]*\|[0-9A-Z]*\|/ {
    split($0, part, "|")
    text = $0
    sub(/^[^|]*\|[^|]*\|[^|]*\|[^|]*\|[^|]*\|/, "", text)
    ts = part[1]
    sub(/ UTC$/, "Z", ts)
    sub(/ /, "T", ts)
    level = level_of(text)
    sub(/^[A-Z0-9]+:  /, "", text)
    put(ts, level, ",\"pid\":" part[2] member("user", part[3]) \
        member("database", part[4]) \
        (part[5] == "00000" ? "" : member("sqlstate", part[5])), text)
    next
}

/[^ \t]/ {
    level = level_of($0)
    text = $0
    sub(/^\[[A-Z]+\] +/, "", text)
    put(now(), level, "", text)
}
