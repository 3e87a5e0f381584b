#!/usr/bin/env bash
# Runs a command with TENANCY_TEST_PRIMARY_URL naming a primary, TENANCY_TEST_REPLICA_URL its
# synchronous streaming replica, and TENANCY_TEST_PRIMARY_PID the primary's process, which may be
# killed: two servers of Debian's PostgreSQL 15, which are gone afterwards. Needs root.
#
#   scripts/on-replica.sh pytest tests/adopters/test_replicas.py
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/postgres15.sh"

cd "$folder"
port=$(free_port)
as_postgres "$programs/initdb" -D primary -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync >/dev/null
start_server primary "$port" wal_level=replica hot_standby=on

replica_port=$(free_port)
as_postgres "$programs/pg_basebackup" --pgdata=replica --write-recovery-conf --create-slot --slot=replica \
    --checkpoint=fast --no-sync --dbname="host=127.0.0.1 port=$port user=postgres application_name=replica"
start_server replica "$replica_port" hot_standby=on

# Not before there is one that can answer.
psql=(as_postgres "$programs/psql" -qX -h 127.0.0.1 -p "$port" -d postgres -v ON_ERROR_STOP=1)
"${psql[@]}" -c "ALTER SYSTEM SET synchronous_standby_names = 'replica'"
"${psql[@]}" -c "SELECT pg_reload_conf()" >/dev/null

cd "$OLDPWD"
TENANCY_TEST_PRIMARY_URL=postgresql://postgres@127.0.0.1:$port/postgres \
    TENANCY_TEST_REPLICA_URL=postgresql://postgres@127.0.0.1:$replica_port/postgres \
    TENANCY_TEST_PRIMARY_PID=$(head -1 "$folder/primary/postmaster.pid") "$@"
