"""Tells organizations' endpoints, and invited people by mail, what has happened.

It may be killed at any point. It works in two steps. First it takes events from the audit log and
writes down, in the same transaction, what has to go out: each once. Then it sends what is due: at
least once, since whoever is killed between sending and writing that down sends again. No
transaction is open while it sends, or it would hold back all that follow the log.

``flametrench-tenancy migrate upgrade --branch audit`` makes the log, the application's migrations
the tables in ``models.py``; then ``python worker.py`` works, with ``DATABASE_URL`` and
``MAIL_SERVER`` (``localhost:25``) in the environment. Start as many as you like.
"""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import TypeVar

from models import Delivery, Endpoint, Mail
from signature import signed
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import AuditLog, Invitation

BATCH = 100
TIMEOUT = 10
LEASE = timedelta(seconds=float(os.environ.get("LEASE", "60")))
"""When another worker may try what this one has taken; longer than an attempt may last."""
WAITS = [timedelta(seconds=5 * 4**n) for n in range(8)]
"""How long to wait after each attempt that failed: from five seconds to a day."""
IDLE = 0.2

Out = TypeVar("Out", Delivery, Mail)


def take(session: Session) -> int:
    """Write down what has to go out because of the events that have come; each is taken once."""
    events = AuditLog(session).follow("webhooks", limit=BATCH)
    orgs = {event.scope_id for event in events if event.scope_kind == "org"}
    endpoints = session.scalars(select(Endpoint).where(Endpoint.org_id.in_(orgs))).all()
    for event in events:
        session.add_all(
            Delivery(endpoint=endpoint, event_id=event.id, body=event.document())
            for endpoint in endpoints
            if endpoint.org_id == event.scope_id
        )
        if event.action == "tenancy.invitation_created":
            invitation = session.get(Invitation, event.target_id)
            if invitation is not None:
                subject = "You are invited"
                session.add(
                    Mail(event_id=event.id, recipient=invitation.identifier, subject=subject)
                )
    return len(events)


def send_next(
    sessions: sessionmaker[Session], kind: type[Out], send: Callable[[Out], None]
) -> bool:
    """Send what is due next, if there is anything."""
    with sessions.begin() as session:
        due = select(kind).where(kind.due_at <= func.now()).order_by(kind.due_at).limit(1)
        out = session.scalars(due.with_for_update(skip_locked=True, of=kind)).first()
        if out is None:
            return False
        out.attempts += 1
        out.due_at = session.scalars(select(func.now() + LEASE)).one()
    try:
        send(out)
    except (OSError, http.client.HTTPException) as exc:  # which smtplib raises, too
        wait = WAITS[out.attempts - 1] if out.attempts <= len(WAITS) else None
        outcome = {"error": str(exc), "due_at": None if wait is None else func.now() + wait}
    else:
        outcome = {"error": None, "due_at": None, "sent_at": func.now()}
    with sessions.begin() as session:
        session.execute(update(kind).where(kind.id == out.id).values(outcome))
    return True


def post(delivery: Delivery) -> None:
    """Send an event to an endpoint, which knows by the event's id what it has had already."""
    body = json.dumps(delivery.body).encode()
    headers = signed(delivery.endpoint.secret, delivery.event_id, body)
    request = urllib.request.Request(  # noqa: S310 - an endpoint's URL is checked when it is stored
        delivery.endpoint.url, body, {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310 - as above
        pass


def mail(out: Mail) -> None:
    """Send a mail, whose id is always the same, so that mail servers may know it again."""
    message = EmailMessage()
    message["Message-ID"] = f"<{out.event_id}@example.com>"
    message["From"], message["To"] = "tenancy@example.com", out.recipient
    message["Subject"] = out.subject
    message.set_content("Somebody would like you to join their organization.")
    host, _, port = os.environ.get("MAIL_SERVER", "localhost:25").partition(":")
    with smtplib.SMTP(host, int(port), timeout=TIMEOUT) as server:
        server.send_message(message)


def main() -> None:
    """Work until the process ends."""
    engine = create_engine(os.environ["DATABASE_URL"])
    sessions = sessionmaker(engine, expire_on_commit=False)
    while True:
        with sessions.begin() as session:
            taken = take(session)
        sent = [send_next(sessions, Delivery, post), send_next(sessions, Mail, mail)]
        if not taken and not any(sent):
            time.sleep(IDLE)


if __name__ == "__main__":
    main()
