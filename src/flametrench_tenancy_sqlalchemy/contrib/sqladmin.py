"""Tenancy in sqladmin: pages that show what there is, and actions that are the repository's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

try:
    from jinja2 import FileSystemLoader
    from markupsafe import Markup
    from sqladmin import Admin, ModelView, expose
    from sqladmin.authorization import custom_action
    from sqladmin.flash import Flash
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import URL
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import RedirectResponse, Response
except ImportError as exc:
    raise ImportError(
        "sqladmin 0.32 is missing: pip install 'flametrench-tenancy-sqlalchemy[sqladmin]'"
    ) from exc

from sqlalchemy import Select
from sqlalchemy.orm import Session

from ..clock import Clock, utc_now
from ..errors import InvalidIdError, TenancyError
from ..policy import LETTER, Policy
from ..transactions.own import rules_in_our_words
from ._admin.actions import Action, Desk, Tenancy, Visit, action_named, offered_on
from ._admin.origin import is_from_elsewhere
from ._admin.sheets import SHEETS, Entity, Sheet, label_of, link_of, related, short_text_of, text_of
from ._http import status_of

T = TypeVar("T")

ActingAs: TypeAlias = Callable[[Request], str | None]

_TEMPLATES: Final = Path(__file__).with_name("_admin") / "templates"


def add_tenancy_views(
    admin: Admin,
    *,
    acting_as: ActingAs | None = None,
    clock: Clock = utc_now,
    policy: Policy = LETTER,
) -> None:
    """Add organizations, memberships, invitations, tuples and users to an admin.

    The pages only read. What they offer to do, the repository's operations do, each in a
    transaction of its own on a Session of the admin's, synchronous or asynchronous.

    Whoever the admin lets in sees all organizations: it needs an authentication of its own.

    Args:
        admin: the application's ``sqladmin.Admin``.
        acting_as: returns, of a request, the wire id (``usr_…``) of the user as whom it acts, and
            who may do no more than `TenancyRepository.acting_as` lets them. ``None`` acts as the
            system, which asks nobody; so does everybody, if nothing is said.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """
    admin.templates.env.loader.loaders.append(FileSystemLoader(_TEMPLATES))
    desk = Desk(clock, policy)
    for sheet in SHEETS:
        attributes = {
            "sheet": sheet,
            "desk": desk,
            "acting_as": staticmethod(acting_as or _as_system),
            **_described(sheet, desk),
        }
        name = f"{sheet.model.__name__}View"
        view: Any = type(ModelView)(name, (TenancyView,), attributes, model=sheet.model)
        view.identity = sheet.type_  # which no model of the application's has by chance
        admin.add_view(view)


class TenancyView(ModelView):
    """The pages of one kind of entity, and of the actions on it."""

    # All that sqladmin itself could write, and a file for all rows of a table.
    can_create = can_edit = can_delete = can_export = False
    category = "Tenancy"
    category_icon = "fa-solid fa-building"
    column_default_sort = ("id", True)
    list_template = "tenancy/sqladmin/list.html"
    details_template = "tenancy/sqladmin/details.html"

    sheet: ClassVar[Sheet]
    desk: ClassVar[Desk]
    acting_as: ClassVar[ActingAs]

    def list_query(self, request: Request) -> Select[Any]:
        """Return what the list has, with the names that it shows."""
        return self.sheet.rows()

    def details_query(self, request: Request) -> Select[Any]:
        """Return the one entity, in the same way."""
        return self.sheet.rows().where(self.model.id == request.path_params["pk"])

    def search_query(self, stmt: Select[Any], term: str) -> Select[Any]:
        """Look for an id, or for a part of a text."""
        return stmt.where(self.sheet.matching(term))

    async def get_object_for_details(self, request: Request) -> Any:
        """Return the entity of a page; a malformed id names none."""
        try:
            return await super().get_object_for_details(request)
        except InvalidIdError:
            return None

    async def get_object_filepath(self, identifier: str, column_name: str) -> Path:
        """Refuse to take what people have written for the path of a file."""
        raise HTTPException(404)

    @expose("/act/{operation}", methods=["GET", "POST"])
    async def act(self, request: Request) -> Response:
        """Show the form of an action, or do what it says."""
        action = action_named(request.path_params["operation"], self.model)
        if action is None:
            raise HTTPException(404)
        posted = request.method == "POST"
        if not self._lets(request, action) or (posted and is_from_elsewhere(request.headers)):
            raise HTTPException(403)
        id_, given = request.query_params.get("id"), await request.form() if posted else None
        try:
            begin = partial(
                Visit.begin, action=action, target_id=id_, given=given, at=self.desk.now
            )
            visit = await self._run(request, begin)
        except TenancyError as exc:
            raise HTTPException(status_of(exc), str(exc)) from exc
        if posted and visit.form.validate():
            try:
                done = await self._run(request, visit.perform)
            except TenancyError as exc:
                visit.error = exc
            else:
                Flash.success(request, f"{visit.title}: done")
                return RedirectResponse(_page(request, done.__tablename__, done.id), 303)
        back = _page(request, self.identity, id_) if id_ else _list(request, self.identity)
        shown = {"visit": visit, "back": back}
        page: Response = await self.templates.TemplateResponse(
            request, "tenancy/sqladmin/action.html", shown, visit.status
        )
        return page

    def offers(self, request: Request, entity: Entity | None = None) -> list[tuple[Action, URL]]:
        """Return the actions on an entity, or those that need none, and where they are."""
        ids = {} if entity is None else {"id": entity.id}
        return [
            (action, self._url_of(request, action).include_query_params(**ids))
            for action in offered_on(self.model, entity)
            if self._lets(request, action)
        ]

    def leads(self, request: Request, entity: Entity) -> list[tuple[Sheet, URL]]:
        """Return the lists of what belongs to an entity, and where they are."""
        return [
            (sheet, _list(request, sheet.type_).include_query_params(search=entity.id))
            for sheet in related(entity)
        ]

    def _lets(self, request: Request, action: Action) -> bool:
        """Tell whether the admin's authorization lets a request do something."""
        allowed: bool = self.has_permission(request, custom_action(action.operation))
        return allowed

    def _url_of(self, request: Request, action: Action) -> URL:
        return request.url_for(f"admin:view-{self.identity}-act", operation=action.operation)

    async def _run(self, request: Request, work: Callable[[Tenancy], T]) -> T:
        """Run what is written once for the repository, in a transaction on a Session of its own."""
        usr_id = type(self).acting_as(request)

        def on(session: Session) -> T:
            return work(self.desk.tenancy(session, usr_id))

        def run() -> T:
            with factory() as session, rules_in_our_words(), session.begin():
                return on(session)

        factory = partial(self.session_maker, expire_on_commit=False)
        if not self.is_async:
            return await run_in_threadpool(run)
        async with factory() as session:
            with rules_in_our_words():
                async with session.begin():
                    done: T = await session.run_sync(on)
                    return done


def _as_system(request: Request) -> None:
    """Let a request act as nobody in particular."""


def _described(sheet: Sheet, desk: Desk) -> dict[str, Any]:
    """Return what sqladmin wants to know of a sheet."""
    details = [*sheet.columns, *sheet.details]
    return {
        "name": sheet.name,
        "icon": f"fa-solid fa-{sheet.icon}",
        "column_list": sheet.columns,
        "column_details_list": details,
        "column_labels": {name: label_of(name) for name in details},
        "column_formatters": dict.fromkeys(details, _short_cell),
        "column_formatters_detail": dict.fromkeys(details, _cell),
        "column_sortable_list": sheet.sortable,
        "column_searchable_list": ("id", *sheet.texts),
        "column_filters": [WordFilter(sheet, name, desk) for name in sheet.filters],
    }


class WordFilter:
    """A filter of a list by the words that an attribute may have."""

    has_operator = False
    template = "sqladmin/filters/lookup_filter.html"

    def __init__(self, sheet: Sheet, attribute: str, desk: Desk) -> None:
        self.title = label_of(attribute)
        self.parameter_name = attribute
        self._sheet = sheet
        self._desk = desk

    async def lookups(self, *_: Any) -> list[tuple[str, str]]:
        """Return the words, and how they are shown."""
        return [(word, word.capitalize()) for word in self._sheet.filters[self.parameter_name]]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Return what has the word."""
        return query.where(self._sheet.filtered(self.parameter_name, value, self._desk.now))


def _cell(entity: Entity, attribute: str, request: Request) -> Any:
    """Return an attribute as a page shows it: as a link, where it leads somewhere."""
    return _linked(entity, attribute, text_of(entity, attribute), request)


def _short_cell(entity: Entity, attribute: str, request: Request) -> Any:
    """Return the same for a list."""
    return _linked(entity, attribute, short_text_of(entity, attribute), request)


def _linked(entity: Entity, attribute: str, text: str, request: Request) -> Any:
    link = link_of(entity, attribute)
    return text if link is None else _LINK.format(_page(request, *link), text)


_LINK: Final = Markup('<a href="{}">{}</a>')


def _page(request: Request, type_: str, id_: str) -> URL:
    return request.url_for("admin:details", identity=type_, pk=id_)


def _list(request: Request, type_: str) -> URL:
    return request.url_for("admin:list", identity=type_)
