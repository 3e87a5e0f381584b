#!/usr/bin/env bash
# Runs a command with TENANCY_TEST_DATABASE_URL naming a PostgreSQL 15 of its own, from Debian's
# packages, which is gone afterwards. PgBouncer is installed with it. Needs root.
#
#   scripts/on-postgres15.sh pytest tests/adopters/test_pgbouncer.py
set -euo pipefail

programs=/usr/lib/postgresql/15/bin
export PATH=$PATH:/usr/sbin

missing=()
[ -x "$programs/postgres" ] || missing+=(postgresql-15)
command -v pgbouncer >/dev/null || missing+=(pgbouncer)
if ((${#missing[@]})); then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # No cluster in /var/lib, no service: only the programs.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

folder=$(mktemp -d)
chown postgres "$folder"
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
cd "$folder"

stop() {
    [ ! -e data/postmaster.pid ] || as_postgres "$programs/pg_ctl" -D data -m immediate stop
    rm -rf "$folder"
} >/dev/null
trap '(cd "$folder" && stop)' EXIT

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_postgres "$programs/initdb" -D data -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync >/dev/null
options="-h 127.0.0.1 -p $port -k $folder -c fsync=off -c synchronous_commit=off"
options+=" -c full_page_writes=off -c max_connections=300 -c max_prepared_transactions=10"
as_postgres "$programs/pg_ctl" -D data -w -l log -o "$options" start >/dev/null

cd "$OLDPWD"
TENANCY_TEST_DATABASE_URL=postgresql://postgres@127.0.0.1:$port/postgres "$@"
