"""What visitors see: the banner, the small control with the preferences, and the pages of our own.

Everything that can be rendered at start is; a request only joins bytes.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup, escape

from consent.assets import asset_dir
from consent.catalog import Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.decision import Decision, Reason, decide
from consent.enforcement import Finding
from consent.errors import ConfigurationError
from consent.languages import Languages
from consent.panel import Panel
from consent.policy import Policy, Regime
from consent.sentences import sayings
from consent.services import CategoryServices, services
from consent.signals import ChoiceState, Signals
from consent.static_files import StaticFile, named, stylesheets
from consent.templates import Templates, template_in
from consent.texts import Texts

_MAX_MEMO = 256
_MAX_SHOWN = 128
"""Renderings and texts that are remembered, of all languages together: up to some 60 kB each, 40 usually."""
_OPTED_OUT = frozenset((Reason.REFUSED, Reason.GPC, Reason.DNT, Reason.FORGED))
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The exact text that a visitor chose on, in one language, without what is one visitor's own."""

    hash: str
    """SHA-256 of ``content``, in hexadecimal: what a receipt keeps."""
    media_type: str
    content: bytes


class _Asked(Enum):
    """Whether the first layer is shown, and how."""

    FIRST = auto()
    AGAIN = auto()
    """The policy changed since the visitor answered."""
    NOT = auto()


class _Heard(Enum):
    """What is said about one browser signal."""

    ABSENT = auto()
    HONOURED = auto()
    CONFLICT = auto()
    """Honoured, over an earlier yes."""
    OVERRULED = auto()
    """The visitor was told of it, and said yes to something it would refuse."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """What the text depends on. Everything else about a visitor only ticks a switch."""

    asked: _Asked
    gpc: _Heard
    dnt: _Heard
    sells: bool
    """Whether there is something left that the control "Do not sell or share" would refuse."""


@dataclass(frozen=True, slots=True)
class _Notice:
    """What is said of a browser signal, or that the visitor's own opt-out counts."""

    text: str
    honoured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What the templates show of one visitor's state, as ``view``."""

    asks: bool
    again: bool
    notices: tuple[_Notice, ...]
    told: tuple[BrowserSignal, ...]
    acceptable: bool
    accept_label: str
    sells: bool
    opt_out_honoured: bool
    overrides: Mapping[Category, str]
    checked: frozenset[Category]
    withdrawable: bool
    state: str
    exceptions: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Markup cut at the places that differ per request."""

    parts: tuple[bytes, ...]
    return_to: tuple[int, ...]
    nonce: tuple[int, ...]

    def fill(self, return_to: bytes, nonce: bytes) -> bytes:
        parts = list(self.parts)
        for position in self.return_to:
            parts[position] = return_to
        for position in self.nonce:
            parts[position] = nonce
        return b"".join(parts)


class Banner:
    """Renders what visitors see, in one language. Safe to share between threads.

    The one that is made is in the site's default language, and the others come from it: see :meth:`in_language`.

    Args:
        policy: The site's rules; its languages and ``texts`` decide the words.
        prefix: Where the visitor endpoints are mounted: a path without a trailing slash.
        templates: A site's own folder; a template or a language file in it goes before the built-in one.
        cookie_name: Name of the cookie that keeps the choice, as visitors are told it.
        companion_name: Name of the readable one that is set with it, if any.
        names_beside: Names of those that keep what was refused besides, with wildcards.
        in_force_since: The day of the policy's version, as the cookie declaration gives it; ``None``: it gives none.
        takes_requests: Whether there is the form for what visitors ask about their data.

    Raises:
        ConfigurationError: a template or a text is missing or wrong. Every template is rendered here once, and
            the texts of all languages are read.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        prefix: str = "/_consent",
        templates: Path | None = None,
        cookie_name: str = "consent",
        companion_name: str = "",
        names_beside: Sequence[str] = (),
        in_force_since: date | None = None,
        takes_requests: bool = False,
    ) -> None:
        if _PREFIX.fullmatch(prefix) is None:
            raise ConfigurationError(
                f"{prefix!r} must be a path such as '/_consent', without a trailing slash", key="prefix"
            )
        if templates is not None and not templates.is_dir():
            raise ConfigurationError(f"there is no folder {templates}", key="templates")
        self.prefix = prefix
        self.languages = Languages(policy, folder=templates)
        self.static: Mapping[str, StaticFile] = stylesheets(asset_dir("static"), policy.layout)
        self._policy = policy
        self._cookie_name = cookie_name
        named = ((cookie_name, True), (companion_name, False), *((name, True) for name in names_beside))
        self._choice_cookies = {name: http_only for name, http_only in named if name}
        self._in_force_since = in_force_since
        self._takes_requests = takes_requests
        # Unguessable, so that no text, policy or address can contain what is replaced per request.
        self._return_to_mark = secrets.token_hex(16)
        self._nonce_mark = secrets.token_hex(16)
        self._cut = re.compile(f"({self._return_to_mark}|{self._nonce_mark})")
        self._templates = Templates(templates)
        self._memo: dict[object, tuple[_Rendered, Shown]] = {}
        self._shown: dict[tuple[str, _Variant], Shown] = {}
        self._siblings: dict[str, Banner] = {self.languages.default: self}
        self._speak(self.languages.default)
        hashes = sorted(self._variant_by_hash)
        # A mistake in a site's own template is to stop the app's start, not somebody's page.
        silence = decide(policy, Signals())
        self.markup(silence, return_to="/", nonce=None)
        self.choices_page(silence, return_to="/")
        self.declaration_page()
        self.declaration()
        self.error_page("error_not_found")
        self.explanation(silence, ())
        wordings = [sorted(texts.entries.items()) for texts in self.languages.offered.values()]
        sentences = sorted({*sayings(policy)})
        said = [list(map(wording, sentences)) for wording in self.languages.wordings.values()]
        seen = (hashes, list(self.languages.offered), policy.language_paths.items(), wordings, said)
        self.version = sha256(repr(seen).encode()).hexdigest()
        """Names the wording in all languages: pages with another one have another version of it."""

    def _speak(self, language: str) -> None:
        self.texts: Texts = self.languages.offered[language]
        self._environment = self._templates.environment(self._globals())
        self._names = {category: self.texts[_key(category)] for category in Category}
        self._inline = {category: self.texts[f"{_key(category)}_inline"] for category in OPTIONAL}
        self._template = self.template("banner.html")
        self._choices = self.template("choices.html")
        self._declaration_page = self.template("declaration.html")
        self._declaration = self.template("declaration_part.html")
        self._error = self.template("error.html")
        self._panel = Panel(
            self.texts, self.template("explanation.html"), names=self._names, inline=self._inline
        )

    def in_language(self, language: str) -> Banner:
        """Return the one that speaks ``language``, one of those offered; it is made when it is first asked for."""
        found = self._siblings.get(language)
        if found is None:
            found = copy.copy(self)
            found.__dict__.pop("_variant_by_hash", None)
            found._speak(language)
            self._siblings[language] = found
        return found

    @property
    def stylesheet_url(self) -> str:
        """The stylesheet of what visitors see on every page, with a hash of its content in the name."""
        return self._static_url("consent.css")

    def _static_url(self, name: str) -> str:
        return f"{self.prefix}/static/{named(self.static, name).name}"

    @property
    def language(self) -> str:
        """Tag of the language that visitors are shown."""
        return self.texts.language

    def markup(self, decision: Decision, *, return_to: str, nonce: str | None) -> bytes:
        """Return the UTF-8 markup to put before ``</body>``.

        While ``decision.asks`` it has the banner; it always has the small control and the preferences.

        Args:
            decision: The decision for this request.
            return_to: Path and query of the page itself, where the visitor comes back to after choosing.
            nonce: The page's CSP nonce, for the stylesheet.
        """
        rendered, _ = self._for(decision)
        nonce_attribute = f' nonce="{escape(nonce)}"' if nonce else ""
        return rendered.fill(_encoded(escape(return_to)), _encoded(nonce_attribute))

    def pieces(self, decision: Decision) -> tuple[bytes, ...]:
        """Return what :meth:`markup` returns without a nonce, cut where it has ``return_to``, escaped."""
        mark = self._return_to_mark.encode()
        return tuple(self._for(decision)[0].fill(mark, b"").split(mark))

    def shown_text(self, decision: Decision) -> Shown:
        """Return the text that :meth:`markup` shows for ``decision``, as evidence: nothing in it is personal.

        It says what was asked and offered. What was switched on is in the receipts.
        """
        return self._for(decision)[1]

    def shown_by_hash(self, digest: str) -> Shown | None:
        """Return the text that a form names as ``shown``; ``None`` if there is no such text in this language."""
        variant = self._variant_by_hash.get(digest)
        return None if variant is None else self._shown_for(variant)

    @cached_property
    def _variant_by_hash(self) -> Mapping[str, _Variant]:
        """Every text in this language by its hash. Not the texts themselves: there are some kilobytes of each."""
        return {self._shown_for(variant).hash: variant for variant in self._variants()}

    def choices_page(
        self, decision: Decision, *, return_to: str, message: str | None = None, past: object = None
    ) -> bytes:
        """Return the page with the preferences, for browsers without popovers and for links.

        Args:
            decision: The decision for this request.
            return_to: Where its link back leads: path and query on this site.
            message: Key of a text to announce, such as ``saved``.
            past: What the visitor said so far, for the template: a :class:`consent.history.Past`.
        """
        variant, view = self._variant(decision), self._view(decision)
        page = self._choices.render(
            view=view,
            shown=self._shown_for(variant).hash,
            return_to=return_to,
            message=self.texts[message] if message else "",
            past=past,
            stay=True,
        )
        return page.encode()

    def declaration_page(self, seen: Iterable[Vendor] = ()) -> bytes:
        """Return the cookie declaration as a page.

        Args:
            seen: Vendors that were seen in the site's pages, to be told of although the policy does not declare them.
        """
        return self._declaration_page.render(declared=self._services(seen)).encode()

    def declaration(self, seen: Iterable[Vendor] = (), *, nonce: str = "") -> Markup:
        """Return the cookie declaration as a part of a page of the site.

        Args:
            seen: As for :meth:`declaration_page`.
            nonce: The page's CSP nonce, for the stylesheets.
        """
        return Markup(self._declaration.render(declared=self._services(seen), nonce=nonce))  # noqa: S704

    def _services(self, seen: Iterable[Vendor]) -> tuple[CategoryServices, ...]:
        wording = self.languages.wordings[self.language]
        return services(self._policy, self.texts, wording, self._choice_cookies, seen)

    def error_page(self, message: str) -> bytes:
        """Return a small page that says what went wrong; ``message`` is the key of a text."""
        return self._error.render(message=self.texts[message]).encode()

    def explanation(self, decision: Decision, findings: Sequence[Finding]) -> bytes:
        """Return the developers' panel: what this response withheld, let through, did not know, and why."""
        return self._panel.markup(decision, findings)

    def _for(self, decision: Decision) -> tuple[_Rendered, Shown]:
        signals = decision.signals
        choice = signals.choice
        key = (
            self.language,
            decision.asks,
            signals.choice_state,
            signals.gpc,
            signals.dnt is True,
            choice and (choice.granted, choice.told, choice.taken_back),
            tuple(sorted(decision.vendors.items())),
        )
        found = self._memo.get(key)
        if found is None:
            shown = self._shown_for(self._variant(decision))
            rendered = self._cut_up(self._render(self._view(decision), shown.hash))
            found = rendered, shown
            if len(self._memo) >= _MAX_MEMO:  # only vendor exceptions can make so many
                self._memo.clear()
            self._memo[key] = found
        return found

    def _cut_up(self, markup: str) -> _Rendered:
        parts = self._cut.split(markup)
        return _Rendered(
            parts=tuple(part.encode() for part in parts),
            return_to=tuple(i for i, part in enumerate(parts) if part == self._return_to_mark),
            nonce=tuple(i for i, part in enumerate(parts) if part == self._nonce_mark),
        )

    def _render(self, view: _View, shown: str) -> str:
        return self._template.render(
            view=view,
            shown=shown,
            return_to=self._return_to_mark,
            nonce_attribute=self._nonce_mark,  # hexadecimal digits until a request fills it in
            stay=False,
        )

    def _shown_for(self, variant: _Variant) -> Shown:
        key = self.language, variant
        found = self._shown.get(key)
        if found is None:
            if len(self._shown) >= _MAX_SHOWN:
                self._shown.clear()
            found = self._shown[key] = self._render_shown(variant)
        return found

    def _render_shown(self, variant: _Variant) -> Shown:
        view = self._variant_view(variant, checked=frozenset(), withdrawable=False, state="", exceptions={})
        content = self._cut_up(self._render(view, "")).fill(b"", b"")
        return Shown(hash=sha256(content).hexdigest(), media_type="text/html; charset=utf-8", content=content)

    def _variants(self) -> Iterator[_Variant]:
        """Every text that this policy can show."""
        opt_out = self._opt_out
        # In opt-in nobody is offered to opt out, and elsewhere nobody is asked.
        for asked in _Asked if self._policy.regime is Regime.OPT_IN else (_Asked.NOT,):
            # Only a valid choice can be in conflict with a signal, and with one nobody is asked.
            heard = tuple(_Heard) if asked is _Asked.NOT else (_Heard.ABSENT, _Heard.HONOURED)
            for gpc in heard if self._policy.gpc_refuses else (_Heard.ABSENT,):
                for dnt in heard if self._policy.dnt_refuses else (_Heard.ABSENT,):
                    for sells in (False, True) if opt_out else (False,):
                        yield _Variant(asked, gpc, dnt, sells)

    def _variant(self, decision: Decision) -> _Variant:
        signals = decision.signals
        asked = _Asked.NOT
        if decision.asks:
            asked = _Asked.AGAIN if signals.choice_state is ChoiceState.OUTDATED else _Asked.FIRST
        return _Variant(
            asked,
            _heard(decision, BrowserSignal.GPC, signals.gpc, self._policy.gpc_refuses),
            _heard(decision, BrowserSignal.DNT, signals.dnt is True, self._policy.dnt_refuses),
            # Of the page that everybody gets, nothing is allowed, and nobody opted out.
            any(decision.reason(category) not in _OPTED_OUT for category in self._opt_out),
        )

    @property
    def _opt_out(self) -> frozenset[Category]:
        """What can be opted out of here."""
        policy = self._policy
        return policy.opt_out_refuses - policy.never if policy.regime is Regime.OPT_OUT else frozenset()

    def _view(self, decision: Decision) -> _View:
        choice = _valid_choice(decision)
        granted = [c for c in OPTIONAL if decision.reason(c) is Reason.GRANTED]
        names = [self._inline[category] for category in granted]
        return self._variant_view(
            self._variant(decision),
            checked=frozenset(category for category in OPTIONAL if decision.allows(category)),
            withdrawable=choice is not None and choice.grants,
            state=self.texts.fill("state_granted", categories=self.texts.listing(names)) if names else "",
            exceptions=decision.vendors,
        )

    def _variant_view(
        self,
        variant: _Variant,
        *,
        checked: frozenset[Category],
        withdrawable: bool,
        state: str,
        exceptions: Mapping[str, bool],
    ) -> _View:
        texts, policy = self.texts, self._policy
        notices: list[_Notice] = []
        told: list[BrowserSignal] = []
        overrides: dict[Category, str] = dict.fromkeys(Category, "")
        for signal, heard, refuses in (
            (BrowserSignal.GPC, variant.gpc, policy.gpc_refuses),
            (BrowserSignal.DNT, variant.dnt, policy.dnt_refuses),
        ):
            if heard is _Heard.ABSENT:
                continue
            told.append(signal)
            for category in OPTIONAL:
                if category in refuses:
                    note = texts[f"{signal.value}_override"]
                    overrides[category] = f"{overrides[category]} {note}".strip()
            if heard is _Heard.OVERRULED:
                notices.append(_Notice(texts[f"{signal.value}_overruled"], honoured=False))
                continue
            names = [self._inline[category] for category in OPTIONAL if category in refuses]
            key = f"{signal.value}_notice_one" if len(names) == 1 else f"{signal.value}_notice"
            notice = texts.fill(key, categories=texts.listing(names))
            if heard is _Heard.CONFLICT:
                notice = f"{notice} {texts[f'{signal.value}_conflict']}"
            notices.append(_Notice(notice, honoured=True))
        honoured = any(notice.honoured for notice in notices)
        if self._opt_out and not variant.sells and not honoured:
            notices.append(_Notice("", honoured=True))
            honoured = True
        excepted = policy.never | (policy.gpc_refuses if variant.gpc is not _Heard.ABSENT else frozenset())
        names = [self._inline[category] for category in OPTIONAL if category in excepted]
        return _View(
            asks=variant.asked is not _Asked.NOT,
            again=variant.asked is _Asked.AGAIN,
            notices=tuple(notices),
            told=tuple(told),
            acceptable=len(names) < len(OPTIONAL),
            accept_label=texts.fill("accept_except", categories=texts.listing(names))
            if names
            else texts["accept"],
            sells=variant.sells,
            opt_out_honoured=honoured,
            overrides=overrides,
            checked=checked,
            withdrawable=withdrawable,
            state=state,
            exceptions=exceptions,
        )

    def _globals(self) -> dict[str, object]:
        """What every template may use, whatever the visitor."""
        texts, policy, offered = self.texts, self._policy, self.languages.offered
        return {
            "t": texts,
            "languages": list(offered.values()) if len(offered) > 1 else [],
            "policy": policy,
            "site": texts["this_site"] if policy.site == Policy().site else policy.site,
            "opt_in": policy.regime is Regime.OPT_IN,
            "prefix": self.prefix,
            "stylesheet_url": self.stylesheet_url,
            "pages_stylesheet_url": self._static_url("pages.css"),
            "explanation_stylesheet_url": self._static_url("explanation.css"),
            "declaration_url": f"{self.prefix}/cookies?language={texts.language}",
            "in_force_since": self._in_force_since,
            "takes_requests": self._takes_requests,
            "categories": self._services(()),
            "duration": " ".join(
                (
                    texts.fill("duration", days=policy.choice_days, cookie=self._cookie_name),
                    texts["duration_refused"],
                    *self._where_it_counts(),
                )
            ),
        }

    def _where_it_counts(self) -> Iterator[str]:
        """Yield what tells visitors on which sites their answer counts, where these are more than the one host."""
        hosts = [origin.partition("://")[2] for origin in self._policy.group]
        domain = self._policy.choice_domain
        if domain and not any(host == domain or host.endswith("." + domain) for host in hosts):
            hosts.insert(0, domain)
        if hosts:
            yield self.texts.fill("counts_on", sites=self.texts.listing(hosts))

    def template(self, name: str) -> Template:
        """Return one of the templates, the site's own before the built-in ones, with what all of them may use."""
        return template_in(self._environment, name)


def _heard(decision: Decision, signal: BrowserSignal, sent: bool, refuses: frozenset[Category]) -> _Heard:
    if not sent or not refuses:
        return _Heard.ABSENT
    if signal in decision.conflicts:
        return _Heard.CONFLICT
    choice = _valid_choice(decision)
    if choice is not None and signal in choice.told and choice.granted & refuses:
        return _Heard.OVERRULED
    return _Heard.HONOURED


def _valid_choice(decision: Decision) -> Choice | None:
    signals = decision.signals
    return signals.choice if signals.choice_state is ChoiceState.VALID else None


def _key(category: Category) -> str:
    return category.value.replace("-", "_")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
