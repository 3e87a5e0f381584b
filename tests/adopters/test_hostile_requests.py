"""Many hostile requests at once, to a process of its own, whose memory is accounted for."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from flametrench_tenancy_sqlalchemy import Limits, new_id
from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
MEGABYTE: Final = 1024
APPLICATION: Final = """
import sys
import uvicorn
from fastapi import FastAPI
from sqlalchemy import create_engine
from flametrench_tenancy_sqlalchemy.contrib.fastapi import tenancy_router
from tests.support.web import get_caller, operator_only, sessions

app, nowhere = FastAPI(), create_engine("postgresql+psycopg://127.0.0.1:1/nowhere")
app.include_router(
    tenancy_router(session=sessions(nowhere), caller=get_caller, gate=operator_only)
)
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")
"""


def offer(rows: bytes, count: int) -> bytes:
    listed = b",".join([rows] * count)
    return b'{"identifier": "a", "role": "guest", "expires_at": 1, "pre_tuples": [%s]}' % listed


# Of the greatest length, with the most values, and endless.
BODIES: Final[list[tuple[bytes, set[int | None]]]] = [
    (offer(b"{}", (Limits().body - 100) // 3), {413}),
    (offer(b"{}", 1000), {422}),
    (b" " * 50_000_000, {413, None}),  # uvicorn may close while the client is still sending
]


async def answer(client: httpx.AsyncClient, path: str, content: bytes) -> int | None:
    headers = {"X-User": new_id("usr"), "Content-Type": "application/json"}
    try:
        return (await client.post(path, content=content, headers=headers)).status_code
    except httpx.TransportError:
        return None


async def attack(address: str) -> None:
    path = f"/orgs/{new_id('org')}/invitations"
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while await answer(client, path, b"") != 422:
            await asyncio.sleep(0.05)  # until it listens
        attacks = [(answer(client, path, body), expected) for body, expected in BODIES * 17]
        answers = await asyncio.gather(*(sent for sent, _ in attacks))
    for status, (_, expected) in zip(answers, attacks, strict=True):
        assert status in expected


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else has /proc")
def test_fifty_hostile_requests_at_once_take_little_memory() -> None:
    port = free_port()
    command = [sys.executable, "-c", APPLICATION, str(port)]
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    }  # installed or not
    with subprocess.Popen(command, env=environment) as process:
        try:
            asyncio.run(attack(f"http://127.0.0.1:{port}"))
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.kill()
    [peak] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert int(peak) < 300 * MEGABYTE
