"""The forms of actions: a field for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

from wtforms import DateTimeLocalField, Form, SelectField, StringField
from wtforms.validators import InputRequired, Optional

from ...values import Role

IN_NAME_OF: Final = frozenset({"admin_usr_id", "creator", "invited_by"})
"""The parameters that say who acts, which is the operator's user, if they have one."""

_REQUIRED: Final = [InputRequired()]
_TRIMMED: Final = [lambda value: value.strip() if value else value]
_MOMENTS: Final = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_ROLES: Final = [(role.value, role.value) for role in Role]

_USER: Final = "The user's id (usr_…)"
_IDENTIFIER: Final = "How the invitee is known, such as an e-mail address"

_FIELDS: Final[dict[str, Callable[[], Any]]] = {
    "creator": partial(StringField, "Owner", _REQUIRED, _TRIMMED, _USER),
    "expires_at": partial(DateTimeLocalField, "Open until (UTC)", _REQUIRED, format=_MOMENTS),
    "identifier": partial(StringField, "Identifier", _REQUIRED, _TRIMMED, _IDENTIFIER),
    "name": partial(StringField, "Name", [Optional()]),
    "new_role": partial(SelectField, "New role", _REQUIRED, choices=_ROLES),
    "role": partial(SelectField, "Role", _REQUIRED, choices=_ROLES),
    "slug": partial(StringField, "Slug", [Optional()], _TRIMMED),
    "usr_id": partial(StringField, "User", _REQUIRED, _TRIMMED, _USER),
}


def form_of(parameters: Collection[str], administrators: Sequence[tuple[str, str]]) -> type[Form]:
    """Return the form that asks for some parameters, in their order.

    Args:
        parameters: their names.
        administrators: the users in whose name an organization's things may be done, by wire id,
            and what they are called.
    """
    in_name_of = partial(SelectField, "In the name of", _REQUIRED, choices=administrators)
    fields: dict[str, Callable[[], Any]] = {
        **_FIELDS,
        "admin_usr_id": in_name_of,
        "invited_by": in_name_of,
    }
    # They are shown in the order in which they are made.
    return type("ActionForm", (Form,), {name: fields[name]() for name in parameters})
