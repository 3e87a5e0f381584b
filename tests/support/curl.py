"""As much of curl as the guides use, against the port at which their application is."""

from __future__ import annotations

import argparse
import os
import sys

import httpx


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-X", "--request", default="GET")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-o", "--output")
    parser.add_argument("-w", "--write-out", default="")
    asked = parser.parse_args()
    answer = httpx.request(
        asked.request,
        f"http://{asked.address}".replace("localhost:8000", f"127.0.0.1:{os.environ['PORT']}"),
        headers=[tuple(header.split(": ", 1)) for header in asked.header],
        timeout=60,
    )
    if asked.output is None:
        sys.stdout.write(answer.text)
    sys.stdout.write(
        asked.write_out.replace(r"\n", "\n").replace("%{http_code}", str(answer.status_code))
    )


if __name__ == "__main__":
    main()
