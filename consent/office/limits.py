"""How many calls there are a day: for each who asks, and for each site."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consent.answers import Headers
from consent.errors import ConfigurationError
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase

CALLS_A_DAY: Final = 2_400
"""How many calls a token has a day, if not said otherwise."""
SITE_CALLS_A_DAY: Final = 24_000
"""How many calls there are a day about one site, of all tokens together; and as many of those for all sites."""
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many calls are left today by one limit."""

    name: str
    """``day``: of who asks; ``site``: of the site, which others ask, too."""
    limit: int
    left: int
    """Below zero: this one is too many."""
    reset_seconds: int
    """Until there are new ones: at midnight, UTC."""


class Limits:
    """Counts calls. Blocks; safe to share between threads, and between all processes of a machine.

    Args:
        database: where they are counted.
        clock: returns seconds since 1970.
        calls_a_day: of each who asks.
        site_calls_a_day: of each site.
    """

    def __init__(
        self,
        database: OfficeDatabase,
        clock: Callable[[], float],
        *,
        calls_a_day: int = CALLS_A_DAY,
        site_calls_a_day: int = SITE_CALLS_A_DAY,
    ) -> None:
        self._database = database
        self._clock = clock
        self.calls_a_day = calls_a_day
        self.site_calls_a_day = site_calls_a_day

    def count(self, asker: Asker, *, weight: int = 1) -> Sequence[Allowance]:
        """Count a call of today; return what is left by each limit.

        A call that is one too many for who asks takes nothing from the site: others are not to suffer from it.
        """
        now = int(self._clock())
        day = format_moment(now * 1_000)[:10]
        # No token has an id like that.
        sites = [f"site {site}" for site in asker.sites] or ["site"]
        with self._database.writing() as connection:

            def counted(name: str, more: int) -> int:
                connection.execute(
                    "INSERT INTO calls VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET times = times + ?3",
                    (name, day, more),
                )
                row = connection.execute("SELECT times FROM calls WHERE token = ? AND day = ?", (name, day))
                return int(row.fetchone()[0])

            connection.execute("DELETE FROM calls WHERE day < ?", (day,))
            own = self.calls_a_day - counted(asker.id, weight)
            site = self.site_calls_a_day - max(counted(name, 0 if own < 0 else weight) for name in sites)
        reset = _DAY_SECONDS - now % _DAY_SECONDS
        return (
            Allowance("day", self.calls_a_day, own, reset),
            Allowance("site", self.site_calls_a_day, site, reset),
        )


def exceeded(allowances: Sequence[Allowance]) -> Allowance | None:
    """Return the limit by which a call is one too many; ``None``: it is not."""
    return next((each for each in allowances if each.left < 0), None)


def limit_headers(allowances: Sequence[Allowance]) -> Headers:
    """Return the header fields that say how many are left (draft-ietf-httpapi-ratelimit-headers-10)."""
    policies = [f'"{each.name}";q={each.limit};w={_DAY_SECONDS}' for each in allowances]
    left = [f'"{each.name}";r={max(0, each.left)};t={each.reset_seconds}' for each in allowances]
    return (
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(left).encode()),
    )


def limit_from(variable: str, default: int) -> int:
    """Return how many calls the environment allows a day.

    Raises:
        ConfigurationError: that is no number of calls.
    """
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= 10**9):
        raise ConfigurationError(
            f"{text!r:.80} is no number of calls a day: 1 to 1000000000", source=variable
        )
    return int(text)
