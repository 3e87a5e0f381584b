"""Ids of several processes at once, as a script; how they are started is its argument.

It prints how many ids there are, and how many of them differ in more than their time: processes
that have inherited one generator would repeat themselves a little later.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading

from flametrench_tenancy_sqlalchemy.ids import new_uuid

CHILDREN = 3
EACH = 5_000
RANDOM = (1 << 62) - 1


def make(_: object = None) -> list[int]:
    return [new_uuid().int & RANDOM for _ in range(EACH)]


def make_for_ever() -> None:
    while True:
        make()


if __name__ == "__main__":
    sys.setswitchinterval(1e-6)
    make()  # so that there is a generator whose state a child may inherit
    if "busy" in sys.argv:  # so that a child is forked while another thread is making an id
        threading.Thread(target=make_for_ever, daemon=True).start()
    with multiprocessing.get_context(sys.argv[1]).Pool(CHILDREN) as pool:
        theirs = pool.map_async(make, range(CHILDREN), chunksize=1)
        ids = sum(theirs.get(timeout=30), start=make())
    print(len(ids), len(set(ids)))
