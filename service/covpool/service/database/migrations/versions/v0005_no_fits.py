"""Fits are tasks of the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Drop their table, unless it holds some: then the queue's revision 0006 takes them over and drops it."""
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("fits"):
        return
    fits = sa.Table("fits", sa.MetaData(), autoload_with=connection)
    if connection.execute(sa.select(fits.c.name).limit(1)).first() is None:
        op.drop_table("fits")
