"""The html5lib tokenizer vectors hold for what the rewriter decides: tags, attributes, comments."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.html.reading import Token, reading_of

_CORPUS = Path(os.environ.get("CONSENT_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
_FOLDER = _CORPUS / "html5lib-tokenizer"
_FILES = sorted(_FOLDER.glob("*.test"))

# The vectors test a tokenizer that nobody tells to change its state; the rewriter changes it at these tags.
_CHANGES_STATE = frozenset(
    [
        "script",
        "style",
        "title",
        "textarea",
        "xmp",
        "iframe",
        "noembed",
        "noframes",
        "noscript",
        "plaintext",
        "svg",
        "math",
        "select",
        "frameset",
    ]
)
_PREFIXES = {
    "Data state": b"",
    "PLAINTEXT state": b"<plaintext>",
    "RCDATA state": b"<title>",
    "RAWTEXT state": b"<xmp>",
    "Script data state": b"<script type=none>",
    "CDATA section state": b"<svg><![CDATA[",
}
_RAW = frozenset(["style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"])


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), value)
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    if isinstance(value, dict):
        return {_unescaped(key): _unescaped(item) for key, item in value.items()}
    return value


def _vectors(path: Path) -> Iterator[tuple[bytes, str, list[Any], str]]:
    """Yield prefix, input, expected tokens and a name for the failure."""
    for vector in json.loads(path.read_text(encoding="utf-8")).get("tests", []):
        if vector.get("doubleEscaped"):
            vector = {**vector, "input": _unescaped(vector["input"]), "output": _unescaped(vector["output"])}
        for state in vector.get("initialStates", ["Data state"]):
            prefix = _PREFIXES[state]
            last = vector.get("lastStartTag")
            if last is not None and state in ("RCDATA state", "RAWTEXT state"):
                if last not in _RAW:
                    continue
                prefix = f"<{last}>".encode()
            elif last not in (None, "script") and state == "Script data state":
                continue
            yield prefix, vector["input"], vector["output"], f"{vector['description']} ({state})"


def _expected(output: list[Any]) -> list[tuple[Any, ...]]:
    tokens: list[tuple[Any, ...]] = []
    for token in output:
        kind = token[0]
        if kind == "Character":
            if tokens and tokens[-1][0] == "text":
                tokens[-1] = ("text", tokens[-1][1] + token[1])
            else:
                tokens.append(("text", token[1]))
        elif kind == "StartTag":
            tokens.append(("start", token[1], token[2], len(token) > 3 and bool(token[3])))
        elif kind == "EndTag":
            tokens.append(("end", token[1]))
        else:
            tokens.append(("comment",))
    return tokens


def _found(page: bytes, tokens: list[Token], offset: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []

    def text(start: int, end: int) -> None:
        piece = page[start:end].decode("utf-8", "surrogatepass")
        if not piece:
            return
        if found and found[-1][0] == "text":
            found[-1] = ("text", found[-1][1] + piece)
        else:
            found.append(("text", piece))

    position = offset
    for token in tokens:
        if token.end <= offset:
            continue
        text(position, token.start)
        if token.kind == "start":
            found.append(("start", token.name, token.attributes, token.self_closing))
        elif token.kind == "end":
            found.append(("end", token.name))
        elif token.kind == "comment":
            found.append(("comment",))
        position = token.end
    rest = page[position:]
    # An unfinished tag at the end of a page makes nothing.
    beginning = rb"<(?:/?[a-zA-Z].*)\Z"
    if tokens and tokens[-1].kind in ("start", "mark") and tokens[-1].end <= offset:
        beginning = b"</%s[\\s/].*\\Z" % (tokens[-1].name.encode() or b"-")
    unfinished = re.search(beginning, rest, re.DOTALL)
    text(position, position + unfinished.start() if unfinished else len(page))
    return found


def _comparable(tokens: list[tuple[Any, ...]], *, with_text: bool) -> list[tuple[Any, ...]]:
    """Keep what is decided before the first tag that changes the tokenizer's state."""
    kept: list[tuple[Any, ...]] = []
    for token in tokens:
        if token[0] == "text":
            if with_text:
                kept.append(("text", token[1].replace("\0", "\N{REPLACEMENT CHARACTER}")))
            continue
        kept.append(token)
        if token[0] == "start" and token[1] in _CHANGES_STATE:
            break
    return kept


@pytest.mark.skipif(not _FILES, reason=f"the html5lib tokenizer vectors are not at {_FOLDER}")
@pytest.mark.parametrize("sizes", [None, (1,), (2,), (3, 1, 7, 2, 5)], ids=["whole", "1", "2", "mixed"])
@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_tags_attributes_and_comments_are_read_as_the_vectors_say(
    path: Path, sizes: tuple[int, ...] | None
) -> None:
    """Names, decoded attribute values, self-closing flags and boundaries agree, however the input is cut."""
    failures = []
    count = 0
    for prefix, source, output, name in _vectors(path):
        try:
            # The tokenizer gets line feeds only (HTML Standard, 13.2.3.5).
            page = prefix + source.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")
        except UnicodeEncodeError:
            continue  # a lone surrogate cannot be in a page of bytes
        expected = _expected(output)
        # Character references in text are the browser's affair.
        with_text = "&" not in source
        found = _found(page, reading_of(page, sizes=sizes), len(prefix))
        count += 1
        if _comparable(found, with_text=with_text) != _comparable(expected, with_text=with_text):
            failures.append(f"{name}: {page!r}\n   found {found}\nexpected {expected}")
    assert not failures, f"{len(failures)} of {count}\n" + "\n".join(failures[:8])
