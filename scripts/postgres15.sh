# Sourced by the scripts that start servers of Debian's PostgreSQL 15, as root: installs it, and makes
# a folder for their data, which is gone afterwards together with the servers in it.
programs=/usr/lib/postgresql/15/bin
export PATH=$PATH:/usr/sbin

# Installs Debian's packages: `install_missing PROGRAM PACKAGE …`, each if its program is missing.
install_missing() {
    local missing=()
    while (($#)); do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    ((${#missing[@]})) || return 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # No cluster in /var/lib, no service: only the programs.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the server of a folder: `start_server FOLDER PORT [SETTING …]`.
start_server() {
    local data=$1 options="-h 127.0.0.1 -p $2 -k $folder -c fsync=off -c full_page_writes=off"
    options+=" -c max_connections=300 -c max_prepared_transactions=10"
    for setting in "${@:3}"; do options+=" -c $setting"; done
    as_postgres "$programs/pg_ctl" -D "$data" -w -l "$data.log" -o "$options" start >/dev/null
}

stop_servers() {
    for data in "$folder"/*/; do
        [ ! -e "$data/postmaster.pid" ] ||
            as_postgres "$programs/pg_ctl" -D "$data" -m immediate stop || true
    done
    rm -rf "$folder"
} &>/dev/null

install_missing "$programs/postgres" postgresql-15
folder=$(mktemp -d)
chown postgres "$folder"
# Whoever runs as postgres may not be able to enter the folder that we are in.
trap '(cd "$folder" && stop_servers)' EXIT
