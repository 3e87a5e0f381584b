"""Runs the application's revisions and those of tenancy side by side."""

from alembic import context
from models import Base
from sqlalchemy import create_engine

from flametrench_tenancy_sqlalchemy.migrations import (
    include_object,
    process_revision_directives,
    render_item,
)

with create_engine(context.config.get_main_option("sqlalchemy.url", "")).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
        process_revision_directives=process_revision_directives,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()
