"""What pyright makes of the pages that are about types."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.docs.test_added_columns import GUIDE, MISTAKES, WRONG_LINES

if TYPE_CHECKING:
    from tests.support.guides import Reader


def errors(project: Reader, *files: str) -> list[int]:
    """Return the lines in which pyright finds errors."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *files],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return sorted({each["range"]["start"]["line"] + 1 for each in found})


def test_it_knows_what_is_added_to_our_classes_and_nothing_else(reader: Reader) -> None:
    reader.write_files(GUIDE)
    reader.write("mistakes.py", MISTAKES)
    reader.write("pyrightconfig.json", '{"typeCheckingMode": "strict"}')

    assert errors(reader, "app.py", "models.py") == []
    assert errors(reader, "mistakes.py") == WRONG_LINES
