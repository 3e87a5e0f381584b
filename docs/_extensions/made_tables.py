"""Tables that are made from the code: the errors, and the tables of the database."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, Final, NamedTuple

from docutils import nodes
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sqlalchemy import Table, UniqueConstraint
from sqlalchemy.dialects import postgresql

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import Base, PreconditionError, Reason, TenancyError
from flametrench_tenancy_sqlalchemy.contrib._http import code_of, status_of

_DIALECT: Final = postgresql.dialect()

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """An error as its table has it."""

    code: str
    over_http: str
    name: str
    status: int
    when: str


def rows(absent: list[str]) -> Iterator[Row]:
    """Yield every error that the package raises, a precondition for each of its reasons.

    Args:
        absent: the packages that some of its modules need, and that are not installed.
    """
    with mock(absent):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if ".alembic" not in module.name and not module.name.endswith("__main__"):
                import_module(module.name)
    told = ModuleAnalyzer.for_module(Reason.__module__).find_attr_docs()
    errors = list(_descendants(TenancyError))
    for error in errors:
        if isinstance(vars(error).get("code"), str):
            exc = error.__new__(error)
            when = (inspect.getdoc(error) or "").partition("\n\n")[0]
            yield Row(exc.code, code_of(exc), error.__name__, status_of(exc), when)
    named = {"".join(f"_{c}" if c.isupper() else c for c in e.__name__).lower(): e for e in errors}
    for reason in Reason:
        error = named.get(f"_{reason}_error", PreconditionError)
        exc = error.__new__(error)
        exc.reason = reason
        when = " ".join(told["Reason", reason.name])
        yield Row(exc.code, code_of(exc), error.__name__, status_of(exc), when.strip())


def _descendants(error: type[TenancyError]) -> Iterator[type[TenancyError]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


class Errors(SphinxDirective):
    """A table of all errors; its content says of each code, on a line, how to mend it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table, in which each error can be linked to."""
        mending = dict(line.split(": ", 1) for line in self.content if line)
        errors = list(rows(self.config.autodoc_mock_imports))
        for code in mending.keys() ^ {row.code for row in errors}:
            logger.warning(
                "%s: no such error, or not said how to mend it", code, location=self.get_location()
            )
        text = ["| code, error | HTTP | when, and *what to do* |", "| --- | --- | --- |"]
        for row in errors:
            also = f", over HTTP `{row.over_http}`" if row.over_http != row.code else ""
            when = " ".join(row.when.replace("``", "`").split())
            mend = mending.get(row.code, "")
            text.append(
                f"| `{row.code}`{also} {_named(row.name)} | {row.status} | {when} *{mend}* |"
            )
        made = self.parse_text_to_nodes("\n".join(text))
        [table] = [table for node in made for table in node.findall(nodes.table)]
        table["classes"].append("errors")
        [body] = table.findall(nodes.tbody)
        for row, line in zip(errors, body, strict=True):
            line["ids"] += [
                code.replace(".", "-") for code in dict.fromkeys((row.code, row.over_http))
            ]
        return made


def _named(name: str) -> str:
    public = f"{package.__name__}.{name}"
    return f"{{py:exc}}`~{public}`" if hasattr(package, name) else f"`{name}`"


def _unique(table: Table) -> Iterator[str]:
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield ", ".join(f"`{column.name}`" for column in constraint.columns)
    for index in table.indexes:
        if index.unique:
            where = index.dialect_options["postgresql"]["where"]
            some = "" if where is None else f" where `{where}`"
            yield ", ".join(f"`{column.name}`" for column in index.columns) + some


class Tables(SphinxDirective):
    """The columns and indexes of every table."""

    def run(self) -> list[nodes.Node]:
        """Return a table for each table."""
        text: list[str] = []
        classes = {mapper.local_table: mapper.class_.__name__ for mapper in Base.registry.mappers}
        for table in Base.metadata.sorted_tables:
            text += [f"`{table.name}`, the table of `{classes[table]}`:", ""]
            text += ["| column | type | null | refers to |", "| --- | --- | --- | --- |"]
            for column in table.columns:
                refers = ", ".join(f"`{key.target_fullname}`" for key in column.foreign_keys)
                kind = column.type.compile(dialect=_DIALECT).lower()
                null = "yes" if column.nullable else ""
                text.append(f"| `{column.name}` | {kind} | {null} | {refers} |")
            text += [""]
            text += [f"Unique: {what}." for what in sorted(_unique(table))]
            text += [""]
        return self.parse_text_to_nodes("\n".join(text))


def setup(app: Any) -> dict[str, bool]:
    """Teach the pages their directives."""
    app.add_directive("errors", Errors)
    app.add_directive("tables", Tables)
    return {"parallel_read_safe": True}
