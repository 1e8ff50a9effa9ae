"""Sessions of the console: a signed cookie that names a token, and no secret of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer

from consent import headers as fields
from consent.answers import Headers
from consent.office.asker import Asker
from consent.office.tokens import Token, TokenBook

SESSION_SECONDS: Final = 4 * 3_600
"""How long somebody stays signed in."""
COOKIE: Final = "consent-office"
_MAX_COOKIE: Final = 500


class Sessions:
    """Signs people in and knows them again. Safe to share between threads.

    A token that ends or is revoked ends its sessions at once.

    Args:
        keys: the site's, the signing one first.
        tokens: knows which are valid.
        path: below which the cookie is sent.
        clock: returns seconds since 1970.
    """

    def __init__(
        self, keys: Sequence[bytes], tokens: TokenBook, path: str, clock: Callable[[], float]
    ) -> None:
        # The serializer wants the newest key last.
        self._serializer = URLSafeTimedSerializer(list(reversed(keys)), salt="consent-office-session")
        self._tokens = tokens
        self._path = path
        self._clock = clock

    def start(self, token: Token, *, is_secure: bool) -> tuple[bytes, bytes]:
        """Return the header field that signs somebody in."""
        value = self._serializer.dumps([token.id, int(self._clock()), secrets.token_hex(8)])
        text = value if isinstance(value, str) else value.decode()
        return self._field(text, SESSION_SECONDS, is_secure)

    def end(self, headers: Headers, *, is_secure: bool) -> tuple[bytes, bytes]:
        """Sign somebody out, also whoever has a copy of the cookie; return the header field. Blocks."""
        content = self._content(headers)
        if content is not None:
            _, began, session_id = content
            self._tokens.end_session(session_id, until_s=began + SESSION_SECONDS)
        return self._field("", 0, is_secure)

    def asker(self, headers: Headers) -> Asker | None:
        """Return who is signed in. Blocks."""
        content = self._content(headers)
        if content is None:
            return None
        token_id, began, session_id = content
        if not 0 <= self._clock() - began < SESSION_SECONDS or self._tokens.has_ended(session_id):
            return None
        return self._tokens.get(token_id)

    def _content(self, headers: Headers) -> tuple[str, int, str] | None:
        """Return whose session a request is of, when it began, and its id; ``None``: of none that was signed here."""
        values = [
            value.strip(b" \t")
            for line in fields.lines(headers, b"cookie")
            for name, _, value in [pair.partition(b"=") for pair in line.split(b";")]
            if name.strip(b" \t") == COOKIE.encode()
        ]
        if len(values) != 1 or len(values[0]) > _MAX_COOKIE:
            return None
        try:
            token_id, began, session_id = self._serializer.loads(values[0])
        except (BadData, ValueError):
            return None  # an earlier release signed only the first two
        return token_id, began, session_id

    def _field(self, value: str, seconds: int, is_secure: bool) -> tuple[bytes, bytes]:
        secure = "; Secure" if is_secure else ""
        text = f"{COOKIE}={value}; Path={self._path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        return b"set-cookie", text.encode()
