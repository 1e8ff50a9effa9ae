"""A browser's cookies, told apart by name, domain, and whether they are for one host alone."""

from __future__ import annotations

from collections.abc import Iterable

from consent.choice import MAX_COOKIE_DAYS

_DAY = 86_400


class Jar:
    """Keeps what answers set, until it is over (RFC 6265bis, section 5.7; every path is ``/``)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, bool], tuple[str, float]] = {}

    def take(self, lines: Iterable[str], *, host: str = "example.com", now: float = 0) -> None:
        """Keep the cookies of ``Set-Cookie`` lines that ``host`` sent."""
        for line in lines:
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            said = {key.lower(): text for key, _, text in (each.partition("=") for each in attributes)}
            assert said.get("path", "/") == "/"
            domain = said.get("domain", "")
            if domain and host != domain and not host.endswith("." + domain):
                continue
            place = (name, domain or host, not domain)
            age = int(said["max-age"])
            if age <= 0:
                self._kept.pop(place, None)
            else:
                self._kept[place] = value, now + min(age, MAX_COOKIE_DAYS * _DAY)

    def sent(self, *, host: str = "example.com", now: float = 0) -> str:
        """Return the ``Cookie`` field of a request for ``host``; empty: there is none."""
        return "; ".join(
            f"{name}={value}"
            for (name, domain, is_alone), (value, ends) in self._kept.items()
            if ends > now and (host == domain or (not is_alone and host.endswith("." + domain)))
        )
