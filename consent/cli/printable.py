"""What was recorded, for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Keep what could confuse a terminal, such as a change of writing direction, out of it."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
