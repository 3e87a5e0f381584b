"""The documentation, built by `make docs` without a network."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))
PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
author = "The contributors"
copyright = author  # noqa: A001  (Sphinx gives the name)
release = version = PROJECT["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "made_tables",
    "complete",
    "shorthand",
]
exclude_patterns = ["_*"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# In a docstring, `Name` is a name of ours.
default_role = "py:obj"
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

autodoc_default_options = {"members": True}
# Packages that have an environment of their own.
autodoc_mock_imports = ["factory", "flask_admin", "sqladmin", "wtforms"]
autodoc_class_signature = "mixed"
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Names of other packages, which are written as they are: looking them up would need a network.
nitpick_ignore_regex = [
    ("py:.*", rf"({package})(\..*)?")
    for package in (
        "alembic",
        "asyncio",
        "collections",
        "contextlib",
        "datetime",
        "enum",
        "fastapi",
        "flametrench_audit",
        "flametrench_ids",
        "flask",
        "flask_admin",
        "opentelemetry",
        "pathlib",
        "psycopg",
        "pydantic",
        "pytest",
        "sqladmin",
        "sqlalchemy",
        "starlette",
        "typing",
        "uuid",
    )
]
# What only annotations name.
PACKAGE = "flametrench_tenancy_sqlalchemy"
nitpick_ignore_regex += [
    ("py:class", r"(.*\.)?(Actor|AsyncEngine|Clock|PendingInvitations|Session|TupleKey|Unset)"),
    ("py:class", r"(.*\.)?(View|Door)"),
    ("py:class", rf"{PACKAGE}\..*\.(Acting|[A-Z])"),  # type variables
    ("py:(class|exc|obj)", "(CommandError|ConfigDict|InvalidRequestError|dict\\[str|timedelta)"),
]

pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = "flametrench-tenancy-sqlalchemy"
html_baseurl = PROJECT["urls"]["Documentation"]
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False
html_theme_options = {
    "source_repository": PROJECT["urls"]["Repository"],
    "source_branch": "main",
    "source_directory": "docs/",
}
