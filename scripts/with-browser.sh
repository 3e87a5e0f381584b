#!/usr/bin/env bash
# Runs a command with TENANCY_TEST_BROWSER and TENANCY_TEST_BROWSER_DRIVER naming Chromium and its
# driver, which are Debian's packages. Installing them needs root.
#
#   scripts/with-browser.sh pytest tests/browser
#
# Exits with 75 if there is no browser to be had, and so the command did not run; if
# BROWSER_UNAVAILABLE names a file, the reason is written there.
set -euo pipefail

readonly unavailable=75
export TENANCY_TEST_BROWSER=/usr/bin/chromium TENANCY_TEST_BROWSER_DRIVER=/usr/bin/chromedriver

missing=()
[ -x "$TENANCY_TEST_BROWSER" ] || missing+=(chromium)
[ -x "$TENANCY_TEST_BROWSER_DRIVER" ] || missing+=(chromium-driver)
if ((${#missing[@]})); then
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
        >/dev/null; then
        echo "these packages cannot be installed: ${missing[*]}" |
            tee -a "${BROWSER_UNAVAILABLE:-/dev/null}" >&2
        exit "$unavailable"
    fi
fi

exec "$@"
