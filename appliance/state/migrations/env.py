"""Run by Alembic. The connection comes from `appliance.state.migration`, which also holds the transaction."""

from __future__ import annotations

from alembic import context

from appliance.state.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
