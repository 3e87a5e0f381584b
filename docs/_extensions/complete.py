"""Every public name has a docstring, its place in the reference, and links that find it there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

from docutils.nodes import Element, literal, reference, title
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

PACKAGE: Final = "flametrench_tenancy_sqlalchemy"
# What may be imported, most wanted first: of a name in several, links lead to the first.
MODULES: Final = [
    PACKAGE,
    f"{PACKAGE}.aio",
    f"{PACKAGE}.audit",
    f"{PACKAGE}.users",
    f"{PACKAGE}.migrations",
    f"{PACKAGE}.doctor",
    f"{PACKAGE}.contrib.fastapi",
    f"{PACKAGE}.contrib.flask",
    f"{PACKAGE}.testing.factories",
]

logger = logging.getLogger(__name__)


def public_names() -> Iterator[tuple[str, object]]:
    """Yield all that may be imported, under its full name."""
    for place in MODULES:
        module = import_module(place)
        defined = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == place
        ]
        for name in getattr(module, "__all__", defined):
            yield f"{place}.{name}", getattr(module, name)


def without_docstring(name: str, value: object) -> Iterator[str]:
    """Yield a class or function, or what is called of a class, that does not say what it is."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    if not inspect.getdoc(value):
        yield name
    if inspect.isclass(value):
        for member, attribute in inspect.getmembers(value):
            ours = str(getattr(attribute, "__module__", "")).startswith(PACKAGE)
            if (
                ours
                and inspect.isroutine(attribute)
                and not member.startswith("_")
                and not inspect.getdoc(attribute)
            ):
                yield f"{name}.{member}"


def require_all(app: Any, env: Any) -> None:
    """Warn of public names that lack a docstring, or that no page of the reference has."""
    documented = env.get_domain("py").objects
    # Some are public in two modules, and on one page.
    found = {id(value) for name, value in public_names() if name in documented}
    for name, value in public_names():
        if id(value) not in found:
            logger.warning("%s is public, and on no page of the reference", name)
        for lacking in without_docstring(name, value):
            logger.warning("%s has no docstring", lacking)


def find(app: Any, env: Any, node: Element, contents: Element) -> Element | None:
    """Find a public name that is written shortly, or with the module in which it is defined."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    objects = env.get_domain("py").objects
    inside = target.startswith(f"{PACKAGE}.")
    if "." in target and not inside and not target[0].isupper():
        return None  # another package's
    parts = target.split(".")
    tails = [".".join(parts[-2:]), parts[-1]] if len(parts) > 1 else parts
    here = node.get("py:class")
    holders = [*MODULES, here, f"{PACKAGE}.{here}", f"{PACKAGE}.TenancyRepository"]
    for tail in tails:
        for holder in holders:
            found = objects.get(f"{holder}.{tail}")
            if found is not None:
                return make_refnode(
                    app.builder, node["refdoc"], found.docname, found.node_id, contents, target
                )
    return None


def link_names(app: Any, page: Element, docname: str) -> None:
    """Lead from a name of ours, wherever a page says it, to its place in the reference."""
    objects = app.env.get_domain("py").objects
    for said in list(page.findall(literal)):
        name = said.astext()
        found = objects.get(f"{PACKAGE}.{name}") or objects.get(
            f"{PACKAGE}.TenancyRepository.{name}"
        )
        inside = {type(parent) for parent in _ancestors(said)}
        if found is None or found.docname == docname or inside & {reference, title}:
            continue
        link = make_refnode(app.builder, docname, found.docname, found.node_id, said.deepcopy())
        said.replace_self(link)


def _ancestors(node: Element) -> Iterator[Element]:
    while node.parent is not None:
        node = node.parent
        yield node


def setup(app: Any) -> dict[str, bool]:
    """Listen while the reference is made."""
    app.connect("env-check-consistency", require_all)
    app.connect("missing-reference", find)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True}
