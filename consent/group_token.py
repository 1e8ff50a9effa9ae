"""A choice on its way from one site of a group to another, sealed: for a minute, for one site, and for one browser.

AES-256-GCM under a key that the sites of the group share. Nobody on the way can read it or make one, though it stands
in an address. What it is bound to is not in it: from which site to which, and what only the visitor's browser has.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from consent.choice import NOBODY, Choice
from consent.choice_cookie import CLOCK_SKEW_SECONDS
from consent.choice_form import read_choice, written_choice

TOKEN_SECONDS = 60
"""How long one counts. Browsers follow four redirects in less."""
MAX_TOKEN_CHARACTERS = 4096
_NONCE_BYTES = 12
_PURPOSE = b"asgi-consent group 1"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class GroupTokens:
    """Seals choices, and opens them. Immutable, and safe to share between threads.

    Args:
        keys: Those that the sites of the group share, 32 bytes each. The first seals, all open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(hmac.digest(key, _PURPOSE, "sha256")) for key in keys]

    def seal(self, choice: Choice, *, giver: str, taker: str, binding: str, now: int, random: bytes) -> str:
        """Return the token. The visitor's pseudonym is no business of the other site.

        Args:
            choice: What the visitor chose. The pseudonym is left out, and what the visitor was told of signals.
            giver, taker: The origins of the two sites.
            binding: What the taker gave for the visitor's browser.
            now: Seconds since 1970-01-01T00:00:00Z.
            random: 12 random bytes.
        """
        sent = written_choice(replace(choice, subject=NOBODY, told=frozenset()))
        content = b"%d.%s" % (now + TOKEN_SECONDS, sent)
        sealed = self._ciphers[0].encrypt(random, content, _bound(giver, taker, binding))
        return base64_encode(random + sealed).decode("ascii")

    def open(self, token: str, *, giver: str, taker: str, binding: str, now: int) -> Choice | None:
        """Return the choice; ``None`` where the token is none, is over, or is for somebody else."""
        if len(token) > MAX_TOKEN_CHARACTERS or _TOKEN.fullmatch(token) is None:
            return None
        try:
            sealed = base64_decode(token)
        except BadData:
            return None
        for cipher in self._ciphers:
            try:
                content = cipher.decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(giver, taker, binding)
                )
            except (InvalidTag, ValueError):
                continue
            expires, _, sent = content.partition(b".")
            choice = read_choice(sent)
            if choice is None or not now < int(expires) <= now + TOKEN_SECONDS + CLOCK_SKEW_SECONDS:
                return None
            return choice if choice.made_at <= now + CLOCK_SKEW_SECONDS else None
        return None


def _bound(giver: str, taker: str, binding: str) -> bytes:
    return b"\n".join((_PURPOSE, giver.encode(), taker.encode(), binding.encode()))
