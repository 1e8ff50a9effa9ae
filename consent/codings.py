"""Content codings around the rewriter (RFC 9110, section 8.4): what is compressed is undone and put on again.

A :class:`Coded` is a stream around a stream: a chunk goes in decoded, through the inner one, and comes out encoded as
it was. Memory is bounded however large a body is, coded or decoded.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

from consent.streams import Stream

_PIECE = 256 * 1024
"""How much of a body is decoded at a time, in bytes."""
_MAX_CODINGS = 3
"""How many codings on top of each other are undone; more is no page but an attack."""


class BrokenCoding(Exception):
    """A body is not in the content coding that it says it is in, or ends in the middle."""


class _Decoder(Protocol):
    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what ``chunk`` adds, in pieces of bounded size.

        Raises:
            BrokenCoding: it cannot follow what came before.
        """

    @property
    def complete(self) -> bool:
        """Whether a body may end here."""


class _Encoder(Protocol):
    def write(self, data: bytes) -> bytes:
        """Encode ``data``; some of the outcome may come later."""

    def flush(self) -> bytes:
        """Return all that is needed to decode what was written."""

    def end(self) -> bytes:
        """Return the rest."""


class _Inflating:
    """Decodes ``gzip``, in one or several members."""

    def __init__(self) -> None:
        self._decoder: zlib._Decompress | None = None
        self._begun = False
        self._over = False

    @property
    def complete(self) -> bool:
        return self._decoder is None

    def _next_member(self, chunk: bytes) -> bool:
        """Begin a member (RFC 1952, section 2.2). Like browsers, ignore what follows the last."""
        if self._begun and chunk[0] != 0x1F:
            self._over = True
            return False
        self._begun = True
        self._decoder = zlib.decompressobj(31)
        return True

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk and not self._over:
            if self._decoder is None and not self._next_member(chunk):
                return
            decoder = self._decoder
            assert decoder is not None  # noqa: S101 - just begun
            full = True
            while not decoder.eof and (chunk or full):
                try:
                    piece = decoder.decompress(chunk, _PIECE)
                except zlib.error as error:
                    raise BrokenCoding(str(error)) from error
                chunk = decoder.unconsumed_tail
                # What zlib has decoded beyond the limit is still inside it.
                full = len(piece) == _PIECE
                yield piece
            if decoder.eof:
                chunk = decoder.unused_data
                self._decoder = None


class _Deflated(_Inflating):
    """Decodes ``deflate``: zlib, or the bare data that some servers send and browsers take."""

    def __init__(self) -> None:
        super().__init__()
        self._head = b""

    @property
    def complete(self) -> bool:
        return super().complete and not self._head

    def _next_member(self, chunk: bytes) -> bool:
        if self._begun:
            self._over = True
            return False
        self._begun = True
        wrapped = chunk[0] & 0x0F == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
        self._decoder = zlib.decompressobj(15 if wrapped else -15)
        return True

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if not self._begun:
            self._head += chunk
            if len(self._head) < 2:
                return
            chunk, self._head = self._head, b""
        yield from super().pieces(chunk)


class _Deflating:
    """Encodes ``gzip`` (window bits 31) and ``deflate`` (15)."""

    def __init__(self, window_bits: int) -> None:
        self._encoder = zlib.compressobj(6, zlib.DEFLATED, window_bits)

    def write(self, data: bytes) -> bytes:
        return self._encoder.compress(data)

    def flush(self) -> bytes:
        return self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


class _Unbrotli:
    def __init__(self, brotli: ModuleType) -> None:
        self._error: type[Exception] = brotli.error
        self._decoder = brotli.Decompressor()
        self._begun = False

    @property
    def complete(self) -> bool:
        return not self._begun or bool(self._decoder.is_finished())

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._begun and self._decoder.is_finished():
            return
        self._begun = True
        try:
            piece = self._decoder.process(chunk, output_buffer_limit=_PIECE)
            # With all data taken in, there may still be more to come out.
            while piece or not self._decoder.can_accept_more_data():
                yield piece
                piece = self._decoder.process(b"", output_buffer_limit=_PIECE)
        except self._error as error:
            raise BrokenCoding(str(error) or "not Brotli data") from error


class _Brotli:
    def __init__(self, brotli: ModuleType) -> None:
        # Above 4 it takes longer than the network gains.
        self._encoder = brotli.Compressor(quality=4)

    def write(self, data: bytes) -> bytes:
        return bytes(self._encoder.process(data))

    def flush(self) -> bytes:
        return bytes(self._encoder.flush())

    def end(self) -> bytes:
        return bytes(self._encoder.finish())


class _Unzstd:
    """Decodes ``zstd``, in one or several frames."""

    # RFC 9659: a window of more than 8 MB is not to be sent.
    _WINDOW_LOG = 23

    def __init__(self, zstd: ModuleType) -> None:
        self._error: type[Exception] = zstd.ZstdError
        options = {zstd.DecompressionParameter.window_log_max: self._WINDOW_LOG}
        self._make: Callable[[], Any] = lambda: zstd.ZstdDecompressor(options=options)
        self._decoder: Any = None

    @property
    def complete(self) -> bool:
        return self._decoder is None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            decoder = self._decoder = self._decoder or self._make()
            try:
                yield decoder.decompress(chunk, _PIECE)
                while not decoder.eof and not decoder.needs_input:
                    yield decoder.decompress(b"", _PIECE)
            except self._error as error:
                raise BrokenCoding(str(error)) from error
            if not decoder.eof:
                return
            chunk = decoder.unused_data
            self._decoder = None


class _Zstd:
    def __init__(self, zstd: ModuleType) -> None:
        self._encoder = zstd.ZstdCompressor(level=3)

    def write(self, data: bytes) -> bytes:
        return bytes(self._encoder.compress(data))

    def flush(self) -> bytes:
        return bytes(self._encoder.flush(self._encoder.FLUSH_BLOCK))

    def end(self) -> bytes:
        return bytes(self._encoder.flush(self._encoder.FLUSH_FRAME))


_Coding = tuple[Callable[[], _Decoder], Callable[[], _Encoder]]


def _installed() -> dict[bytes, _Coding]:
    """Find the codings that can be undone here: two need packages of the extra ``codings``."""
    found: dict[bytes, _Coding] = {
        b"gzip": (_Inflating, lambda: _Deflating(31)),
        b"x-gzip": (_Inflating, lambda: _Deflating(31)),
        b"deflate": (_Deflated, lambda: _Deflating(15)),
    }
    brotli = _module("brotli")
    # Before 1.2 it cannot bound what it decodes.
    if brotli is not None and hasattr(brotli.Decompressor, "can_accept_more_data"):
        found[b"br"] = (lambda: _Unbrotli(brotli), lambda: _Brotli(brotli))
    zstd = _module("compression.zstd") or _module("backports.zstd")
    if zstd is not None:
        found[b"zstd"] = (lambda: _Unzstd(zstd), lambda: _Zstd(zstd))
    return found


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_CODINGS = _installed()
OF_BROWSERS = frozenset(b"gzip x-gzip deflate br zstd compress x-compress dcb dcz".split())
"""The codings that some browser undoes."""


def listed(value: bytes) -> list[bytes]:
    """Return the codings that a ``Content-Encoding`` names, in the order they were applied.

    A name that no browser knows, such as ``utf-8`` or ``none``, is left out: to them the body is not coded.
    """
    names = [name.strip(b" \t").lower() for name in value.split(b",")]
    return [name for name in names if name in OF_BROWSERS]


def readable(codings: Sequence[bytes]) -> bool:
    """Tell whether a body with these codings can be decoded and encoded again here."""
    return len(codings) <= _MAX_CODINGS and all(name in _CODINGS for name in codings)


@lru_cache(maxsize=256)
def acceptable(value: bytes) -> bytes:
    """Return an ``Accept-Encoding`` that asks for no more than what can be decoded here."""
    kept = []
    for part in value.split(b","):
        name, semicolon, weight = part.partition(b";")
        name = name.strip(b" \t").lower()
        if name == b"*":
            name = b"gzip"
        if name in _CODINGS or name == b"identity":
            kept.append(name + semicolon + weight.strip(b" \t"))
    return b", ".join(kept) or b"identity"


class Coded:
    """Undoes one content coding for ``inner``, and encodes what comes out again.

    Args:
        coding: one of those that are :func:`readable`.
        failed: told of a body that is not in its coding; returns whether what cannot be read passes as it
            came. It can only do so from the beginning: behind bytes that were encoded here it makes no sense.
    """

    def __init__(self, inner: Stream, coding: bytes, failed: Callable[[Exception], bool]) -> None:
        decoder, encoder = _CODINGS[coding]
        self._inner = inner
        self._decoder = decoder()
        self._encoder = encoder()
        self._failed = failed
        self._begun = False
        self._passes: bool | None = None

    def write(self, chunk: bytes) -> bytes:
        if self._passes is not None:
            return chunk if self._passes else b""
        out = []
        ready = False
        try:
            for piece in self._decoder.pieces(chunk):
                written = self._inner.write(piece)
                ready |= bool(written)
                out.append(self._encoder.write(written))
        except BrokenCoding as error:
            self._passes = self._failed(error) and not self._begun and not ready
            if self._passes:
                return chunk
        self._begun = True
        if ready:
            # What the reader can have now is not kept for a better ratio.
            out.append(self._encoder.flush())
        return b"".join(out)

    def end(self) -> bytes:
        if self._passes is None and not self._decoder.complete:
            self._passes = self._failed(BrokenCoding("the body ends too early"))
        if self._passes is not None:
            # Cut short as it came, it is not made to look whole.
            return b""
        return self._encoder.write(self._inner.end()) + self._encoder.end()


def decoded(body: bytes, codings: Sequence[bytes], *, longest: int) -> bytes:
    """Return a whole body without its codings, which are :func:`readable` and in the order they were applied.

    Raises:
        BrokenCoding: it is not in them, ends too early, or is longer than ``longest`` bytes.
    """
    for coding in reversed(codings):
        decoder = _CODINGS[coding][0]()
        pieces = []
        size = 0
        for piece in decoder.pieces(body):
            pieces.append(piece)
            size += len(piece)
            if size > longest:
                raise BrokenCoding(f"it is longer than {longest} bytes")
        if not decoder.complete:
            raise BrokenCoding("it ends too early")
        body = b"".join(pieces)
    return body
