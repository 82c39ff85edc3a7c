"""Tokens: access rights. Their digests are kept in the catalog's database; the text is shown only once.

A token is `covpool_<id>_<secret>` with 256 random bits, so a plain SHA-256 is a safe digest: no dictionary
helps to guess it. After a token was made, revoked or not, every request needs one: revoking the last must not
open the service.
"""

import hmac
import re
import secrets
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa
from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from covpool.service.database.tables import TABLES
from covpool.service.database.tables import tokens as _tokens
from covpool.service.errors import RequestError
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, seconds
from covpool.store.values.keys import sha256

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


_FORM = re.compile(r"covpool_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")

#: Seconds for which the table is cached: a revoked token may work for this long.
_REMEMBERED_S = 2.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret.

    Attributes:
        id: 16 hexadecimal digits, a public part of the token.
        name: name of its owner.
        scopes: rights; admin includes the others, submit includes read.
        created, revoked: times; `revoked` is None while the token is valid.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created: datetime
    revoked: datetime | None

    def allows(self, scope: Scope) -> bool:
        """Whether one of its scopes is or includes `scope`."""
        return any(SCOPES.index(held) >= SCOPES.index(scope) for held in self.scopes)


class Tokens:
    """The tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = with_tables(database, TABLES)
        self._known: dict[str, tuple[Token, str]] = {}
        self._read = float("-inf")

    def create(self, name: str, scopes: Iterable[Scope]) -> str:
        """Make a token and return its text, which is not stored.

        Raises:
            RequestError: the name holds other characters than letters, digits and ._@-, or is in use.
        """
        if _NAME.fullmatch(name) is None:
            raise RequestError(f"token name {name!r}: write up to 64 letters, digits and ._@-")
        if any(token.name == name and token.revoked is None for token in self.all()):
            raise RequestError(f"a token called {name!r} is in use; revoke it first, or choose another name")
        held = [scope for scope in SCOPES if scope in set(scopes)]
        if not held:
            raise RequestError(f"token {name!r} has no scope; give one or more of {', '.join(SCOPES)}")
        number = secrets.token_hex(8)
        text = f"covpool_{number}_{secrets.token_urlsafe(32)}"
        with self._database.writing() as connection:
            connection.execute(
                sa.insert(_tokens).values(
                    id=number,
                    name=name,
                    digest=sha256(text),
                    scopes=" ".join(held),
                    created=seconds(connection),
                )
            )
        self._read = float("-inf")
        return text

    def revoke(self, name: str) -> None:
        """Refuse the token of this name from now on.

        Raises:
            RequestError: there is none in use.
        """
        with self._database.writing() as connection:
            ended = connection.execute(
                sa.update(_tokens)
                .where(_tokens.c.name == name, _tokens.c.revoked.is_(None))
                .values(revoked=seconds(connection))
            )
            if ended.rowcount == 0:
                raise RequestError(f"no token called {name!r} is in use; see `covpool token list`")
        self._read = float("-inf")

    def all(self) -> list[Token]:
        """Every token ever made, oldest first."""
        return [token for token, _ in self._rows().values()]

    @property
    def stale(self) -> bool:
        """Whether the next look-up reads the database."""
        return time.monotonic() - self._read > _REMEMBERED_S

    @property
    def needed(self) -> bool:
        """Whether requests need a token: true after the first was made."""
        self._refresh()
        return bool(self._known)

    def find(self, text: str) -> Token | None:
        """The valid token of this text, or None; the comparison takes constant time."""
        self._refresh()
        form = _FORM.fullmatch(text)
        token, digest = self._known.get(form.group(1) if form else "", (None, "0" * 64))
        right = hmac.compare_digest(sha256(text), digest)
        return token if right and token is not None and token.revoked is None else None

    def _refresh(self) -> None:
        if self.stale:
            self._known = self._rows()
            self._read = time.monotonic()

    def _rows(self) -> dict[str, tuple[Token, str]]:
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(_tokens).order_by(_tokens.c.created, _tokens.c.id)).all()
        return {row.id: (_token(row), row.digest) for row in rows}


def allow(scope: Scope) -> Any:
    """A route's dependency: refuses a token without this scope; the auth middleware requires the token."""

    def check(request: Request) -> None:
        require(request, scope)

    return Depends(check)


def require(request: Request, scope: Scope, why: str = "") -> None:
    """Refuse a request whose token lacks this scope; `why` explains the need where the route does not.

    Raises:
        HTTPException: 403.
    """
    token: Token | None = request.scope.get("covpool.token")
    if token is not None and not token.allows(scope):
        raise HTTPException(
            403, f"{why}token {token.name!r} lacks the scope {scope!r}; ask the operator for one that has it"
        )


def _token(row: Any) -> Token:
    scopes: Collection[Scope] = row.scopes.split()
    ended = None if row.revoked is None else datetime.fromtimestamp(row.revoked, UTC)
    created = datetime.fromtimestamp(row.created, UTC)
    return Token(row.id, row.name, frozenset(scopes), created, ended)
