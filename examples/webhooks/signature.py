"""How a request says that it comes from us, in the way of Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

TOLERANCE = 300
"""How many seconds a request may be old, so that whoever has recorded one cannot send it again."""


def signed(secret: str, message_id: str, body: bytes, *, at: float | None = None) -> dict[str, str]:
    """Return the headers of a request."""
    timestamp = str(int(time.time() if at is None else at))
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": timestamp,
        "Webhook-Signature": f"v1,{_signature(secret, message_id, timestamp, body)}",
    }


def is_genuine(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Tell, as the receiver, whether a request has been signed with the secret, and lately."""
    message_id, timestamp = headers.get("Webhook-Id", ""), headers.get("Webhook-Timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    expected = f"v1,{_signature(secret, message_id, timestamp, body)}"
    # While a secret is exchanged for another, there is a signature for each.
    given = headers.get("Webhook-Signature", "").split()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in given)


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(secret.encode(), content, hashlib.sha256)).decode()
