"""What all responses of one site share, and those to visitors with the same answer: made once, and only read then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from consent import headers as fields
from consent.banner import Banner
from consent.catalog import Catalog
from consent.categories import Category
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.csp import ClosedWorld
from consent.decision import Decision
from consent.enforcement import UnclassifiedRule
from consent.enforcement_log import EnforcementLog
from consent.failures import Failures
from consent.gpp import GppScript
from consent.guard import Guard
from consent.html.screening import page_screen
from consent.inline_scripts import PickedPages
from consent.inventory import Inventory
from consent.placeholder import Placeholders
from consent.policy import Refused
from consent.variant_cookie import VariantCookie

Fields = tuple[tuple[bytes, bytes], ...]

_MAX_EDITIONS = 128
"""How many are remembered, of all answers and languages together: each is as long as what is put into a page."""
_MAX_MET = 128
_LONGEST_MET = 128
_MAX_COOKIES = 256
_LONGEST_COOKIE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all responses of one site share."""

    catalog: Catalog
    banner: Banner
    guard: Guard | None
    defers_guard: bool
    """Whether pages may be read while the guard is on its way, as long as no script runs."""
    gpp: GppScript | None
    """Answers ``__gpp`` in pages; ``None``: nothing does."""
    failures: Failures
    refused: Refused
    placeholders: Placeholders | None
    """Make what offers refused embeds; ``None``: they are as all else that is refused."""
    csp: ClosedWorld | None
    """Writes the policy that pages and workers get besides their own."""
    cookie: ChoiceCookie
    """Keeps the choice."""
    companion: VariantCookie
    """Tells under which key a shared cache may keep a page."""
    inventory: Inventory
    scripts: PickedPages | None
    """Note the inline scripts of some pages; ``None``: nobody does."""
    enforcement: EnforcementLog
    clock: Callable[[], float]
    """Returns seconds since 1970."""
    unclassified: UnclassifiedRule
    """What becomes of what nobody has explained."""
    explain: bool
    """Whether the developer's explanation goes to the end of every page."""

    def head(self, decision: Decision, *, nonce: str | None, defer: bool) -> bytes:
        """Return what comes before everything else in a page: the guard, and behind it what goes by its answers."""
        tag = self.guard_tag(decision, nonce=nonce, defer=defer)
        return tag if self.gpp is None else tag + self.gpp.markup(decision, nonce=nonce)

    def guard_tag(self, decision: Decision, *, nonce: str | None, defer: bool = False) -> bytes:
        """Return the guard's tag, empty without one."""
        return b"" if self.guard is None else self.guard.markup(decision, nonce=nonce, defer=defer)


class Clearing(NamedTuple):
    """How a whole page is sent in which nobody has to be asked about anything: by a screen alone.

    All else is left to the rewriter, which makes the same of such a page.
    """

    screen: object
    """See :func:`consent.html.screening.page_screen`."""
    nobody: bytes
    """For each vendor, and for what is nobody's, that it needs a look."""
    first: bytes
    """Goes behind ``<head>``."""
    before_running: bytes | None
    """Goes before the first script that runs as it is read; ``None``: nothing does."""
    harmless: set[bytes]
    """Names of the cookies met so far that stay, up to a bound."""
    mark: bytes
    """Begins the names of the marks, each of another visitor, which stay too; see :mod:`consent.refusal_mark`."""
    is_due: Callable[[], bool] | None
    """Tells whether a page is to be held on to."""


class Edition(NamedTuple):
    """What pages have in common that are for the same answer, in one language, and over the same scheme.

    As long as nothing in a page asks for more: a nonce, or header fields of its own about what we say there.
    """

    fields: Fields
    """Goes behind the fields that stay, before the length."""
    last: tuple[bytes, ...]
    """Goes to the end of the body; between two pieces goes the page's own address, escaped."""
    unread: tuple[bytes, ...]
    """The same for a page that nothing is refused in: with the guard's tag, which has nothing to come before. Empty
    where something may be: each page is read then."""
    seen: Sequence[str]
    """The vendors seen on the site when this was made; with others, there is another one."""
    clearing: Clearing | None
    """How a page is read that something may be refused in; ``None``: by the rewriter alone."""


class Wanted(NamedTuple):
    """Which of the editions for one answer."""

    language: str
    is_negotiated: bool
    """Whether the language depends on who asks for the page."""
    is_secure: bool
    """Whether the page goes over HTTPS."""


class Editions:
    """Those for one answer, as far as they were asked for. Safe to share between threads."""

    def __init__(self, shelf: EditionShelf) -> None:
        self._shelf = shelf
        self._fields: dict[Wanted, tuple[Fields, Sequence[str]]] = {}
        self._made: dict[Wanted, Edition] = {}
        self.met: dict[str, dict[bytes, Edition]] = {"http": {}, "https": {}}
        """By scheme and by ``Accept-Language``, those of pages whose address settles no language, up to a bound."""
        self.harmless_cookies: set[bytes] = set()
        """Names of the cookies met so far that the answer does not refuse, up to a bound."""

    def fields(self, site: Site, ruling: Ruling, wanted: Wanted) -> Fields:
        """Return the header fields alone, which cannot fail."""
        added, seen = self._fields.get(wanted, ((), None))
        if seen is not site.inventory.seen:
            added, seen = _fields(site, ruling, wanted), site.inventory.seen
            self._fields[wanted] = added, seen
        return added

    def edition(self, site: Site, ruling: Ruling, wanted: Wanted) -> Edition:
        """Return the edition that is wanted; the site's own template may fail."""
        made = self._made.get(wanted)
        if made is None or made.seen is not site.inventory.seen:
            self._shelf.make_room()
            seen = site.inventory.seen
            last = site.banner.in_language(wanted.language).pieces(ruling.decision)
            unread: tuple[bytes, ...] = ()
            clearing: Clearing | None = None
            if ruling.allows_everything:
                unread = (site.guard_tag(ruling.decision, nonce=None) + last[0], *last[1:])
            else:
                clearing = _clearing(site, ruling, self.harmless_cookies)
            made = self._made[wanted] = Edition(
                self.fields(site, ruling, wanted), last, unread, seen, clearing
            )
        return made

    def meet(self, scheme: str, accept_language: bytes, edition: Edition) -> None:
        """Know which edition is for who sends this ``Accept-Language``."""
        met = self.met.get(scheme)
        if met is not None and len(accept_language) <= _LONGEST_MET:
            if len(met) >= _MAX_MET:
                met.clear()
            met[accept_language] = edition

    def judged(self, refuses: Callable[[str], bool], is_mark: Callable[[str], bool]) -> Callable[[str], bool]:
        """Return what judges cookies as ``refuses`` does, and remembers which of them stay, but the marks."""

        def judging(name: str) -> bool:
            refused = refuses(name)
            if not refused and len(name) <= _LONGEST_COOKIE and not is_mark(name):
                if len(self.harmless_cookies) >= _MAX_COOKIES:
                    self.harmless_cookies.clear()
                self.harmless_cookies.add(name.encode("ascii"))
            return refused

        return judging

    def forget(self) -> None:
        """Make them anew when they are asked for again."""
        self._fields.clear()
        self._made.clear()
        for met in self.met.values():
            met.clear()


class EditionShelf:
    """The editions for all answers that rulings are kept of. Safe to share between threads."""

    def __init__(self) -> None:
        self._by_answer: WeakValueDictionary[object, Editions] = WeakValueDictionary()
        self._room = _MAX_EDITIONS

    def editions(self, answer: object) -> Editions:
        """Return the editions for what tells one answer from another."""
        found = self._by_answer.get(answer)
        if found is None:
            found = self._by_answer[answer] = Editions(self)
        return found

    def make_room(self) -> None:
        """Be asked for one more. Only vendor exceptions, in all languages, can make many."""
        self._room -= 1
        if self._room < 0:
            for editions in list(self._by_answer.values()):
                editions.forget()
            self._room = _MAX_EDITIONS


def _clearing(site: Site, ruling: Ruling, harmless_cookies: set[bytes]) -> Clearing | None:
    screen = page_screen(site.catalog)
    if screen is None:
        return None
    decision, scripts = ruling.decision, site.scripts
    return Clearing(
        screen,
        bytes(len(site.catalog.vendors) + 1),
        site.head(decision, nonce=None, defer=site.defers_guard),
        site.guard_tag(decision, nonce=None) if site.defers_guard else None,
        harmless_cookies,
        site.cookie.mark_name.encode(),
        None if scripts is None else lambda: scripts.is_due(site.clock()),
    )


def _fields(site: Site, ruling: Ruling, wanted: Wanted) -> Fields:
    caching = fields.BY_SPEAKER if wanted.is_negotiated else fields.BY_VISITOR
    added = fields.rewritten([], variant=ruling.variant, targeting=ruling.targeting, caching=caching)
    if site.csp is not None:
        added = site.csp.added(
            added,
            ruling.decision,
            variant=ruling.variant,
            seen=site.inventory.seen,
            secure=wanted.is_secure,
            plain=True,
        )
    return tuple(added)


class Ruling:
    """A decision, and what follows from it for every response.

    Args:
        variant: names the variant of every page that visitors with this decision get.
        own: decides about what is for the visitor alone. Another one where everybody gets the same page.
        editions: are shared by all rulings whose pages are the same.
        is_open: whether a page may have whatever the decision allows.
        is_taken_back: whether a browser signal overrules something that the visitor allowed.
        left: what the choice is to be stored as in place of what it is; see :class:`consent.choice_cookie.ReadChoice`.
    """

    __slots__ = (
        "allows_everything",
        "decision",
        "editions",
        "is_taken_back",
        "left",
        "own",
        "targeting",
        "variant",
    )

    def __init__(
        self,
        decision: Decision,
        variant: str,
        *,
        own: Decision,
        editions: Editions,
        is_open: bool = True,
        is_taken_back: bool = False,
        left: Choice | None = None,
    ) -> None:
        self.left = left
        self.decision = decision
        self.own = own
        self.variant = variant
        self.editions = editions
        self.is_taken_back = is_taken_back
        self.targeting = decision.allows(Category.TARGETING)
        self.allows_everything = is_open and decision.allows_everything
