"""Requests that the office itself makes: to public addresses, or to networks that it may reach, and nowhere else.

Whoever registers an address must not be able to let this machine ask its neighbours. So a name is resolved here, every
address that it has is judged, and the connection is made to the address that was judged. Redirects are not followed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from consent.errors import ConfigurationError

MAX_URL: Final = 500
TIMEOUT_SECONDS: Final = 15.0
"""How long a request may take in all."""
_READ_BYTES: Final = 4 * 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotReached(Exception):
    """There was no answer; the message says why, without anything that the other side sent."""


class WrongAddress(Exception):
    """This is no address that requests are made to; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What came back. The body is not of interest."""

    status: int
    retry_after_seconds: int
    """0: it says nothing of it."""


class Outgoing:
    """Makes requests. Blocks; safe to share between threads.

    Args:
        networks: those that may be reached besides public addresses, also without TLS.
        timeout_seconds: how long a request may take in all.
    """

    def __init__(self, networks: Sequence[Network] = (), timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._networks = networks
        self._timeout = timeout_seconds

    def check(self, url: str) -> None:
        """Refuse what cannot be the address of a webhook, as far as its text tells.

        Raises:
            WrongAddress: it is none.
        """
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise WrongAddress("an address such as https://example.com/consent") from None
        if len(url) > MAX_URL or not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
            raise WrongAddress(f"at most {MAX_URL} printable ASCII characters")
        if parts.scheme not in ("https", "http") or not host:
            raise WrongAddress("an address such as https://example.com/consent")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise WrongAddress("without a name, a password or a fragment")
        if parts.scheme == "http" and not self._networks:
            raise WrongAddress("https; http is for networks of your own: CONSENT_WEBHOOK_NETWORKS names them")
        with contextlib.suppress(ValueError):
            self._require(ipaddress.ip_address(host), parts.scheme)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reached:
        """Send a request, and return what came back.

        Raises:
            WrongAddress: the address leads where no request may be made to.
            NotReached: there was no answer in time.
        """
        self.check(url)
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        until = time.monotonic() + self._timeout
        address = self._address(host, port, parts.scheme)
        # Looking a name up cannot be cut short. Nothing is sent to it when it took all of the time.
        if (left := until - time.monotonic()) <= 0:
            raise NotReached("its name was not found in time")
        connection = _Judged(host, port, address, parts.scheme, left)
        # A timeout of the socket is for each piece alone: who sends a byte a second would never end.
        late = threading.Timer(left, connection.cut)
        late.daemon = True
        late.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {**headers, "Connection": "close"})
            with connection.getresponse() as response:
                response.read(_READ_BYTES)
                return Reached(response.status, _seconds(response.getheader("Retry-After")))
        except ssl.SSLError as error:
            raise NotReached(f"TLS: {error.reason or 'it could not be set up'}") from None
        except (OSError, http.client.HTTPException) as error:
            raise NotReached("no answer in time" if connection.was_cut else type(error).__name__) from None
        finally:
            late.cancel()
            connection.close()

    def _address(self, host: str, port: int, scheme: str) -> str:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotReached("there is no such host") from None
        addresses = [str(each[4][0]) for each in found]
        # All of them: which one a later look-up would have had, nobody knows.
        for address in addresses:
            self._require(ipaddress.ip_address(address.partition("%")[0]), scheme)
        return addresses[0]

    def _require(self, address: Address, scheme: str) -> None:
        plain = _embedded(address)
        own = any(plain in network for network in self._networks)
        if not own and (scheme == "http" or not _is_public(plain)):
            raise WrongAddress(
                "it leads into a network that is not public; CONSENT_WEBHOOK_NETWORKS names those that may be reached"
            )


class _Judged(http.client.HTTPConnection):
    """A connection to an address that was judged, whatever its name leads to meanwhile."""

    def __init__(self, host: str, port: int, address: str, scheme: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address = address
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self._lock = threading.Lock()
        self._open: socket.socket | None = None
        self.was_cut = False

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        with self._lock:
            self._open = self.sock = plain
            if self.was_cut:
                plain.close()
        if self._tls is not None:
            wrapped = self._tls.wrap_socket(plain, server_hostname=self.host)
            with self._lock:
                self._open = self.sock = wrapped
                if self.was_cut:  # while TLS was set up, where there was nothing to cut
                    wrapped.close()

    def cut(self) -> None:
        """End it from another thread."""
        with self._lock:
            self.was_cut = True
            if self._open is not None:
                with contextlib.suppress(OSError):
                    self._open.shutdown(socket.SHUT_RDWR)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not (
            isinstance(address, ipaddress.IPv6Address) and address.is_site_local
        )  # RFC 3879: still in use
    )


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def _seconds(value: str | None) -> int:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 7 else 0


def host_of(url: str) -> str:
    """Return where an address leads, for the log of accesses: its path may be a secret."""
    return urlsplit(url).hostname or ""


def networks_from(variable: str) -> Sequence[Network]:
    """Return the networks that the environment names.

    Raises:
        ConfigurationError: one is none.
    """
    networks = []
    for text in os.environ.get(variable, "").replace(",", " ").split():
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            raise ConfigurationError(
                f"{text!r:.80} is no network such as 10.1.0.0/16", source=variable
            ) from None
    return networks
