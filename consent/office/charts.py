"""Charts as SVG: shapes and where they are; the words are in the table behind each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

WIDTH: Final = 720
HEIGHT: Final = 200


class Bar(NamedTuple):
    """One piece of a stacked bar."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """Which of the series it is of."""
    title: str
    """What a pointer that rests on it is told."""


class Stacked(NamedTuple):
    """A bar for each place on the line, of pieces one on the other."""

    bars: Sequence[Bar]
    top: int
    """What the full height stands for."""


def stacked(columns: Sequence[str], series: Sequence[str], values: Mapping[tuple[str, str], int]) -> Stacked:
    """Return the bars of a chart.

    Args:
        columns: from left to right.
        series: from the bottom up.
        values: by column and series.
    """
    top = max((sum(values.get((column, name), 0) for name in series) for column in columns), default=0)
    step = WIDTH / max(1, len(columns))
    bars = []
    for at, column in enumerate(columns):
        y = float(HEIGHT)
        for name in series:
            value = values.get((column, name), 0)
            height = HEIGHT * value / top if top else 0
            y -= height
            if value:
                title = f"{column}: {value} {name}"
                bars.append(
                    Bar(
                        round(at * step + step * 0.1, 2),
                        round(y, 2),
                        round(step * 0.8, 2),
                        round(height, 2),
                        name,
                        title,
                    )
                )
    return Stacked(bars, top)


def rarer(refused: int, choices: int, all_refused: int, all_choices: int) -> bool:
    """Tell whether refusing is suspiciously rarer in one group than in all others together.

    At most half as often, and more than four standard errors of a proportion away, in groups of 100 choices and more:
    what a banner that hides its refusal looks like, and a small group by chance does not.
    """
    rest, rest_refused = all_choices - choices, all_refused - refused
    if choices < 100 or rest < 100:
        return False
    share, usual, pooled = refused / choices, rest_refused / rest, all_refused / all_choices
    error = (pooled * (1 - pooled) * (1 / choices + 1 / rest)) ** 0.5
    return share <= usual / 2 and usual - share > 4 * error
