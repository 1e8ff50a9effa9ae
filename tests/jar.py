"""A browser's cookies, told apart by name, domain, and whether they are for one host alone."""

from __future__ import annotations

from collections.abc import Iterable

from consent.choice import MAX_COOKIE_DAYS

_DAY = 86_400


class Jar:
    """Keeps what answers set, until it is over (RFC 6265bis, section 5.7; every path is ``/``).

    ``scheme`` is that of the page: without HTTPS a secure cookie is neither sent nor set, nor is one written over.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, bool], tuple[str, float]] = {}
        self._secure: set[str] = set()
        """The names of those that are secure."""

    def take(
        self, lines: Iterable[str], *, host: str = "example.com", now: float = 0, scheme: str = "https"
    ) -> None:
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
            if scheme != "https" and ("secure" in said or (name in self._secure and place in self._kept)):
                continue
            (self._secure.add if "secure" in said else self._secure.discard)(name)
            age = int(said["max-age"])
            if age <= 0:
                self._kept.pop(place, None)
            else:
                self._kept[place] = value, now + min(age, MAX_COOKIE_DAYS * _DAY)

    def delete(self, *names: str) -> None:
        """Lose the cookies of these names, as by a hand, a program or a limit."""
        for place in [place for place in self._kept if place[0] in names]:
            del self._kept[place]

    def sent(self, *, host: str = "example.com", now: float = 0, scheme: str = "https") -> str:
        """Return the ``Cookie`` field of a request for ``host``; empty: there is none."""
        return "; ".join(
            f"{name}={value}"
            for (name, domain, is_alone), (value, ends) in self._kept.items()
            if ends > now
            and (host == domain or (not is_alone and host.endswith("." + domain)))
            and (scheme == "https" or name not in self._secure)
        )
