"""The command line without a database: its arguments, its layout, and what it must not show."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from flametrench_tenancy_sqlalchemy.cli.answers import Column, Facts, Table, Verbatim
from flametrench_tenancy_sqlalchemy.cli.layout import cells, cut, discreet, left_out, lines, visible
from flametrench_tenancy_sqlalchemy.cli.options import moment, policy_named, whole
from flametrench_tenancy_sqlalchemy.cli.parser import GROUPS, commands

TABLE: Final = Table(
    [Column("ID"), Column("STATUS"), Column("NAME", cuttable=True), Column("WHEN")],
    [
        ("org_1", "active", "Roofing and more", "2030-01-01"),
        ("org_2", "", "村上春樹の会社です", ""),
        ("a remark as wide as it likes, cut or not",),
    ],
)


def drawn(part: Table | Facts | Verbatim | str, width: int | None = None) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(part, width)]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Søren 村上\u3000春樹\xa0é", "Søren 村上\u3000春樹\xa0é"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("a\nb\r\tc\x00", "a\\nb\\r\\tc\\x00"),
        ("\u202egnp.exe\u200b\ufeff", "\\u202egnp.exe\\u200b\\ufeff"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert drawn(Table([Column("A"), Column("B")], [(text, text)]))[2] == f"{shown}  {shown}"
    assert drawn(Facts("It", {"name": text}))[1] == f"  name  {shown}"


@pytest.mark.parametrize(
    "text, width",
    [("abc", 3), ("村上", 4), ("\uff21", 2), ("e\u0301", 1), ("ｱ", 1), ("\u20dd", 0), ("", 0)],
)
def test_a_text_takes_so_many_cells(text: str, width: int) -> None:
    assert cells(text) == width


@pytest.mark.parametrize(
    "text, width, kept",
    [
        ("roofing", 7, "roofing"),
        ("roofing", 6, "roofi…"),
        ("村上春樹", 7, "村上春…"),
        ("村上春樹", 6, "村上…"),
    ],
)
def test_a_text_is_cut_to_cells(text: str, width: int, kept: str) -> None:
    assert cut(text, width) == kept
    assert cells(kept) <= width


def test_a_table_in_a_file_is_aligned_and_whole() -> None:
    assert drawn(TABLE) == [
        "ID     STATUS  NAME                WHEN",
        "-----  ------  ------------------  ----------",
        "org_1  active  Roofing and more    2030-01-01",
        "org_2          村上春樹の会社です",
        "a remark as wide as it likes, cut or not",
    ]
    assert left_out(TABLE, None) == []


@pytest.mark.parametrize(
    "width, missing, third",
    [
        (45, [], "org_1  active  Roofing and more    2030-01-01"),
        (40, [], "org_1  active  Roofing and …  2030-01-01"),
        (35, [], "org_1  active  Roofing…  2030-01-01"),
        (34, ["WHEN"], "org_1  active  Roofing and more"),
        (23, ["WHEN"], "org_1  active  Roofing…"),
        (22, ["NAME", "WHEN"], "org_1  active"),
        (3, ["STATUS", "NAME", "WHEN"], "org_1"),
    ],
)
def test_a_terminal_gets_what_fits(width: int, missing: list[str], third: str) -> None:
    *rows, _ = drawn(TABLE, width)
    assert left_out(TABLE, width) == missing
    assert rows[2] == third
    assert width < 5 or max(map(cells, rows)) <= width


def test_columns_that_may_be_cut_share_what_is_left() -> None:
    columns = [Column(title, cuttable=True) for title in ("A", "B")]
    table = Table(columns, [("a" * 20, "b" * 20)])
    for width in (18, 30, 41):
        [*_, row] = drawn(table, width)
        assert cells(row) == width
    assert drawn(table, 42)[-1] == f"{'a' * 20}  {'b' * 20}"


def test_what_is_for_other_programs_stays_as_it_is() -> None:
    assert drawn(Verbatim("SELECT\t1;\n\nCOMMIT;\n"), 10) == ["SELECT\t1;", "", "COMMIT;"]


@pytest.mark.parametrize(
    "message, told",
    [
        ("no postgresql://u:se:cret@h/x here", "no postgresql://u:***@h/x here"),
        ("postgresql://u:p@ss@h/x and more@h", "postgresql://u:***@h/x and more@h"),
        ("postgresql://h/x?password=secret&a=b", "postgresql://h/x?password=***&a=b"),
        ("postgresql://u@h/x", "postgresql://u@h/x"),
        ("two\nlines\x1b", "two\nlines\\x1b"),
    ],
)
def test_no_message_has_a_password(message: str, told: str) -> None:
    assert discreet(message) == told


def test_a_moment_has_a_zone_or_is_so_long_from_now() -> None:
    at = datetime(2030, 1, 31, 17, 0, tzinfo=UTC)
    assert moment("2030-01-31T18:00+01:00") == moment("2030-01-31T17:00Z") == at
    for given, later in (
        ("7d", timedelta(days=7)),
        ("36h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
    ):
        assert abs(moment(given) - datetime.now(UTC) - later) < timedelta(minutes=1)
    for wrong in ("2030-01-31", "2030-01-31T18:00", "7", "7w", "99999d", "-1d", "soon", ""):
        with pytest.raises(ArgumentTypeError, match="is neither"):
            moment(wrong)


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "many", ""])
def test_a_number_of_rows_is_at_least_one(wrong: str) -> None:
    assert whole("12") == 12
    with pytest.raises(ArgumentTypeError, match="whole number"):
        whole(wrong)


@pytest.mark.parametrize(
    "wrong, why",
    [
        ("policies", "is not MODULE:NAME"),
        ("no_such_module:policy", "cannot be found"),
        ("json:nothing", "cannot be found"),
        ("json:dumps", "is no Policy, but function"),
    ],
)
def test_a_policy_is_named_by_its_module(
    wrong: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ArgumentTypeError, match=why):
        policy_named(wrong)


def test_every_command_is_described_and_speaks_json() -> None:
    places = list(commands())
    assert [*places[0].below] == [*GROUPS]
    for place in places:
        assert place.what.endswith(".")
        assert all(argument.what for argument in place.arguments)
        if not place.below:
            assert any("--json" in argument.names for argument in place.arguments), place.path


def test_help_has_no_need_of_migrations() -> None:
    script = (
        "import sys; from flametrench_tenancy_sqlalchemy.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit('alembic' in sys.modules or 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
