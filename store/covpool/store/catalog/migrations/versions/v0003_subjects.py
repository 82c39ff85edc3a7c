"""A name leads to a subject, which stands for one key or for several that share their names."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Every key that has names is a subject of its own."""
    subjects = op.create_table(
        "subjects",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_subjects_key", "subjects", ["key"])
    op.drop_index("ix_names_key", "names")
    # Both databases rename a column in place.
    op.execute("ALTER TABLE names RENAME COLUMN key TO subject")
    op.create_index("ix_names_subject", "names", ["subject"])
    subject = sa.column("subject", sa.String(64))
    named = sa.select(subject, subject.label("key")).select_from(sa.table("names")).distinct()
    op.get_bind().execute(sa.insert(subjects).from_select(["subject", "key"], named))
