"""Listing: what a store holds, as an Arrow table."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from covpool.store.catalog.tables import entries, equal, names, namespaces, subjects
from covpool.store.database.database import Database
from covpool.store.errors import CatalogError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 50_000

_TEXT = ("key", "sequence", "state", "model", "layer", "selection", "dtype", "codec", "recipe", "namespace")


def list_entries(
    database: Database, *, assembly: str | None, since: datetime | None, **wanted: str | None
) -> "pa.Table":
    """The entries of a catalog as a table; see `Store.table`, also for the errors.

    Args:
        database: of the catalog.
        assembly, since: see there.
        wanted: by column, the value that an entry must have; None is no condition.
    """
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.string()) for name in _TEXT]
        + [(name, pa.int64()) for name in ("width", "length", "count")]
        + [("error", pa.float64()), ("created", pa.timestamp("us", tz="UTC"))]
    )
    columns = {name: entries.c[name] if name in entries.c else namespaces.c[name] for name in schema.names}
    query = sa.select(*columns.values()).join(namespaces, entries.c.namespace == namespaces.c.id)
    query = query.where(*equal({columns[name]: wanted[name] for name in wanted})).order_by(entries.c.key)
    if assembly is not None:
        named = sa.select(subjects.c.key).join(names, names.c.subject == subjects.c.subject)
        query = query.where(entries.c.key.in_(named.where(names.c.assembly == assembly)))
    if since is not None:
        moment = since.replace(tzinfo=UTC) if since.tzinfo is None else since.astimezone(UTC)
        query = query.where(entries.c.created >= moment)
    try:
        with database.reading() as connection:
            # SQLite keeps no time zone: Arrow takes such times as UTC.
            batches = [
                pa.RecordBatch.from_arrays(list(zip(*rows, strict=True)), schema=schema)
                for rows in connection.execute(query).partitions(_BATCH)
            ]
        return pa.Table.from_batches(batches, schema)
    except (ValueError, TypeError) as error:
        # Arrow's own errors among them. SQLite keeps a text also where a number belongs.
        raise CatalogError(
            f"database {database.name}: holds values that are none of a catalog ({error}); restore a backup, "
            "or make it anew: covpool store rebuild"
        ) from error
