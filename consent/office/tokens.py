"""The office's tokens: shown once, kept as hashes, for a role and some sites, until a day."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from consent.errors import ConfigurationError
from consent.office.asker import Asker, sites_of
from consent.office.database import OfficeDatabase
from consent.office.roles import Role

MAX_DAYS: Final = 400
"""The longest life of a token."""
_DAY_MS: Final = 86_400_000
_SECRET = re.compile(r"cot_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,80}")


@dataclass(frozen=True, slots=True)
class Token(Asker):
    """Who asks with a token, without its secret."""

    made_ms: int
    revoked_ms: int | None = None

    def is_valid(self, now_ms: int) -> bool:
        """Tell whether it is neither past its time nor revoked."""
        return now_ms < self.expires_ms and self.revoked_ms is None


class TokenBook:
    """Makes tokens, and knows them again. Blocks; safe to share between threads.

    Args:
        database: where they are kept.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: OfficeDatabase, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def make(self, name: str, role: Role, *, sites: Sequence[str] = (), days: int) -> tuple[str, Token]:
        """Make a token; return its secret, which is kept nowhere, and the token.

        Raises:
            ConfigurationError: a name, a site or the number of days is none.
            StoreUnavailable: it cannot be kept.
        """
        for text in (name, *sites):
            if _NAME.fullmatch(text) is None:
                raise ConfigurationError(f"{text!r:.80} is no name: 1 to 80 characters in one line")
        if not 1 <= days <= MAX_DAYS:
            raise ConfigurationError(f"a token lives 1 to {MAX_DAYS} days, not {days}")
        now = self._now()
        expires = now + days * _DAY_MS
        token = Token(secrets.token_hex(6), name, role, tuple(sorted(set(sites))), expires, now)
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (token.id, name, _hash(secret), str(role), "\n".join(token.sites), now, token.expires_ms),
            )
        return f"cot_{token.id}_{secret}", token

    def find(self, presented: str) -> Token | None:
        """Return the token with this secret, if it is valid."""
        parts = _SECRET.fullmatch(presented)
        found = self._row(parts[1] if parts else "")
        # The same work whether there is such a token or not.
        right = hmac.compare_digest(
            _hash(parts[2] if parts else presented[:100]), found[0] if found else bytes(32)
        )
        return found[1] if found and right and found[1].is_valid(self._now()) else None

    def get(self, token_id: str) -> Token | None:
        """Return the token with this id, if it is valid."""
        found = self._row(token_id)
        return found[1] if found and found[1].is_valid(self._now()) else None

    def all(self) -> Sequence[Token]:
        """Return all that were ever made, the newest first."""
        with self._database.reading() as connection:
            statement = f"SELECT {_COLUMNS} FROM token ORDER BY made_ms DESC, rowid DESC"  # noqa: S608 - ours
            rows = connection.execute(statement).fetchall()
        return [_token(row[1:]) for row in rows]

    def revoke(self, token_id: str) -> bool:
        """Let a token be good for nothing from now on; tell whether it was before."""
        with self._database.writing() as connection:
            statement = "UPDATE token SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL"
            return connection.execute(statement, (self._now(), token_id)).rowcount == 1

    def end_session(self, session_id: str, *, until_s: int) -> bool:
        """Remember that a session is over, as long as it would have lasted; tell whether it was not before.

        Args:
            session_id: of somebody who signs out, or of a sign-in that is finished.
            until_s: when nobody would believe it any more, in seconds since 1970.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM ended_session WHERE until_s < ?", (int(self._clock()),))
            statement = "INSERT OR IGNORE INTO ended_session VALUES (?, ?)"
            return connection.execute(statement, (session_id, until_s)).rowcount == 1

    def has_ended(self, session_id: str) -> bool:
        """Tell whether a session is over before its time."""
        with self._database.reading() as connection:
            statement = "SELECT 1 FROM ended_session WHERE id = ?"
            return connection.execute(statement, (session_id,)).fetchone() is not None

    def _row(self, token_id: str) -> tuple[bytes, Token] | None:
        with self._database.reading() as connection:
            statement = f"SELECT {_COLUMNS} FROM token WHERE id = ?"  # noqa: S608 - ours
            row = connection.execute(statement, (token_id,)).fetchone()
        return None if row is None else (row[0], _token(row[1:]))

    def _now(self) -> int:
        return int(self._clock() * 1_000)


_COLUMNS: Final = "hash, id, name, role, sites, made_ms, expires_ms, revoked_ms"


def _token(row: Sequence[Any]) -> Token:
    token_id, name, role, sites, made, expires, revoked = row
    return Token(token_id, name, Role(role), sites_of(sites), expires, made, revoked)


def _hash(secret: str) -> bytes:
    # 256 random bits need no slow hash.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
