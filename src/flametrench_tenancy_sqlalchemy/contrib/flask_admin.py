"""Tenancy in Flask-Admin: pages that show what there is, and actions that are the repository's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

try:
    from flask import Blueprint, abort, flash, redirect, request, url_for
    from flask_admin import Admin, expose
    from flask_admin.model import BaseModelView
    from flask_admin.model.filters import BaseFilter
    from markupsafe import Markup
    from wtforms import Form
except ImportError as exc:
    raise ImportError(
        "Flask-Admin 2 is missing: pip install 'flametrench-tenancy-sqlalchemy[flask-admin]'"
    ) from exc

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, scoped_session

from ..clock import Clock, utc_now
from ..errors import InvalidIdError, TenancyError
from ..policy import LETTER, Policy
from ..transactions.own import rules_in_our_words
from ._admin.actions import Action, Desk, Tenancy, Visit, action_named, offered_on
from ._admin.origin import is_from_elsewhere
from ._admin.sheets import SHEETS, Entity, Sheet, label_of, link_of, related, short_text_of, text_of


def add_tenancy_views(
    admin: Admin,
    session: scoped_session[Session],
    *,
    is_accessible: Callable[[], bool],
    acting_as: Callable[[], str | None] | None = None,
    clock: Clock = utc_now,
    policy: Policy = LETTER,
) -> None:
    """Add organizations, memberships, invitations, tuples and users to an admin.

    The pages only read. What they offer to do, the repository's operations do; each is committed
    before it is answered.

    Args:
        admin: the application's ``flask_admin.Admin``.
        session: Flask-SQLAlchemy's ``db.session``, or any other ``scoped_session``.
        is_accessible: tells whether the current request is an operator's, who sees all
            organizations; anybody else gets a 403.
        acting_as: returns the wire id (``usr_…``) of the user as whom the current request acts,
            and who may do no more than `TenancyRepository.acting_as` lets them. ``None`` acts as
            the system, which asks nobody; so does everybody, if nothing is said.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """
    desk = Desk(clock, policy)
    for sheet in SHEETS:
        admin.add_view(TenancyView(sheet, session, desk, is_accessible, acting_as))


class TenancyView(BaseModelView):
    """The pages of one kind of entity, and of the actions on it.

    Flask-Admin's own views of SQLAlchemy's models can write them; this one cannot.
    """

    can_create = can_edit = can_delete = False
    can_view_details = True
    can_set_page_size = True
    column_display_actions = False
    list_template = "tenancy/flask_admin/list.html"
    details_template = "tenancy/flask_admin/details.html"

    def __init__(
        self,
        sheet: Sheet,
        session: scoped_session[Session],
        desk: Desk,
        is_accessible: Callable[[], bool],
        acting_as: Callable[[], str | None] | None,
    ) -> None:
        self.sheet = sheet
        self._session = session
        self._desk = desk
        self._is_accessible = is_accessible
        self._acting_as = acting_as
        details = [*sheet.columns, *sheet.details]
        self.column_list = sheet.columns
        self.column_details_list = details
        self.column_labels = {name: label_of(name) for name in details}
        self.column_formatters = dict.fromkeys(details, _short_cell)
        self.column_formatters_detail = dict.fromkeys(details, _cell)
        self.column_sortable_list = sheet.sortable
        self.column_filters = [WordFilter(sheet, name, desk) for name in sheet.filters]
        super().__init__(
            sheet.model,
            name=f"{sheet.name}s",
            category="Tenancy",
            endpoint=f"tenancy_{sheet.type_}",
            url=sheet.type_,
            menu_icon_type="fa",
            menu_icon_value=f"fa-{sheet.icon}",
        )

    def is_accessible(self) -> bool:
        """Tell whether the request is an operator's."""
        return self._is_accessible()

    def create_blueprint(self, admin: Admin) -> Any:
        """Return Flask-Admin's blueprint, which finds our templates, too."""
        blueprint = super().create_blueprint(admin)
        ours = Blueprint("templates", __name__, template_folder="_admin/templates")
        blueprint.register_blueprint(ours)
        return blueprint

    def _tenancy(self) -> Tenancy:
        return self._desk.tenancy(self._session, self._acting_as() if self._acting_as else None)

    # What Flask-Admin asks of whatever keeps rows

    def get_pk_value(self, model: Entity) -> str:
        """Return an entity's id."""
        return model.id

    def scaffold_list_columns(self) -> list[str]:
        """Return the attributes of the list."""
        return [*self.sheet.columns]

    def scaffold_sortable_columns(self) -> dict[str, str]:
        """Return those by which it can be sorted."""
        return {name: name for name in self.sheet.sortable}

    def scaffold_form(self) -> Any:
        """Return a form with nothing in it: there is nothing to fill in but an action's."""
        return Form

    scaffold_list_form = scaffold_form

    def init_search(self) -> bool:
        """Have a field for what to look for."""
        return True

    def search_placeholder(self) -> str:
        """Return what may be looked for."""
        return ", ".join(map(label_of, ("id", *self.sheet.texts)))

    def get_list(
        self,
        page: int | None,
        sort_field: str | None,
        sort_desc: bool,
        search: str | None,
        filters: Sequence[tuple[int, str, str]] | None,
        page_size: int | None = None,
    ) -> tuple[int, list[Entity]]:
        """Return how many entities there are, and those of one page."""
        query = self.sheet.rows()
        if search:
            query = query.where(self.sheet.matching(search))
        for index, _, word in filters or ():
            query = self.column_filters[index].apply(query, word)
        count = self._session.scalars(select(func.count()).select_from(query.subquery())).one()
        size: int = page_size or self.page_size
        listed = (
            query.order_by(*self.sheet.sorted_by(sort_field, descending=sort_desc))
            .limit(size)
            .offset(min(page or 0, count // size) * size)
        )
        return count, [*self._session.scalars(listed)]

    def get_one(self, id: str) -> Entity | None:
        """Return an entity; a malformed id names none."""
        try:
            query = self.sheet.rows().where(self.sheet.model.id == id)
            entity: Entity | None = self._session.scalar(query)
        except InvalidIdError:
            return None
        return entity

    # The actions

    @expose("/act/<operation>", methods=["GET", "POST"])
    def act(self, operation: str) -> Any:
        """Show the form of an action, or do what it says."""
        action = action_named(operation, self.model)
        if action is None:
            abort(404)
        posted = request.method == "POST"
        if posted and is_from_elsewhere(request.headers):
            abort(403)
        id_, given = request.args.get("id"), request.form if posted else None
        try:
            visit = Visit.begin(
                self._tenancy(),
                action=action,
                target_id=id_,
                given=given,
                at=self._desk.now,
            )
        except TenancyError as exc:
            flash(str(exc), "error")
            return redirect(self.get_url(".index_view"))
        if posted and visit.form.validate():
            try:
                with rules_in_our_words():
                    done = visit.perform(self._tenancy())
                    self._session.commit()
            except TenancyError as exc:
                self._session.rollback()
                visit.error = exc
            else:
                flash(f"{visit.title}: done", "success")
                return redirect(_page(done.__tablename__, done.id), 303)
        back = _page(self.sheet.type_, id_) if id_ else self.get_url(".index_view")
        return self.render("tenancy/flask_admin/action.html", visit=visit, back=back), visit.status

    def offers(self, entity: Entity | None = None) -> list[tuple[Action, str]]:
        """Return the actions on an entity, or those that need none, and where they are."""
        ids = {} if entity is None else {"id": entity.id}
        return [
            (action, self.get_url(".act", operation=action.operation, **ids))
            for action in offered_on(self.model, entity)
        ]

    def leads(self, entity: Entity) -> list[tuple[Sheet, str]]:
        """Return the lists of what belongs to an entity, and where they are."""
        return [
            (sheet, url_for(f"tenancy_{sheet.type_}.index_view", search=entity.id))
            for sheet in related(entity)
        ]


class WordFilter(BaseFilter):
    """A filter of a list by the words that an attribute may have."""

    def __init__(self, sheet: Sheet, attribute: str, desk: Desk) -> None:
        words = [(word.value, word.capitalize()) for word in sheet.filters[attribute]]
        super().__init__(label_of(attribute), options=words)
        self._sheet = sheet
        self._attribute = attribute
        self._desk = desk

    def operation(self) -> str:
        """Return how its words are compared."""
        return "is"

    def apply(self, query: Select[Any], value: str) -> Select[Any]:
        """Return what has the word."""
        return query.where(self._sheet.filtered(self._attribute, value, self._desk.now))


_LINK: Final = Markup('<a href="{}">{}</a>')


def _cell(view: TenancyView, context: object, entity: Entity, attribute: str) -> str:
    """Return an attribute as a page shows it: as a link, where it leads somewhere."""
    return _linked(entity, attribute, text_of(entity, attribute))


def _short_cell(view: TenancyView, context: object, entity: Entity, attribute: str) -> str:
    """Return the same for a list."""
    return _linked(entity, attribute, short_text_of(entity, attribute))


def _linked(entity: Entity, attribute: str, text: str) -> str:
    link = link_of(entity, attribute)
    return text if link is None else _LINK.format(_page(*link), text)


def _page(type_: str, id_: str) -> str:
    return url_for(f"tenancy_{type_}.details_view", id=id_)
