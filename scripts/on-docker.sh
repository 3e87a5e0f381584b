#!/usr/bin/env bash
# Runs a command that finds a Docker engine, and a PostgreSQL image to start there, through the
# variables that testcontainers and our pytest plugin read. Both are made from Debian's packages,
# without a registry, and are gone afterwards. Needs root.
#
#   scripts/on-docker.sh pytest tests/adopters/test_drivers.py
#
# Exits with 75 if there is no engine or no image to be had, and so the command did not run; if
# DOCKER_UNAVAILABLE names a file, the reason is written there.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
readonly unavailable=75

folder=$(mktemp -d)
engine=
end() {
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" || true
    fi
    rm -rf "$folder"
}
trap end EXIT

give_up() {
    echo "$1" | tee -a "${DOCKER_UNAVAILABLE:-/dev/null}" >&2
    exit "$unavailable"
}

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v iptables >/dev/null || missing+=(iptables)
command -v debootstrap >/dev/null || missing+=(debootstrap)
if ((${#missing[@]})); then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        give_up "these packages cannot be installed: ${missing[*]}"
fi

export DOCKER_HOST=unix://$folder/docker.sock
# No firewall rules and no overlay file system, so that it runs inside a container, too. A session
# of its own: an interrupt is for the command, the engine is needed to clean up after it.
setsid dockerd --iptables=false --ip6tables=false --storage-driver=vfs \
    --host "$DOCKER_HOST" --pidfile "$folder/docker.pid" \
    --data-root "$folder/data" --exec-root "$folder/run" >"$folder/log" 2>&1 </dev/null &
engine=$!
for ((second = 0; ; second++)); do
    [ ! -S "$folder/docker.sock" ] || ! docker version >/dev/null 2>&1 || break
    if ((second == 60)) || ! kill -0 "$engine" 2>/dev/null; then
        give_up "the Docker engine does not start: $(tail -n 20 "$folder/log")"
    fi
    sleep 1
done

debootstrap --variant=minbase --include=postgresql-15 bookworm "$folder/root" \
    >"$folder/debootstrap" || give_up "$(tail -n 20 "$folder/debootstrap")"
# The storage driver copies the image for every container: the smaller the better.
(cd "$folder/root" && rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/{doc,man,locale,i18n})
install -m 755 "$here/postgres-image-entrypoint.sh" "$folder/root/usr/local/bin/entrypoint"
tar -C "$folder/root" -c . | docker import --change 'ENTRYPOINT ["/usr/local/bin/entrypoint"]' \
    --change 'CMD ["postgres"]' --change 'EXPOSE 5432' - tenancy-postgres:15 >/dev/null ||
    give_up "the image cannot be imported"
rm -rf "$folder/root"

# The container is stopped by whoever starts it; a reaper would have to come from a registry.
TESTCONTAINERS_RYUK_DISABLED=true TENANCY_TEST_POSTGRES_IMAGE=tenancy-postgres:15 "$@"
