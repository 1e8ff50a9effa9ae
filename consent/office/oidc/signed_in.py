"""Who is signed in through the provider. Kept in the office's database, as long as the session lasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from consent.office.asker import Asker, sites_of
from consent.office.database import OfficeDatabase
from consent.office.oidc.id_token import session_end
from consent.office.oidc.proven import name_of
from consent.office.oidc.settings import Grant, OidcSettings
from consent.office.roles import Role

PREFIX: Final = "sso-"
"""What the id of somebody who signed in through a provider begins with."""
MAX_NAME: Final = 80
_REMEMBERED_MS: Final = 600_000
"""How long it is remembered that a session has ended at the provider: no sign-in is on its way longer than that."""


class EndedMeanwhile(Exception):
    """The session at the provider has ended while somebody was signed in."""


@dataclass(frozen=True, slots=True)
class SignedIn(Asker):
    """Somebody whom the provider knows."""

    issuer: str
    subject: str

    @property
    def label(self) -> str:
        """How the log of accesses names them: names change, the subject at the issuer stays."""
        return f"{self.name} ({self.subject} at {self.issuer})"


class SignedInBook:
    """Keeps who is signed in. Blocks; safe to share between threads.

    Args:
        database: where.
        settings: what sessions have to go with; ``None``: nobody is signed in through a provider any more.
        clock: returns seconds since 1970.
    """

    def __init__(
        self, database: OfficeDatabase, settings: OidcSettings | None, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    def begin(
        self, session: str, claims: Mapping[str, Any], grant: Grant, settings: OidcSettings, *, asked_ms: int
    ) -> SignedIn:
        """Keep that somebody is signed in.

        Args:
            session: its id.
            claims: verified.
            grant: what they may do.
            settings: of the provider.
            asked_ms: when the provider was asked who it is, milliseconds since 1970.

        Raises:
            EndedMeanwhile: it has told since that the session is over.
        """
        now = self._now()
        asker = SignedIn(
            id=person_id(settings.issuer, claims["sub"]),
            name=_name(claims, settings.name_claim),
            role=grant.role,
            sites=grant.sites,
            expires_ms=int(session_end(claims, settings, self._clock()) * 1_000),
            issuer=settings.issuer,
            subject=claims["sub"],
        )
        sid = name_of(claims, "sid") or ""
        row = (
            session, asker.id, asker.issuer, asker.subject, asker.name, str(asker.role), "\n".join(asker.sites),
            settings.fingerprint, asker.expires_ms, sid,
        )  # fmt: skip
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sign_in WHERE expires_ms <= ?", (now,))
            known = {
                "issuer": asker.issuer, "asked": asked_ms, "now": now, "subject": asker.subject, "sid": sid,
            }  # fmt: skip
            if connection.execute(_HAS_ENDED, known).fetchone() is not None:
                raise EndedMeanwhile
            connection.execute("INSERT INTO sign_in VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return asker

    def get(self, session: str) -> SignedIn | None:
        """Return who is signed in; ``None``: nobody any more."""
        if self._settings is None:
            return None
        with self._database.reading() as connection:
            statement = (
                f"SELECT {_COLUMNS} FROM sign_in WHERE session = ? AND settings = ? AND expires_ms > ?"  # noqa: S608
            )
            row = connection.execute(statement, (session, self._settings.fingerprint, self._now())).fetchone()
        return None if row is None else _signed_in(row)

    def all(self) -> Sequence[SignedIn]:
        """Return who is signed in now, the session that lasts longest first."""
        with self._database.reading() as connection:
            statement = (
                f"SELECT {_COLUMNS} FROM sign_in WHERE expires_ms > ? ORDER BY expires_ms DESC, session"  # noqa: S608
            )
            return [_signed_in(row) for row in connection.execute(statement, (self._now(),))]

    def end(self, session: str) -> None:
        """Forget one session."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sign_in WHERE session = ?", (session,))

    def end_at(self, issuer: str, *, subject: str | None, session: str | None) -> Sequence[SignedIn]:
        """Forget sessions that have ended at a provider; return whose they were. What is on its way does not begin.

        Args:
            issuer: the provider.
            subject: whose; ``None``: it names the session alone.
            session: what the provider calls it; ``None``: all of the subject's. Of sessions of the subject that it gave
                no name, nobody knows that they are others.
        """
        now = self._now()
        names, values = ["issuer = ?", "expires_ms > ?"], [issuer, now]
        if subject is not None:
            names.append("subject = ?")
            values.append(subject)
        if session is not None:
            names.append("sid = ?" if subject is None else "sid IN (?, '')")
            values.append(session)
        with self._database.writing() as connection:
            # What is from later than now is from before the clock was set back.
            connection.execute(
                "DELETE FROM ended_at_provider WHERE ended_ms <= ? OR ended_ms > ?",
                (now - _REMEMBERED_MS, now),
            )
            connection.execute(
                "INSERT INTO ended_at_provider VALUES (?, ?, ?, ?)", (issuer, subject, session, now)
            )
            statement = f"DELETE FROM sign_in WHERE {' AND '.join(names)} RETURNING {_COLUMNS}"  # noqa: S608 - ours
            return [_signed_in(row) for row in connection.execute(statement, values).fetchall()]

    def end_all(self, person: str) -> int:
        """Forget all sessions of somebody; return how many there were."""
        with self._database.writing() as connection:
            statement = "DELETE FROM sign_in WHERE person = ? AND expires_ms > ?"
            return connection.execute(statement, (person, self._now())).rowcount

    def _now(self) -> int:
        return int(self._clock() * 1_000)


# The same as SignedInBook.end_at ends.
_HAS_ENDED: Final = (
    "SELECT 1 FROM ended_at_provider WHERE issuer = :issuer AND ended_ms > :asked AND ended_ms <= :now"
    " AND (subject IS NULL OR subject = :subject)"
    " AND (sid IS NULL OR sid = :sid OR (subject IS NOT NULL AND :sid = '')) LIMIT 1"
)
_COLUMNS: Final = "person, name, role, sites, expires_ms, issuer, subject"


def _signed_in(row: Sequence[Any]) -> SignedIn:
    person, name, role, sites, expires, issuer, subject = row
    return SignedIn(person, name, Role(role), sites_of(sites), expires, issuer, subject)


def person_id(issuer: str, subject: str) -> str:
    """Return what somebody's calls are counted by, whatever they are called."""
    both = f"{issuer}\n{subject}".encode("utf-8", "surrogatepass")
    return f"{PREFIX}{sha256(both).hexdigest()[:12]}"


def _name(claims: Mapping[str, Any], claim: str) -> str:
    """Return a name in one line; without one, the subject has to do."""
    name = claims.get(claim)
    line = "".join(c for c in name if c.isprintable()) if isinstance(name, str) else ""
    return " ".join(line.split())[:MAX_NAME] or claims["sub"][:MAX_NAME]
