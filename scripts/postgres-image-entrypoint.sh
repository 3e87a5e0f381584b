#!/bin/sh
# The entrypoint of the image that on-docker.sh builds: as much of the official image's manners
# as tests need. POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB name what is created first;
# `postgres -c name=value …` is the command.
set -eu

bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

if [ ! -e "$data/PG_VERSION" ]; then
    mkdir -p "$data" /var/run/postgresql
    chown -R postgres:postgres "$data" /var/run/postgresql
    printf '%s\n' "${POSTGRES_PASSWORD:?}" >/tmp/password
    chown postgres /tmp/password
    as_postgres "$bin/initdb" -D "$data" -U "$user" -E UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/password --no-sync
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    # Deaf to the network until everything is there: whoever can connect finds it complete.
    as_postgres "$bin/pg_ctl" -D "$data" -w -o "-c listen_addresses=''" start
    if [ "$database" != postgres ]; then
        as_postgres "$bin/createdb" -U "$user" "$database"
    fi
    as_postgres "$bin/pg_ctl" -D "$data" -w -m fast stop
    echo "PostgreSQL init process complete; ready for start up."
fi

[ "${1:-postgres}" = postgres ] || exec "$@"
[ $# -eq 0 ] || shift
exec setpriv --reuid=postgres --regid=postgres --clear-groups \
    "$bin/postgres" -D "$data" -c listen_addresses='*' "$@"
