"""What a request is called, and the code with which whoever asked sees how it stands."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256


def named(key: bytes, nonce: bytes) -> tuple[str, str]:
    """Return the reference and the code of the request with this nonce: the same two each time."""
    made = hmac.digest(key, b"consent-request:" + nonce, "sha256")
    return _grouped(made[:5]), _grouped(made[5:15])


def typed(text: str) -> str:
    """Return a reference or code as it was given, however it was typed in."""
    digits = "".join(text[:60].upper().replace("-", "").split()).replace("0", "O").replace("1", "I")
    return _in_fours(digits)


def code_hash(code: str) -> bytes:
    """Return what is kept of a code."""
    # 80 random bits need no slow hash.
    return sha256(code.encode("utf-8", "replace")).digest()


def _grouped(made: bytes) -> str:
    return _in_fours(base64.b32encode(made).decode())


def _in_fours(digits: str) -> str:
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))
