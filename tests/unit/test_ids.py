"""Wire ids: made, parsed, and refused."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import flametrench_ids
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flametrench_tenancy_sqlalchemy import InvalidIdError, new_id
from flametrench_tenancy_sqlalchemy.ids import (
    decode,
    decode_object,
    encode,
    encode_object,
    new_uuid,
    require,
)

HEX = "0190f2a81b3c7abc8123456789abcdef"
CANONICAL = "0190f2a8-1b3c-7abc-8123-456789abcdef"
WIRE = f"org_{HEX}"
FORKS = Path(__file__).parents[1] / "support" / "forks.py"

# fmt: off
NOT_ORG_IDS: list[Any] = [
    "", "org", "org_", HEX, CANONICAL, f"org_{CANONICAL}",
    f"usr_{HEX}", f"proj_{HEX}", f"_{HEX}", f"ORG_{HEX}", f"org-{HEX}", f"org__{HEX[1:]}",
    f"org_{HEX[:-1]}", f"org_{HEX}0", f"org_{HEX.upper()}", f"org_{HEX[:-1]}g",
    f"org_{HEX}\n", f"\norg_{HEX}", f" org_{HEX}", f"org_{HEX}\x00", "org_\ud800" + HEX[1:],
    f"org_{HEX[:-1]}٣",  # a digit, but no hex digit
    f"org_{'0' * 32}", f"org_{'f' * 32}",
    None, 7, b"org_" + HEX.encode(), UUID(HEX), [WIRE],
]
NOT_PROJECT_IDS: list[Any] = [
    "", f"usr_{HEX}", f"proj_{CANONICAL}", f"_{HEX}", f"a_proj_{HEX}", f"PROJ_{HEX}",
    f"proj_{HEX}\n", f"{HEX}\n", f"{CANONICAL}\n", f"{HEX[:31]}\x00", "\ud800",
    HEX.upper(), HEX[:-1], f"{{{CANONICAL}}}", f"urn:uuid:{CANONICAL}",
    CANONICAL.replace("-", "_"), None, 7, UUID(HEX), HEX.encode(),
]
# fmt: on


@pytest.mark.parametrize("type_", sorted(flametrench_ids.TYPES))
def test_a_new_id_is_a_wire_id_of_its_type_around_an_rfc_9562_uuidv7(type_: str) -> None:
    before = time.time_ns() // 1_000_000
    id_ = new_id(type_)
    after = time.time_ns() // 1_000_000
    uuid = decode(id_, type_, "id")
    assert id_ == f"{type_}_{uuid.hex}"
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    # The generator may run ahead of the clock by a little when many ids are asked for at once.
    assert before <= uuid.int >> 80 <= after + 1000


def test_new_ids_only_grow_whatever_thread_they_come_from() -> None:
    workers, each = 8, 2_000
    together = threading.Barrier(workers)

    def make(_: int) -> list[str]:
        together.wait()
        return [new_id("org") for _ in range(each)]

    with ThreadPoolExecutor(workers) as pool:
        batches = list(pool.map(make, range(workers)))
    assert all(batch == sorted(batch) for batch in batches)
    assert len({id_ for batch in batches for id_ in batch}) == workers * each
    assert encode("org", new_uuid()) > max(batch[-1] for batch in batches)
    with pytest.raises(flametrench_ids.InvalidTypeError):
        new_id("proj")  # which is not registered


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("how", [("fork",), ("fork", "busy"), ("forkserver",), ("spawn",)])
def test_no_process_repeats_the_ids_of_another(how: tuple[str, ...]) -> None:
    made = subprocess.run(
        [sys.executable, FORKS, *how], capture_output=True, text=True, check=True, timeout=60
    )
    number, different = made.stdout.split()
    assert int(number) == 20_000
    assert number == different


@given(st.uuids(version=4), st.text() | st.binary() | st.integers() | st.none())
def test_encoding_and_decoding_are_inverse_and_nothing_else_is_decoded(
    uuid: UUID, noise: object
) -> None:
    assert decode(encode("org", uuid), "org", "org_id") == uuid
    assert require(encode("org", uuid), "org", "org_id") == f"org_{uuid.hex}"
    with pytest.raises(InvalidIdError):
        decode(noise, "org", "org_id")


@pytest.mark.parametrize("value", NOT_ORG_IDS, ids=ascii)
def test_anything_else_is_no_id_and_the_error_names_parameter_and_value(value: Any) -> None:
    for parse in (decode, require):
        with pytest.raises(InvalidIdError) as caught:
            parse(value, "org", "org_id")
        error = caught.value
        assert (error.parameter, error.value) == ("org_id", value)
        assert str(error) == f"org_id: {value!r} is not a wire id of type 'org'"
        assert error.details == {"parameter": "org_id", "value": repr(value)}


def test_what_is_refused_is_not_kept_in_memory() -> None:
    class Text(str):
        """Text that can be watched."""

    value = Text("org_" + "x" * 1_000_000)
    watched = weakref.ref(value)
    with pytest.raises(InvalidIdError):
        decode(value, "org", "org_id")
    del value
    gc.collect()
    assert watched() is None


@pytest.mark.parametrize("type_", ["proj", "doc", "org", "usr"])
def test_an_object_is_named_in_three_forms(type_: str) -> None:
    for value in (f"{type_}_{HEX}", CANONICAL, CANONICAL.upper(), HEX):
        assert decode_object(value, type_, "object_id") == UUID(HEX)


@pytest.mark.parametrize(
    "type_, value", [("org", f"usr_{HEX}"), *(("proj", v) for v in NOT_PROJECT_IDS)], ids=ascii
)
def test_an_object_is_named_in_no_other_form(type_: str, value: Any) -> None:
    with pytest.raises(InvalidIdError, match=f"object_id: .* is not a '{type_}' wire id") as caught:
        decode_object(value, type_, "object_id")
    assert caught.value.parameter == "object_id"


def test_objects_are_written_as_their_type_is() -> None:
    assert encode_object("org", UUID(HEX)) == WIRE
    assert encode_object("proj", UUID(HEX)) == CANONICAL
