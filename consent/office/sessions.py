"""Sessions of the console: a signed cookie that names who is signed in, and no secret of theirs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer

from consent.answers import Headers
from consent.office.asker import Asker
from consent.office.cookies import cookie, cookie_field
from consent.office.oidc.signed_in import PREFIX, SignedInBook
from consent.office.tokens import TokenBook

SESSION_SECONDS: Final = 4 * 3_600
"""How long somebody stays signed in."""
COOKIE: Final = "consent-office"


class Sessions:
    """Signs people in and knows them again. Safe to share between threads.

    A token that ends or is revoked ends its sessions at once.

    Args:
        keys: the site's, the signing one first.
        tokens: knows which are valid.
        people: knows who is signed in through a provider.
        path: below which the cookie is sent.
        clock: returns seconds since 1970.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        tokens: TokenBook,
        people: SignedInBook,
        path: str,
        clock: Callable[[], float],
    ) -> None:
        # The serializer wants the newest key last.
        self._serializer = URLSafeTimedSerializer(list(reversed(keys)), salt="consent-office-session")
        self._tokens = tokens
        self._people = people
        self._path = path
        self._clock = clock

    def start(self, asker: Asker, *, is_secure: bool, session_id: str = "") -> tuple[bytes, bytes]:
        """Return the header field that signs somebody in, always with a session of its own.

        Args:
            asker: who it is.
            is_secure: whether they come over HTTPS.
            session_id: the one that is kept for who signed in through a provider.
        """
        now = int(self._clock())
        value = self._serializer.dumps([asker.id, now, session_id or secrets.token_hex(16)])
        text = value if isinstance(value, str) else value.decode()
        return self._field(text, min(SESSION_SECONDS, asker.expires_ms // 1_000 - now), is_secure)

    def end(self, headers: Headers, *, is_secure: bool) -> tuple[bytes, bytes]:
        """Sign somebody out, also whoever has a copy of the cookie; return the header field. Blocks."""
        content = self._content(headers, is_secure)
        if content is not None:
            _, began, session_id = content
            self._tokens.end_session(session_id, until_s=began + SESSION_SECONDS)
            self._people.end(session_id)
        return self._field("", 0, is_secure)

    def asker(self, headers: Headers, *, is_secure: bool) -> Asker | None:
        """Return who is signed in. Blocks."""
        content = self._content(headers, is_secure)
        if content is None:
            return None
        asker_id, began, session_id = content
        if not 0 <= self._clock() - began < SESSION_SECONDS or self._tokens.has_ended(session_id):
            return None
        return self._people.get(session_id) if asker_id.startswith(PREFIX) else self._tokens.get(asker_id)

    def _content(self, headers: Headers, is_secure: bool) -> tuple[str, int, str] | None:
        """Return whose session a request is of, when it began, and its id; ``None``: of none that was signed here."""
        value = cookie(headers, COOKIE, is_secure=is_secure)
        if value is None:
            return None
        try:
            asker_id, began, session_id = self._serializer.loads(value)
        except (BadData, ValueError):
            return None  # an earlier release signed only the first two
        return asker_id, began, session_id

    def _field(self, value: str, seconds: int, is_secure: bool) -> tuple[bytes, bytes]:
        return cookie_field(COOKIE, value, seconds, path=self._path, is_secure=is_secure, same_site="Strict")
