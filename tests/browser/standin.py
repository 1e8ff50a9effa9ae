"""A stand-in for the whole third-party internet, on one loopback port.

It answers plain HTTP and TLS on that port for any host, and keeps a record of who was contacted: every
request, and every TLS connection too, so that a mere ``preconnect`` counts. Chromium is sent here by
``--host-resolver-rules``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.browser.vendor_answers import answer

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024
MAX_CONTACTS = 50_000
MAX_CONNECTIONS = 1_000
IDLE_SECONDS = 20.0
TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS record that carries a ClientHello; no HTTP request starts with it."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One thing that reached the stand-in."""

    kind: Literal["connection", "request", "websocket"]
    scheme: str
    host: str
    method: str = ""
    target: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Lower-case names; the last value where a name is repeated."""


def write_certificate(folder: Path) -> Path:
    """Return a file with a new self-signed certificate and its key; browsers are told not to mind."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in on loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder))
    context.set_alpn_protocols(["http/1.1"])
    return context


class StandIn:
    """The server, in a thread of its own; use it as a context manager.

    ``port`` is known once it is entered. Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self.port = 0
        self._lock = threading.Lock()
        self._contacts: list[Contact] = []
        self._open_requests = 0
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> StandIn:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RuntimeError("the stand-in could not start") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and wait until the thread has ended; again is harmless."""
        if self._loop is not None and self._stop is not None:
            # The loop may have ended by itself already.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # The record

    def contacts(self, *, since: int = 0) -> tuple[Contact, ...]:
        """Everything since the last ``forget``, oldest first, but for the first ``since`` of it."""
        with self._lock:
            return tuple(self._contacts[since:])

    def hosts(self) -> frozenset[str]:
        """Every host contacted in whatever way: by request, by WebSocket or by a bare TLS connection."""
        return frozenset(contact.host for contact in self.contacts())

    def busy(self) -> bool:
        """Tell whether a request is being answered this moment."""
        with self._lock:
            return self._open_requests > 0

    def forget(self) -> None:
        """Start a new, empty record."""
        with self._lock:
            self._contacts.clear()

    def _note(self, contact: Contact) -> None:
        with self._lock:
            if len(self._contacts) >= MAX_CONTACTS:
                raise OverflowError("the stand-in's record is full: call forget() between tests")
            self._contacts.append(contact)

    # The server

    def _run(self) -> None:
        # Not asyncio.run's default loop: add_reader, which peeking needs, is not in every platform's.
        loop = asyncio.SelectorEventLoop()
        try:
            loop.run_until_complete(self._serve(loop))
        except BaseException as error:
            self._failure = error
        finally:
            loop.close()
            self._ready.set()

    async def _serve(self, loop: asyncio.SelectorEventLoop) -> None:
        with tempfile.TemporaryDirectory() as folder:
            context = _context(Path(folder))

        def hello(_: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, __: ssl.SSLContext) -> None:
            self._note(Contact("connection", "https", (server_name or "unnamed").lower()))

        context.sni_callback = hello
        connections: dict[asyncio.Task[None], socket.socket] = {}

        def ended(task: asyncio.Task[None]) -> None:
            # A task cancelled before its first step has closed nothing; otherwise this is the second time.
            connections.pop(task).close()

        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            listener.setblocking(False)
            self._loop, self._stop = loop, asyncio.Event()
            self.port = listener.getsockname()[1]
            stopping = asyncio.ensure_future(self._stop.wait())
            self._ready.set()
            while not stopping.done():
                accepting = asyncio.ensure_future(loop.sock_accept(listener))
                await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not accepting.done():
                    accepting.cancel()
                    break
                accepted, _ = accepting.result()
                if len(connections) >= MAX_CONNECTIONS:
                    accepted.close()
                    continue
                task = asyncio.ensure_future(self._connection(loop, accepted, context))
                connections[task] = accepted
                task.add_done_callback(ended)
        stopping.cancel()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, stopping, return_exceptions=True)
        # Transports close their sockets one turn of the loop after abort().
        await asyncio.sleep(0.05)

    async def _connection(
        self, loop: asyncio.SelectorEventLoop, accepted: socket.socket, context: ssl.SSLContext
    ) -> None:
        # A browser that goes away in the middle of anything is nothing to report.
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            try:
                accepted.setblocking(False)
                encrypted = await self._first_byte(loop, accepted) == TLS_HANDSHAKE
                reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
                protocol = asyncio.StreamReaderProtocol(reader)
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    accepted,
                    ssl=context if encrypted else None,
                    ssl_handshake_timeout=IDLE_SECONDS if encrypted else None,
                    ssl_shutdown_timeout=0.5 if encrypted else None,
                )
            except BaseException:
                accepted.close()
                raise
            try:
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                while await self._exchange("https" if encrypted else "http", reader, writer):
                    pass
            finally:
                transport.abort()

    @staticmethod
    async def _first_byte(loop: asyncio.SelectorEventLoop, accepted: socket.socket) -> bytes:
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(accepted, lambda: None if readable.done() else readable.set_result(None))
        try:
            await asyncio.wait_for(readable, IDLE_SECONDS)
        finally:
            loop.remove_reader(accepted)
        return accepted.recv(1, socket.MSG_PEEK)

    async def _exchange(
        self, scheme: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; tell whether the connection stays open for another."""
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        host = headers.get("host", "unnamed").rpartition("@")[2].partition(":")[0].lower()
        upgrading = headers.get("upgrade", "").lower() == "websocket"
        kind: Literal["request", "websocket"] = "websocket" if upgrading else "request"
        with self._lock:
            self._open_requests += 1
        try:
            self._note(Contact(kind, scheme, host, method, target, MappingProxyType(headers)))
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= MAX_BODY_BYTES or "transfer-encoding" in headers:
                return await self._send(writer, 413, "text/plain", b"too much for a stand-in\n", ())
            await asyncio.wait_for(reader.readexactly(length), IDLE_SECONDS)
            if upgrading:
                return await self._send(writer, 403, "text/plain", b"no WebSocket here\n", ())
            reply = answer(host, method, target, headers)
            body = b"" if method == "HEAD" else reply.body
            await self._send(writer, reply.status, reply.media_type, body, reply.headers)
        finally:
            with self._lock:
                self._open_requests -= 1
        return headers.get("connection", "").lower() != "close"

    @staticmethod
    async def _send(
        writer: asyncio.StreamWriter,
        status: int,
        media_type: str,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
    ) -> bool:
        """Send a response; return false, for the callers that end the connection with it."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        if status != 204:
            lines += [f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
        if status >= 400:
            lines.append("Connection: close")
        # A header with a line break could only come from a request's own: drop it.
        lines += [f"{name}: {value}" for name, value in headers if "\r" not in value and "\n" not in value]
        writer.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body)
        await writer.drain()
        return False
