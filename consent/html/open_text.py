"""Within something whose end is awaited: a comment, raw text, a CDATA section, or text up to the page's end."""

from __future__ import annotations

import re
from enum import Enum, auto

from consent.html.buffers import INCOMPLETE, KeptBack, Output
from consent.html.scanning import find_tag
from consent.html.script_text import ScriptText
from consent.html.tokenizer import COMMENT_END, REST_OF_TAG, TAG_END

ANY_BYTE = re.compile(rb"(?s:.)")


class Within(Enum):
    """What the present place is in."""

    MARKUP = auto()
    COMMENT = auto()
    BOGUS_COMMENT = auto()
    RAW_TEXT = auto()
    CDATA = auto()
    PLAINTEXT = auto()


_CLOSING = {Within.COMMENT: b"-->", Within.BOGUS_COMMENT: b">", Within.CDATA: b"]]>"}


class OpenText:
    """What is read to its end, and passed or dropped.

    Args:
        out: where the page goes.
        kept_back: is told what is waited for.
    """

    def __init__(self, out: Output, kept_back: KeptBack) -> None:
        self._out = out
        self._kept_back = kept_back
        self.within = Within.MARKUP
        self.raw_name = b""
        """Of the element whose raw text it is, or was last."""
        self._dropping = False
        self._script_text = ScriptText()

    def begin(self, within: Within, *, drop: bool = False) -> None:
        """Go on to the end of it; let it pass, or ``drop`` what of it is to come."""
        self.within = within
        self._dropping = drop

    def begin_raw_text(self, name: bytes, *, drop: bool) -> None:
        """Go on to the end tag of that name."""
        self.begin(Within.RAW_TEXT, drop=drop)
        self.raw_name = name
        self._script_text = ScriptText()

    @property
    def closing(self) -> bytes | None:
        """What ends it, where the page does not; ``None``: nothing is to."""
        if self.within is Within.PLAINTEXT:
            return None
        if self.within is Within.RAW_TEXT and not self._dropping:
            # A script that is not finished does not run, and must not be finished.
            return None if self.raw_name == b"script" else b"</%s>" % self.raw_name
        return _CLOSING.get(self.within, b"")

    def resume(self, data: bytes, position: int, final: bool) -> int:
        """Return where to go on, behind the end of it or as far as is there; or ``INCOMPLETE``."""
        size = len(data)
        within = self.within
        if within is Within.PLAINTEXT:
            return size
        if within is Within.RAW_TEXT:
            return self._raw_text(data, position, final)
        if within is Within.BOGUS_COMMENT:
            end = data.find(b">", position) + 1
            if not end:
                return size
        elif within is Within.COMMENT:
            match = COMMENT_END.search(data, position)
            if match is None:
                return size if final else self._all_but(position, size, 3)
            end = match.end()
        else:
            end = data.find(b"]]>", position) + 3
            found = end > 2
            if not found:
                end = size if final else self._all_but(position, size, 2)
            if self._dropping and end != INCOMPLETE:
                self._out.replace(data, position, end)
            if not found:
                return end
        self.within = Within.MARKUP
        return end

    def _all_but(self, position: int, size: int, tail: int) -> int:
        """Consume up to the last ``tail`` bytes, which may begin what is searched for."""
        return size - tail if size - tail > position else self._kept_back.wait_for(ANY_BYTE)

    def _raw_text(self, data: bytes, position: int, final: bool) -> int:
        if self.raw_name == b"script":
            begin, after = self._script_text.end(data, position)
            if begin < 0 and after <= position:
                after = self._kept_back.wait_for(ANY_BYTE)
        else:
            begin = find_tag(data, position, b"/" + self.raw_name)
            after = begin if begin >= 0 else self._all_but(position, len(data), 10)
        if begin >= 0:
            match = REST_OF_TAG.match(data, begin + 2 + len(self.raw_name))
            if match:
                after = match.end()
                self._kept_back.check(after - begin)
                self.within = Within.MARKUP
            elif begin == position:
                after = self._kept_back.wait_for(TAG_END)
        elif final:
            after = len(data)
        if self._dropping and after != INCOMPLETE:
            self._out.replace(data, position, after)
        return after
