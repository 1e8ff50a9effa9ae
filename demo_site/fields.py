"""What the subscriber area and the contact form show: invented fields, readings and topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOPICS = {
    "order": "Ordering Taproot",
    "advice": "Advice for my ground",
    "repair": "A repair",
    "press": "Press and teaching",
}
"""What a visitor may write to us about, by the name used in addresses."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field with its probe, and the last fourteen days at 30 cm."""

    name: str
    crop: str
    moisture: tuple[int, ...]
    """Percent by volume, a value a day, oldest first."""
    celsius: float
    battery: int
    advice: str

    @property
    def spark(self) -> str:
        """The points of a line over the days, in a box of 140 by 36."""
        return _line(self.moisture, width=140, height=36)


def _line(values: Sequence[int], *, width: int, height: int) -> str:
    low, high = min(values), max(values)
    step, span = width / (len(values) - 1), max(high - low, 1)
    points = (
        (index * step, 3 + (height - 6) * (1 - (value - low) / span)) for index, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


FIELDS = (
    Field(
        "North terrace",
        "Apricots, on heavy loam",
        (34, 33, 32, 31, 30, 29, 33, 36, 35, 34, 33, 31, 30, 29),
        11.4,
        96,
        "Water on Thursday, 14 mm",
    ),
    Field(
        "Mill meadow",
        "Blackcurrants, on silt",
        (41, 41, 40, 40, 39, 39, 41, 43, 43, 42, 42, 41, 41, 40),
        10.9,
        91,
        "Nothing to do this week",
    ),
    Field(
        "Glasshouse two",
        "Tomatoes, in beds",
        (38, 36, 39, 37, 40, 38, 37, 39, 38, 36, 39, 37, 38, 37),
        18.2,
        88,
        "Vent from ten, the leaves stay wet too long",
    ),
    Field(
        "The long strip",
        "Barley, under clover",
        (28, 27, 27, 26, 25, 25, 29, 32, 31, 30, 29, 28, 27, 26),
        9.7,
        73,
        "Change the battery within a month",
    ),
)
