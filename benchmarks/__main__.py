"""``python -m benchmarks NAME``: run one of the benchmarks; README.md says what each is for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from benchmarks import compare, concurrency, growth, pages, reads
from benchmarks.report import FOLDER

_BENCHMARKS: Final = {
    "operations": compare,
    "growth": growth,
    "concurrency": concurrency,
    "reads": reads,
    "pages": pages,
}


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    for name, module in _BENCHMARKS.items():
        one = names.add_parser(name, help=module.__doc__, description=module.__doc__)
        one.add_argument("--folder", type=Path, default=FOLDER, help="where results are written")
        module.add_arguments(one)
        one.set_defaults(main=module.main)
    arguments = parser.parse_args()
    arguments.main(arguments)


if __name__ == "__main__":
    main()
