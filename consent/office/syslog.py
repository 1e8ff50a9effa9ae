"""Events as log systems take them: RFC 5424 messages, and the ways there."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from consent.errors import ConfigurationError
from consent.moments import format_moment
from consent.office.events import Event, EventType

EXAMPLE_ENTERPRISE: Final = 32473
"""The number that RFC 5612 keeps for examples: whoever has one of their own says so."""
MAX_DATAGRAM: Final = 8 * 1024
TIMEOUT_SECONDS: Final = 15.0

_AUDIT: Final = 13  # the facility "log audit"
_SEVERITIES: Final[Mapping[EventType, int]] = {EventType.INTEGRITY_FAILED: 2, EventType.WEBHOOK_DISABLED: 4}
_INFORMATIONAL: Final = 6
_NO_NAME = re.compile(r"[^!#-<>-\\^-~]")
_NO_HOST = re.compile(r"[^!-~]")
_TO_ESCAPE = re.compile(r'(["\\\]])')


def message(event: Event, *, host: str, enterprise: int = EXAMPLE_ENTERPRISE) -> bytes:
    """Return an event as a message of RFC 5424, in UTF-8.

    Args:
        event: what happened.
        host: where.
        enterprise: whose structured data it is, an IANA private enterprise number.
    """
    priority = 8 * _AUDIT + _SEVERITIES.get(event.type, _INFORMATIONAL)
    where = _NO_HOST.sub("", host)[:255] or "-"
    said = {"id": event.id, "number": event.number, **event.data}
    parts = [f'{_NO_NAME.sub("", name)[:32]}="{_escaped(value)}"' for name, value in said.items()]
    data = f"[consent@{enterprise} {' '.join(parts)}]"
    time = format_moment(event.time_ms)
    # The message itself is what streams have, so that nothing is lost on the way.
    head = f"<{priority}>1 {time} {where} consent-office - {event.type} {data} "
    return head.encode() + b"\xef\xbb\xbf" + event.line()


def _escaped(value: object) -> str:
    # Section 6.3.3; control characters would break lines of those who read it.
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return _TO_ESCAPE.sub(r"\\\1", text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages go."""

    kind: str
    """``tcp``, ``udp`` or ``unix``."""
    host: str
    """Of ``unix``: the path."""
    port: int = 0


def place(text: str) -> Place:
    """Read an address.

    Raises:
        ConfigurationError: it is none.
    """
    parts = urlsplit(text)
    try:
        if parts.scheme in ("tcp", "udp") and parts.hostname and parts.port and parts.path in ("", "/"):
            return Place(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        pass
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Place("unix", parts.path)
    raise ConfigurationError(f"{text!r:.80} is none of tcp://host:port, udp://host:port, unix:///path")


def _datagrams_to(to: Place) -> tuple[socket.AddressFamily, Any]:
    if to.kind == "unix":
        return socket.AF_UNIX, to.host
    family, _, _, _, address = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0]
    return family, address


class Sender:
    """Sends messages to one place. Opened once; every error is an OSError.

    Args:
        to: where.
        counts: whether, on TCP, the length goes before each message (RFC 6587, octet counting), or else a newline
            after it.
    """

    def __init__(self, to: Place, *, counts: bool) -> None:
        self._kind = to.kind
        self._counts = counts
        if to.kind == "tcp":
            self._socket = socket.create_connection((to.host, to.port), TIMEOUT_SECONDS)
            return
        family, address = _datagrams_to(to)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send one message."""
        if self._kind == "tcp":
            self._socket.sendall(b"%d %s" % (len(data), data) if self._counts else data + b"\n")
        else:
            # At the end is the message itself, which the structured data before it repeats.
            self._socket.send(data[:MAX_DATAGRAM].decode("utf-8", "ignore").encode())
