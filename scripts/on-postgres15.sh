#!/usr/bin/env bash
# Runs a command with TENANCY_TEST_DATABASE_URL naming a PostgreSQL 15 of its own, from Debian's
# packages, which is gone afterwards. PgBouncer is installed with it. Needs root.
#
#   scripts/on-postgres15.sh pytest tests/adopters/test_pgbouncer.py
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/postgres15.sh"
install_missing pgbouncer pgbouncer

cd "$folder"
port=$(free_port)
as_postgres "$programs/initdb" -D server -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync >/dev/null
start_server server "$port" synchronous_commit=off

cd "$OLDPWD"
TENANCY_TEST_DATABASE_URL=postgresql://postgres@127.0.0.1:$port/postgres "$@"
