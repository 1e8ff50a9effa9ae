"""Where a script ends."""

from __future__ import annotations

import re

from consent.html.scanning import find_tag

_TURN = re.compile(rb"<!--|-->|<(/?)(?i:script)(?=[\t\n\f\r />])")


class ScriptText:
    """Finds the end of one script, which may be looked for piece by piece.

    A script that contains ``<!--`` may contain ``<script>…</script>`` as text: the script data escaped and
    double escaped states (HTML Standard, 13.2.5.15 to 13.2.5.31).
    """

    def __init__(self) -> None:
        self._escaped = False
        self._doubly = False

    def end(self, data: bytes, position: int) -> tuple[int, int]:
        """Return where the script's end tag begins, or -1, and up to where ``data`` has been understood."""
        if not self._escaped:
            first = find_tag(data, position, b"/script")
            limit = first if first >= 0 else len(data)
            if data.find(b"<!--", position, limit) < 0:
                return (limit, limit) if first >= 0 else (-1, max(position, limit - 8))
        while match := _TURN.search(data, position):
            token = match[0]
            position = match.end()
            if token == b"<!--":
                self._escaped = True
                position -= 2  # "<!-->" ends what it begins
            elif token == b"-->":
                self._escaped = self._doubly = False
            elif match[1]:
                if not self._doubly:
                    return match.start(), match.start()
                self._doubly = False
            elif self._escaped:
                self._doubly = True
        return -1, max(position, len(data) - 8)
