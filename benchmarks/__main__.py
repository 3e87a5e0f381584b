"""``python -m benchmarks NAME``: run one of the benchmarks; README.md says what each is for."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any, Final

from benchmarks import plans
from benchmarks.operations import OPERATIONS
from benchmarks.report import FOLDER
from benchmarks.sides import SIDES

_PLANS: Final = (plans.operations, plans.growth, plans.pages, plans.sets, plans.log)
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "name": {"help": "of the files that are written"},
    "rounds": {"type": int, "help": "after some for warmth"},
    "sides": {"choices": SIDES, "metavar": "SIDE", "help": ", ".join(SIDES)},
    "operations": {"choices": OPERATIONS, "metavar": "OPERATION"},
    "round_trips": {"type": float, "metavar": "MS", "help": "what to add to each; 0 adds nothing"},
    "members": {"type": int, "help": "how many the one organization has"},
    "rows": {"type": int, "help": "of a set"},
}


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    for plan in _PLANS:
        one = names.add_parser(plan.__name__, help=plan.__doc__, description=plan.__doc__)
        for name, parameter in inspect.signature(plan).parameters.items():
            options = {"default": parameter.default, **_OPTIONS[name]}
            if not isinstance(parameter.default, str | int):
                options["nargs"] = "+"
            one.add_argument(f"--{name.replace('_', '-')}", **options)
        one.add_argument("--folder", type=Path, default=FOLDER, help="where results are written")
        one.set_defaults(plan=plan)
    arguments = vars(parser.parse_args())
    plan, folder = arguments.pop("plan"), arguments.pop("folder")
    print(plan(**arguments).run(folder))


if __name__ == "__main__":
    main()
