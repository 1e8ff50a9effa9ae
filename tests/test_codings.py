"""Content codings and character encodings around a rewriter."""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.codings import BrokenCoding, Coded, acceptable, listed, readable
from consent.encodings import Sniffed, charset
from consent.streams import Stream

brotli = importlib.import_module("brotli")
zstd = importlib.import_module("backports.zstd")


class Echo:
    """Lets everything through, and notes it."""

    def __init__(self) -> None:
        self.seen = b""
        self.largest = 0
        self.ended = False

    def write(self, chunk: bytes) -> bytes:
        self.seen += chunk
        self.largest = max(self.largest, len(chunk))
        return chunk

    def end(self) -> bytes:
        self.ended = True
        return b"!"


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    return encoder.compress(data) + encoder.flush()


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
}
DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.decompress,
    b"x-gzip": gzip.decompress,
    b"deflate": zlib.decompress,
    b"br": brotli.decompress,
    b"zstd": zstd.decompress,
}
EVERY_CODING = pytest.mark.parametrize("coding", ENCODERS, ids=lambda name: name.decode())


def run(stream: Stream, data: bytes, size: int | None = None) -> bytes:
    chunks = [data] if size is None else [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(stream.write(chunk) for chunk in chunks) + stream.end()


def coded(coding: bytes, *, passes: bool = False) -> tuple[Coded, Echo, list[Exception]]:
    errors: list[Exception] = []

    def failed(error: Exception) -> bool:
        errors.append(error)
        return passes

    echo = Echo()
    return Coded(echo, coding, failed), echo, errors


@EVERY_CODING
@pytest.mark.parametrize("size", [None, 1, 7])
def test_a_coded_body_is_decoded_for_the_rewriter_and_encoded_again(coding: bytes, size: int | None) -> None:
    """Whatever the chunks, the reader decodes what the inner stream made of the decoded body."""
    body = b"<p>Hello</p>" * 300
    stream, echo, errors = coded(coding)
    assert DECODERS[coding](run(stream, ENCODERS[coding](body), size)) == body + b"!"
    assert (echo.seen, echo.ended, errors) == (body, True, [])


@EVERY_CODING
def test_what_is_decoded_at_once_is_bounded(coding: bytes) -> None:
    """Sixteen megabytes of one letter, in few bytes, never come as more than half a megabyte at a time."""
    body = b"a" * (16 << 20)
    packed = ENCODERS[coding](body)
    assert len(packed) < 40_000
    stream, echo, _ = coded(coding)
    assert len(DECODERS[coding](run(stream, packed))) == len(body) + 1
    assert echo.largest <= 512 * 1024


@EVERY_CODING
def test_what_is_ready_is_sent_at_once(coding: bytes) -> None:
    """A reader can decode the first chunk before the second is there."""
    stream, _, _ = coded(coding)
    packed = ENCODERS[coding](b"x" * 5000)
    first = stream.write(packed)
    readers: dict[bytes, Callable[[bytes], bytes]] = {
        b"gzip": lambda data: zlib.decompressobj(31).decompress(data),
        b"x-gzip": lambda data: zlib.decompressobj(31).decompress(data),
        b"deflate": lambda data: zlib.decompressobj(15).decompress(data),
        b"br": lambda data: bytes(brotli.Decompressor().process(data)),
        b"zstd": lambda data: bytes(zstd.ZstdDecompressor().decompress(data)),
    }
    assert readers[coding](first) == b"x" * 5000


@EVERY_CODING
@pytest.mark.parametrize("passes", [False, True])
def test_a_body_that_ends_too_early_is_not_made_to_look_whole(coding: bytes, passes: bool) -> None:
    """What could be decoded goes out; neither the inner end nor the coding's own end follows."""
    body = bytes(range(256)) * 40
    stream, echo, errors = coded(coding, passes=passes)
    out = run(stream, ENCODERS[coding](body)[:-5])
    assert echo.ended is False
    assert [str(error) for error in errors] == ["the body ends too early"]
    with pytest.raises((EOFError, zlib.error, brotli.error, zstd.ZstdError)):
        DECODERS[coding](out)


@EVERY_CODING
def test_a_body_that_lies_about_its_coding_is_withheld_or_passes_as_it_came(coding: bytes) -> None:
    """Which of the two, the site says; from the beginning both make sense."""
    lie = b"\xff<html>This is not coded at all."
    stream, _, errors = coded(coding)
    assert run(stream, lie) == b""
    assert [type(error) for error in errors] == [BrokenCoding]
    stream, _, errors = coded(coding, passes=True)
    assert run(stream, lie, 10) == lie
    assert [type(error) for error in errors] == [BrokenCoding]


def test_a_body_that_breaks_in_the_middle_ends_there() -> None:
    """Uncoded bytes behind coded ones would make no sense, even where failures pass."""
    stream, _, errors = coded(b"gzip", passes=True)
    packed = gzip.compress(b"a" * 1000) + gzip.compress(bytes(range(256)) * 10)
    broken = packed[:-200] + b"\xff" * 200
    out = b"".join(stream.write(broken[i : i + 20]) for i in range(0, len(broken), 20)) + stream.end()
    assert zlib.decompressobj(31).decompress(out)[:1000] == b"a" * 1000
    assert b"\xff" * 20 not in out
    assert len(errors) == 1


@pytest.mark.parametrize("size", [None, 1, 13])
def test_gzip_of_several_members_is_read_to_its_end(size: int | None) -> None:
    """RFC 1952, section 2.2; padding after the last is ignored, as browsers do."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"three") + b"\0\0\0padding"
    stream, _, errors = coded(b"gzip")
    assert gzip.decompress(run(stream, packed, size)) == b"one two three!"
    assert errors == []


def test_zstd_of_several_frames_is_read_to_its_end() -> None:
    """RFC 8878, section 3: frames are independent, their contents are joined."""
    stream, _, errors = coded(b"zstd")
    assert zstd.decompress(run(stream, zstd.compress(b"one ") + zstd.compress(b"two"), 3)) == b"one two!"
    assert errors == []


def test_a_zstd_window_beyond_eight_megabytes_is_refused() -> None:
    """RFC 9659 forbids it, since it would cost that much memory for each reader."""
    options = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    encoder = zstd.ZstdCompressor(options=options)
    packed = encoder.compress(b"a" * (9 << 20)) + encoder.flush()
    stream, _, errors = coded(b"zstd")
    assert stream.write(packed) == b""
    assert len(errors) == 1


@pytest.mark.parametrize("size", [None, 1])
def test_deflate_without_its_wrapper_is_read_too(size: int | None) -> None:
    """Some servers send the bare data, and browsers take it."""
    stream, _, errors = coded(b"deflate")
    assert zlib.decompress(run(stream, raw_deflate(b"bare " * 50), size)) == b"bare " * 50 + b"!"
    assert errors == []


def test_several_codings_are_undone_in_reverse() -> None:
    """``Content-Encoding: deflate, gzip``: deflated first, then gzipped."""
    echo = Echo()
    inner = Coded(echo, b"deflate", lambda error: False)
    packed = gzip.compress(zlib.compress(b"twice"))
    out = run(Coded(inner, b"gzip", lambda error: False), packed)
    assert zlib.decompress(gzip.decompress(out)) == b"twice!"


def test_codings_are_listed_in_the_order_they_were_applied() -> None:
    """Identity is none, letters have no case."""
    assert listed(b" GZip , identity,,br ") == [b"gzip", b"br"]
    assert listed(b"identity") == []


def test_unknown_and_too_many_codings_are_not_readable() -> None:
    """Four on top of each other are no page but an attack."""
    assert readable([]) is True
    assert readable([b"gzip", b"br", b"zstd"]) is True
    assert readable([b"compress"]) is False
    assert readable([b"gzip"] * 4) is False


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate, br, zstd"),
        (b"dcb, dcz, gzip;q=0.5", b"gzip;q=0.5"),
        (b"compress", b"identity"),
        (b"", b"identity"),
        (b"*", b"gzip"),
        (b"*;q=0", b"gzip;q=0"),
        (b"GZIP ; q=1.0,identity;q=0", b"gzip;q=1.0, identity;q=0"),
    ],
)
def test_no_coding_is_asked_for_that_could_not_be_undone(asked: bytes, answer: bytes) -> None:
    """Weights are kept; whoever takes anything gets gzip."""
    assert acceptable(asked) == answer


# --- character encodings ---


class Shouting:
    """Replaces what looks like a start tag to it."""

    def __init__(self) -> None:
        self.seen = b""

    def write(self, chunk: bytes) -> bytes:
        self.seen += chunk
        return chunk.replace(b"<b>", b"<i>")

    def end(self) -> bytes:
        return b"<end>"


def sniff(data: bytes, content_type: bytes = b"text/html", size: int | None = None) -> tuple[bytes, bytes]:
    """Return what the inner stream saw, and what came out."""
    inner = Shouting()
    out = run(Sniffed(lambda: inner, content_type), data, size)
    return inner.seen, out


SIZES = pytest.mark.parametrize("size", [None, 1, 2, 3, 5])
TEXT = "<!doctype html><p>Grüße, 日本 😀 <b>"


@SIZES
@pytest.mark.parametrize(
    ("encoding", "bom", "content_type"),
    [
        ("utf-16-le", b"\xff\xfe", b"text/html"),
        ("utf-16-be", b"\xfe\xff", b"text/html; charset=utf-8"),
        ("utf-16-le", b"", b'text/html; charset="UTF-16"'),
        ("utf-16-be", b"", b"text/html;charset=utf-16be"),
    ],
)
def test_utf_16_is_shown_as_utf_8_and_comes_back(
    encoding: str, bom: bytes, content_type: bytes, size: int | None
) -> None:
    """By its byte order mark, whatever the header says, or by the header."""
    seen, out = sniff(bom + TEXT.encode(encoding), content_type, size)
    assert seen.decode().removeprefix("\ufeff") == TEXT
    # The stand-in finds a tag only where it is whole in one chunk.
    texts = [TEXT.replace("<b>", "<i>"), TEXT] if size else [TEXT.replace("<b>", "<i>")]
    assert out in [bom + f"{text}<end>".encode(encoding) for text in texts]


@SIZES
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content_type", [b"text/html", b"application/xhtml+xml", b""])
def test_utf_16_is_known_by_an_xml_declaration(encoding: str, content_type: bytes, size: int | None) -> None:
    """Where there is neither a byte order mark nor a header (HTML Standard, section 13.2.3.2)."""
    page = f"<?xml version='1.0'?>{TEXT}"
    seen, out = sniff(page.encode(encoding), content_type, size)
    assert seen.decode() == page
    assert out.decode(encoding).replace("<b>", "<i>") == page.replace("<b>", "<i>") + "<end>"
    assert sniff(page.encode(encoding), b"text/html; charset=utf-8", size)[0] == page.encode(encoding)


@given(data=st.binary(max_size=60), size=st.integers(1, 7), big=st.booleans())
def test_utf_16_that_is_no_text_comes_back_byte_for_byte(data: bytes, size: int, big: bool) -> None:
    """Half surrogate pairs and a last odd byte stay what they are."""
    content_type = b"text/html; charset=utf-16be" if big else b"text/html; charset=utf-16le"
    echo = Echo()
    out = run(Sniffed(lambda: echo, content_type), data, size)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return
    end = "!".encode("utf-16-be" if big else "utf-16-le")
    whole = len(data) & ~1
    assert out == data[:whole] + end + data[whole:]


@SIZES
@pytest.mark.parametrize("declared", ["header", "meta", "quoted meta", "http-equiv", "xml"])
def test_no_byte_of_a_japanese_character_is_taken_for_markup(declared: str, size: int | None) -> None:
    """In ISO-2022-JP either byte of a character may be 0x3C; nothing is taken for a tag in it."""
    head, content_type = {
        "header": (b"", b"text/html; charset=ISO-2022-JP"),
        "meta": (b"<meta charset=iso-2022-jp>", b"text/html"),
        "quoted meta": (
            b"<!-- <meta charset=utf-8> --><META name=x><meta charset='csISO2022JP'>",
            b"text/html",
        ),
        "http-equiv": (
            b'<meta http-equiv=content-type content="text/html; charset=iso-2022-jp">',
            b"text/html",
        ),
        "xml": (b'<?xml version="1.0" encoding="ISO-2022-JP"?>', b"application/xhtml+xml"),
    }[declared]
    japanese = b"\x1b$B%<%b><b>B\x1b(B"
    page = head + b"<title>" + japanese + b"</title>"
    seen, out = sniff(page, content_type, size)
    assert out == page + b"<end>"
    assert b"<b>" not in seen
    assert seen.count(b"<") == page.count(b"<") - japanese.count(b"<")


def test_iso_2022_jp_comes_back_with_characters_that_python_does_not_know() -> None:
    """A circled one and half-width katakana, which browsers read: not a byte is lost."""
    page = b"<p>\x1b$B-!\x1b(I12\x1b(J\\~\x1b(B</p>"
    assert sniff(page, b"text/html; charset=iso-2022-jp")[1] == page + b"<end>"


def test_an_escape_that_says_nothing_hides_nothing_in_iso_2022_jp() -> None:
    """Browsers skip it, so a host name may not be cut in two by it."""
    seen, out = sniff(b"<img src=//t.tra\x1b(Bcker.example>", b"text/html; charset=iso-2022-jp")
    assert seen == b"<img src=//t.tracker.example>"
    assert out == b"<img src=//t.tracker.example><end>"


@given(data=st.binary(max_size=80), size=st.integers(1, 9))
def test_iso_2022_jp_makes_no_markup_out_of_errors(data: bytes, size: int) -> None:
    """Bytes with the eighth bit are errors there: they come out as errors, never as a ``<``."""
    content_type = b"text/html; charset=iso-2022-jp"
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return
    echo = Echo()
    out = run(Sniffed(lambda: echo, content_type), data, size)
    assert out.count(b"<") == data.count(b"<")
    assert out == run(Sniffed(Echo, content_type), data)
    if b"\x1b" not in data:
        assert out == bytes(byte if byte < 0x80 else 0x9B for byte in data) + b"!"


@SIZES
@pytest.mark.parametrize(
    "encoding", ["utf-8", "windows-1252", "shift_jis", "gb18030", "big5", "euc-kr", "koi8-r"]
)
def test_other_encodings_are_left_alone_to_the_byte(encoding: str, size: int | None) -> None:
    """Their bytes mean to markup what they mean in ASCII, declared or not."""
    page = b"<p>" + bytes(range(0x80, 0x100)) + b"\xe9\x5c</p>"
    for content_type in (b"text/html", b"text/html; charset=" + encoding.encode()):
        seen, out = sniff(page, content_type, size)
        assert (seen, out) == (page, page + b"<end>")


@SIZES
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<meta name=a content='charset=iso-2022-jp '>",
        b"<title><meta charset=iso-2022-jp></title>",
        b"<script>'charset'</script><meta charset=iso-2022-jp>",
        b"<script>'<!--'</script><meta charset=iso-2022-jp>",
        b"<title><meta charset=utf-8></title><meta charset=iso-2022-jp>",
        b"<?xml version='1.0' encoding='iso-2022-jp'?><meta charset=utf-8>",
        b"<script>" + b" " * 1024 + b"</script><meta charset=iso-2022-jp>",
    ],
)
def test_a_page_that_does_not_plainly_say_so_is_not_in_iso_2022_jp(head: bytes, size: int | None) -> None:
    """Some browsers take it for that, others do not, or only in a frame: no character hides markup from any of them."""
    japanese, text = b"\x1b$B<!--\x1b(B<b>a\x1b(Jb", "<p>Grüße</p>\x1b[m".encode()
    seen, out = sniff(head + japanese + text, size=size)
    assert seen == head + japanese.replace(b"\x1b", b"\x7f") + text
    assert out in (seen + b"<end>", seen.replace(b"<b>", b"<i>") + b"<end>")


@SIZES
@pytest.mark.parametrize(
    "head",
    [
        b"<title>charme</title><meta charset=utf-8>",
        b"<!-- charset --><META\nCharset='shift_jis' />",
        b'<meta content="text/html; charset=euc-jp" http-equiv="Content-Type">',
    ],
)
def test_a_page_that_plainly_says_another_encoding_keeps_its_escapes(head: bytes, size: int | None) -> None:
    """They are nothing in it."""
    page = head + b"<pre>\x1b(B\xe9\x1b$B</pre>"
    assert sniff(page, size=size) == (page, page + b"<end>")


@SIZES
def test_a_utf_8_byte_order_mark_outweighs_the_header(size: int | None) -> None:
    """As in browsers."""
    page = b"\xef\xbb\xbf<p>\x1b$B%<\x1b(B"
    seen, out = sniff(page, b"text/html; charset=utf-16", size)
    assert (seen, out) == (page, page + b"<end>")


def test_the_first_bytes_of_an_undeclared_page_are_not_waited_with() -> None:
    """Only what could begin a mark of UTF-16, or what reads otherwise in Japanese, is kept for a moment."""
    stream = Sniffed(Echo, b"text/html")
    assert stream.write(b"<") == b""
    assert stream.write(b"p>caf") == b"<p>caf"
    assert stream.write(b"\xe9 <b>") == b""
    assert stream.write(b"<meta charset=windows-1252>") == b"\xe9 <b><meta charset=windows-1252>"
    assert stream.write(b"\xe9") == b"\xe9"


def test_an_undeclared_page_is_kept_back_no_longer_than_browsers_look() -> None:
    """1,024 bytes."""
    stream = Sniffed(Echo, b"text/html")
    assert stream.write(b"\xe9" * 1023) == b""
    assert stream.write(b"\xe9") == b"\xe9" * 1024


@SIZES
@pytest.mark.parametrize("page", [b"", b"\xff", b"\xef", b"\xef\xbb", b"<"])
def test_a_page_of_less_than_a_byte_order_mark_comes_out_whole(page: bytes, size: int | None) -> None:
    """Nothing is left behind."""
    assert sniff(page, size=size)[1] == page + b"<end>"


def test_a_page_whose_meta_says_utf_16_is_not_in_it() -> None:
    """Its ``<meta>`` could not have been read (HTML Standard, section 13.2.3.2)."""
    page = b"<meta charset=utf-16><p>Hello"
    assert sniff(page) == (page, page + b"<end>")


@pytest.mark.parametrize(
    ("content_type", "label"),
    [
        (b"text/html; charset=UTF-8", b"utf-8"),
        (b'text/html;charset="utf-8"', b"utf-8"),
        (b"text/html", None),
        (b"text/html; charset=", None),
        (b'text/html; x="a; charset=utf-16"; Charset="utf-8"', b"utf-8"),
        (b"text/html; charset=utf-8; charset=utf-16", b"utf-8"),
    ],
)
def test_the_charset_of_a_content_type(content_type: bytes, label: bytes | None) -> None:
    """Lower case, without quotes."""
    assert charset(content_type) == label


def test_random_cuts_do_not_matter() -> None:
    """A Japanese page declared late in its head comes out the same however it is cut."""
    page = b"<!doctype html>" + b" " * 900 + b"<meta charset=iso-2022-jp><p>\x1b$B<b>a\x1b(B</p>"
    cuts: Sequence[int | None] = [None, *range(1, 40)]
    assert {sniff(page, size=size) for size in cuts} == {sniff(page)}
