"""Claims: the statements by which workers take tasks, built once so that their compiled text is reused."""

from typing import NamedTuple

import sqlalchemy as sa

from covpool.service.queue.tables import CLAIM_ORDER, tasks

_TAKE = sa.update(tasks).values(
    state="running",
    worker=sa.bindparam("by"),
    lease_until=sa.bindparam("until"),
    attempts=tasks.c.attempts + 1,
    tokens_done=0,
)
TAKE_ALL = _TAKE.where(tasks.c.key.in_(sa.bindparam("keys", expanding=True)))


class Claim(NamedTuple):
    """Statements of a claim: find any free task, take the first, select the first, select others like it."""

    any: "sa.Select[tuple[str]]"
    take_first: "sa.sql.dml.ReturningUpdate[tuple[object, ...]]"
    first: "sa.Select[tuple[object, ...]]"
    mates: "sa.Select[tuple[object, ...]]"

    @classmethod
    def of(cls, free: "sa.ColumnElement[bool]") -> "Claim":
        """The statements over the tasks for which `free` holds."""
        in_order = sa.select(tasks).where(free).order_by(*CLAIM_ORDER)
        mates = in_order.where(
            tasks.c.recipe_digest == sa.bindparam("recipe"),
            tasks.c.attempts == 0,
            tasks.c.key != sa.bindparam("first"),
            tasks.c.cost <= sa.bindparam("left"),
        ).limit(sa.bindparam("most"))
        first = in_order.limit(1).with_for_update(skip_locked=True)
        return cls(
            sa.select(tasks.c.key).where(free).limit(1),
            _TAKE.where(tasks.c.key == first.with_only_columns(tasks.c.key).scalar_subquery()).returning(
                *tasks.c
            ),
            first,
            mates.with_for_update(skip_locked=True),
        )


_QUEUED = tasks.c.state == "queued"
# Fits run no model.
_OF_WEIGHTS = sa.or_(tasks.c.weights.in_(sa.bindparam("runnable", expanding=True)), tasks.c.weights == "")
#: Of any weights, and of some only.
CLAIMS = (Claim.of(_QUEUED), Claim.of(sa.and_(_QUEUED, _OF_WEIGHTS)))
