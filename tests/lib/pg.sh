#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A private PostgreSQL for the store tests.
#   tests/lib/pg.sh start                 starts one and prints CAIRN_TEST_PG=<dir>:<port>
#   tests/lib/pg.sh stop <dir>:<port>     stops and removes it
#   tests/lib/pg.sh migrate <dir>:<port> <database> <service> [folder]
# The server listens on a socket in <dir> only; its log is <dir>/log. migrate
# makes the database with the service's migrations; with a folder it is the
# platform's template and the migrations in that folder.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
port=5432

bin=$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || true)
[ -n "$bin" ] || bin=$(pg_config --bindir)

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME="$dir" "$@"
    else
        "$@"
    fi
}

start() {
    # Not in TMPDIR: the postgres user must be able to go there.
    dir=$(mktemp -d /tmp/cairn-pg.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres "$dir"
    fi
    chmod 755 "$dir"
    cd "$dir"
    as_postgres "$bin/initdb" -D "$dir/data" -U postgres --auth=trust --no-sync \
        -E UTF8 --locale=C.UTF-8 --no-instructions >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        exit 1
    }
    cat >>"$dir/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$dir'
port = $port
max_connections = 200
shared_buffers = 64MB
fsync = off
full_page_writes = off
autovacuum_naptime = 1h
max_parallel_maintenance_workers = 0
log_error_verbosity = terse
log_min_error_statement = panic
log_line_prefix = '%p %a '
END
    as_postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 30 start >"$dir/start.log" 2>&1 || {
        cat "$dir/start.log" "$dir/log" >&2
        exit 1
    }
    echo "CAIRN_TEST_PG=$dir:$port"
}

stop() {
    dir=${1%:*}
    case $dir in
    /tmp/cairn-pg.*) ;;
    *)
        echo "pg.sh: not a server of ours: $dir" >&2
        exit 1
        ;;
    esac
    cd /
    as_postgres "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}

# Once in a server: later databases of the same migrations are copies of the
# first.
migrate() {
    PGHOST=${1%:*} PGPORT=${1##*:} PGUSER=postgres
    export PGHOST PGPORT PGUSER
    template=$(echo "migrated/$3/${4:-}" | tr -c 'a-z\n' _)
    if [ ! -e "$PGHOST/$template" ]; then
        migrate_from "$template" "$3" "${4:-}"
        touch "$PGHOST/$template"
    fi
    "$bin/psql" -X -q -d postgres -c "CREATE DATABASE $2 TEMPLATE $template"
}

migrate_from() {
    export PGDATABASE="$1"
    service=$2
    if [ -z "$3" ]; then
        "$here/deploy/migrate" "$here/build/migrations" "$service"
        return
    fi
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    mkdir "$root/$service"
    for file in "$here"/common/schema/*.sql; do
        sed "s/{{schema}}/$service/g" "$file" >"$root/$service/$(basename "$file")"
    done
    cp "$here/$3"/*.sql "$root/$service/"
    "$here/deploy/migrate" "$root" "$service"
}

case ${1:-} in
start) start ;;
stop) stop "$2" ;;
migrate)
    shift
    migrate "$@"
    ;;
*)
    sed -n '3,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
