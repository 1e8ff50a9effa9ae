"""A visitor's own receipts: listed on the page of choices, shown, and handed out in every form that there is.

Whose they are, the pseudonym in the signed cookie says; nobody else gets one. What a receipt names is there as long as
the receipt is, whatever became of policy and texts since.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from markupsafe import Markup
from starlette.types import Scope

from consent.answers import DECIDING, LOCKED_DOWN, PAGE_HEADERS, Answer, Headers, Refused
from consent.banner import Banner
from consent.catalog import Catalog
from consent.categories import OPTIONAL
from consent.choice import Choice, refusals_of
from consent.choice_cookie import ChoiceCookie
from consent.errors import ConsentError, InvalidReceiptError
from consent.log_reading import Log, LogReading
from consent.moments import format_moment, parse_moment
from consent.policy import Policy
from consent.receipt_search import Position, ReceiptPage, Sought
from consent.receipts import Artefact, CollectionMethod, Receipt
from consent.signals import ChoiceState, Signals
from consent.standard_forms import iso_27560_record, kantara_receipt
from consent.terms import Terms, read_terms, terms_artefacts, terms_of
from consent.visitor_requests import VisitorRequests, query_of

logger = logging.getLogger("consent")

PAGE_RECEIPTS = 10
"""How many receipts a page lists."""
MAX_EXPORTED = 500
"""How many receipts one file holds; it says where the next one begins."""
RETRY_AFTER_SECONDS = 10

_FILE_HEADERS: Headers = (
    (b"cache-control", b"no-store"),
    DECIDING,
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Nothing in the text is alive: no script, no form, no frame, and no origin of this site's. It can be saved.
_INERT: Headers = tuple(
    (name, value.replace(b"form-action 'self'", b"form-action 'none'") + b"; sandbox allow-downloads")
    if name == b"content-security-policy"
    else (name, value)
    for name, value in LOCKED_DOWN
)
_FORMS = {"kantara": kantara_receipt, "iso-27560": iso_27560_record}

_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a page shows of one receipt, in the visitor's language."""

    id: str
    site: str
    moment: str
    """As the receipt has it."""
    time: str
    """... and as people read it."""
    outcome: str
    how: str
    answers: Sequence[tuple[str, bool]]
    """By category: its name, and whether it was allowed."""
    vendors: Sequence[tuple[str, bool]] = ()
    """The same for the single vendors whose answer differs."""
    signals: Sequence[str] = ()
    """What the browser said besides."""
    language: str = ""
    """Of the text shown; empty: none was."""
    forms: Sequence[str] = ()
    """In which other forms there is this receipt."""
    policy: str = ""
    record: str = ""
    """The receipt to the letter, for people to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the page of choices shows of what the visitor said so far."""

    standing: str = ""
    """Since when the answer holds, and until when; empty: there is none that holds."""
    entries: Sequence[Entry] = ()
    is_readable: bool = True
    """Whether the log could be read."""
    older: str = ""
    """Where the next page begins; empty: this is the last one."""
    can_forget: bool = False


class History:
    """Answers about the receipts of whoever asks. Safe to share between tasks.

    Args:
        policy, catalog, banner, cookie: as for :class:`consent.visitor.VisitorEndpoints`.
        requests: reads who asks.
        log: reads the log; ``None``: there is none to read.
        can_forget: whether the store can erase.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        banner: Banner,
        cookie: ChoiceCookie,
        requests: VisitorRequests,
        log: LogReading | None,
        *,
        can_forget: bool,
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._cookie = cookie
        self._requests = requests
        self._log = log
        self._can_forget = can_forget
        self._terms = read_terms(terms_artefacts(policy))
        # A mistake in a site's own template is to stop the app's start, not somebody's page.
        sample = Entry(
            id="", site="", moment="", time="", outcome="", how="", answers=[("", True)], forms=[*_FORMS]
        )
        silence = requests.decide(Signals())
        past = Past(standing=" ", entries=[sample], older="0-0", can_forget=True)
        banner.choices_page(silence, return_to="/", past=past)
        _render(banner, "receipt.html", entry=sample, terms=self._terms)
        _render(banner, "shown_text.html", entry=sample, shown="")

    async def past(self, scope: Scope, signals: Signals, banner: Banner) -> Past | None:
        """Return what the page of choices shows; ``None`` for somebody of whom there is nothing.

        A log that cannot be read takes nothing else from the page.
        """
        choice = signals.choice
        if choice is None or choice.is_nobodys:
            return None
        found = ReceiptPage((), None)
        is_readable = self._log is not None
        if self._log is not None:
            before = _position(query_of(scope).get("before", ""))
            try:
                found = await self._log.read(_listing(choice.subject, before, PAGE_RECEIPTS))
            except ConsentError as error:
                logger.warning("a visitor's receipts could not be read: %s", error)
                is_readable = False
        return Past(
            standing=self._standing(choice, banner) if signals.choice_state is ChoiceState.VALID else "",
            entries=[self._entry(logged.receipt, banner) for logged in found.receipts],
            is_readable=is_readable,
            older=_written_position(found.next),
            can_forget=self._can_forget,
        )

    async def withdrawn(self, signals: Signals, now: int) -> Choice | None:
        """Return the no that takes the place of the browser's choice, if the office recorded one since; else ``None``.

        What the office records is only ever a no, and goes over nothing but a yes.

        Args:
            signals: what the request says.
            now: seconds since 1970.

        Raises:
            Refused: the log cannot be read, so that nobody can tell.
        """
        choice = signals.choice
        if self._log is None or choice is None or choice.is_nobodys or not choice.grants:
            return None
        asked = Sought(subject=choice.subject, collection_method=CollectionMethod.OFFICE)
        page = await self._read(lambda log: log.find(asked, limit=PAGE_RECEIPTS))
        for receipt in (logged.receipt for logged in page.receipts):
            made_at = parse_moment(receipt.time) // 1_000
            # The choice that the office knew of may be a later one than this browser has left.
            is_later = receipt.site == self._policy.site and made_at > choice.made_at
            if (is_later or receipt.previous == choice.receipt_id) and not receipt.grants:
                return replace(
                    refusals_of(choice),
                    receipt_id=receipt.receipt_id,
                    made_at=max(choice.made_at, min(made_at, now)),
                    policy_version=receipt.policy_version,
                )
        return None

    async def receipt(self, scope: Scope, headers: Headers) -> Answer:
        """Answer with one receipt of the visitor's: with its proof, in another form, or as a page.

        Raises:
            Refused: there is none, or it is not this visitor's; or the log cannot be read.
        """
        asked = query_of(scope)
        choice = self._choice(scope)
        receipt_id = asked.get("id") or (choice.receipt_id if choice else "")
        form = asked.get("form", "proof")
        if form == "proof":
            return await self._proof(receipt_id, choice)
        receipt, terms = await self._own(receipt_id, choice, self._with_terms)
        if form == "page":
            banner = self._speaking(scope, headers)
            page = _render(banner, "receipt.html", entry=self._entry(receipt, banner), terms=terms)
            return Answer(200, PAGE_HEADERS, page)
        written = self._written(receipt, terms, form)
        if written is None:
            raise _missing()
        return _file(written, f"consent-receipt-{form}", form)

    async def receipts(self, scope: Scope, headers: Headers) -> Answer:
        """Answer with all receipts of the visitor's, in one file.

        Raises:
            Refused: there are none, or the log cannot be read.
        """
        asked = query_of(scope)
        form, before = asked.get("form", "receipt"), _position(asked.get("before", ""))
        choice = self._choice(scope)
        if choice is None or form not in ("receipt", *_FORMS):
            raise _missing()
        listing = _listing(choice.subject, before, MAX_EXPORTED)
        following, dated = await self._read(lambda log: _dated(listing(log), log, self._with_terms))
        content: dict[str, object] = {}
        if form == "receipt":
            content["receipts"] = [receipt.to_json() for receipt, _ in dated]
        else:
            in_form = {receipt.receipt_id: self._written(receipt, terms, form) for receipt, terms in dated}
            written = [record for record in in_form.values() if record is not None]
            if form == "iso-27560":
                # One document in JSON-LD: what the records have in common stands once.
                content |= {"@context": [record.pop("@context") for record in written][:1], "@graph": written}
            else:
                content["receipts"] = written
            content["left_out"] = [receipt_id for receipt_id, record in in_form.items() if record is None]
        if following is not None:
            content["next"] = _written_position(following)
        return _file(content, f"consent-receipts-{form}".removesuffix("-receipt"), form)

    async def text(self, scope: Scope, headers: Headers) -> Answer:
        """Answer with the exact text that one of the visitor's receipts names: to be read, or as it was kept.

        Raises:
            Refused: there is none, or the receipt is not this visitor's; or the log cannot be read.
        """
        asked = query_of(scope)
        receipt, shown = await self._own(asked.get("id", ""), self._choice(scope), _shown)
        if shown is None:
            raise _missing()
        if asked.get("form") == "file":
            sent = (*_FILE_HEADERS, *_INERT, _attached(f"consent-text-{shown.hash[:12]}.html"))
            return Answer(200, ((b"content-type", shown.media_type.encode()), *sent), shown.content)
        banner = self._speaking(scope, headers)
        page = _render(
            banner,
            "shown_text.html",
            entry=self._entry(receipt, banner),
            # It was markup when it was shown, and its hash says that it still is that.
            shown=Markup(shown.content.decode("utf-8", "replace")),  # noqa: S704
        )
        return Answer(200, (*(pair for pair in PAGE_HEADERS if pair not in LOCKED_DOWN), *_INERT), page)

    # ---- whose, and which

    def _choice(self, scope: Scope) -> Choice | None:
        """Return the choice of a visitor who may have receipts."""
        choice = self._requests.signals(scope).choice
        return None if choice is None or choice.is_nobodys else choice

    async def _own(
        self, receipt_id: str, choice: Choice | None, work: Callable[[Receipt, Log], _T]
    ) -> tuple[Receipt, _T]:
        """Return a receipt of the visitor's with what ``work`` makes of it."""
        subject = choice.subject if choice else ""

        def find(log: Log) -> tuple[Receipt, _T] | None:
            receipt = log.get(receipt_id)
            return (receipt, work(receipt, log)) if receipt and receipt.subject == subject else None

        found = await self._read(find) if choice else None
        # Of somebody else's nobody is told that there is one.
        if found is None:
            raise _missing()
        return found

    async def _proof(self, record_id: str, choice: Choice | None) -> Answer:
        evidence = await self._read(lambda log: log.evidence(record_id)) if record_id else None
        if evidence is not None:
            record = json.loads(evidence.record)
            # An erasure says nothing of anybody: whoever was told its id may have it.
            if "erasure_id" in record:
                return _file(evidence.text(), "consent-erasure")
            if choice is not None and record["subject"] == choice.subject:
                return _file(evidence.text(), "consent-receipt")
        # The first checkpoint that covers a record takes a second.
        raise _missing(*([(b"retry-after", b"2")] if record_id else []))

    async def _read(self, work: Callable[[Log], _T]) -> _T:
        if self._log is None:
            raise _missing()
        try:
            return await self._log.read(work)
        except ConsentError as error:
            logger.warning("a visitor's receipts could not be read: %s", error)
            retry = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
            raise Refused(503, "unavailable", "history_unavailable", (retry,)) from error

    def _forms_of(self, receipt: Receipt) -> list[str]:
        """Name the other forms that there is a receipt in."""
        if receipt.policy_hash is None and receipt.policy_version != self._policy.version:
            return []
        return [form for form in _FORMS if receipt.grants or form != "kantara"]

    def _with_terms(self, receipt: Receipt, log: Log) -> Terms | None:
        """Return what the visitor was asked to agree to; ``None`` where nobody knows any more."""
        if receipt.policy_hash is None:
            return self._terms if receipt.policy_version == self._policy.version else None
        return terms_of(receipt, log.artefact)

    def _written(self, receipt: Receipt, terms: Terms | None, form: str) -> dict[str, object] | None:
        """Return a receipt in another form; ``None`` where it cannot be said in it."""
        if terms is None or form not in self._forms_of(receipt):
            return None
        try:
            return _FORMS[form](receipt, terms, self._catalog)
        except InvalidReceiptError:  # a yes to a vendor that nobody knows any more
            return None

    # ---- what is shown

    def _speaking(self, scope: Scope, headers: Headers) -> Banner:
        return self._requests.speaking(headers, scope["path"], query_of(scope).get("language", ""))

    def _standing(self, choice: Choice, banner: Banner) -> str:
        since, until = (_day(moment) for moment in (choice.made_at, self._cookie.fresh_until(choice)))
        return banner.texts.fill("standing", date=since, until=until)

    def _entry(self, receipt: Receipt, banner: Banner) -> Entry:
        texts = banner.texts
        offered = banner.languages.offered
        known = self._catalog.vendors
        signals = receipt.signals
        ways = {
            CollectionMethod.OPT_OUT_FORM: texts["do_not_sell"],
            **{method: texts[key] for method, key in _WAYS.items()},
        }
        return Entry(
            id=receipt.receipt_id,
            site=receipt.site,
            moment=receipt.time,
            time=f"{receipt.time[:10]} {receipt.time[11:16]} UTC",
            outcome=texts[f"outcome_{receipt.outcome}"],
            how=ways[receipt.collection_method],
            answers=[(texts[category.value], receipt.categories[category]) for category in OPTIONAL],
            vendors=[
                (known[vendor].name if vendor in known else vendor, allowed)
                for vendor, allowed in sorted(receipt.vendors.items())
            ],
            signals=[
                texts[key]
                for key, sent in (("explain_gpc", signals.gpc), ("explain_dnt", signals.dnt))
                if sent
            ],
            language=""
            if receipt.shown_hash is None
            else offered[receipt.language].name
            if receipt.language in offered
            else receipt.language,
            forms=self._forms_of(receipt),
            policy=texts.fill("explain_policy", version=receipt.policy_version),
            record=json.dumps(receipt.to_json(), ensure_ascii=False, indent=2),
        )


_WAYS = {
    CollectionMethod.BANNER_FORM: "by_banner",
    CollectionMethod.PREFERENCES_FORM: "by_preferences",
    CollectionMethod.EMBED_FORM: "by_embed",
    CollectionMethod.SIGNAL: "by_signal",
    CollectionMethod.GROUP: "by_group",
    CollectionMethod.API: "by_site",
    CollectionMethod.OFFICE: "by_office",
}


def _listing(subject: str, before: Position | None, limit: int) -> Callable[[Log], ReceiptPage]:
    return lambda log: log.find(Sought(subject=subject), limit=limit, before=before)


def _dated(
    page: ReceiptPage, log: Log, terms_of: Callable[[Receipt, Log], Terms | None]
) -> tuple[Position | None, Sequence[tuple[Receipt, Terms | None]]]:
    """Add the terms to the receipts of one file; those of one policy are read once."""
    known: dict[tuple[str, str | None], Terms | None] = {}
    dated = []
    for receipt in (logged.receipt for logged in page.receipts):
        key = receipt.policy_hash or receipt.policy_version, receipt.vendor_list_hash
        if key not in known:
            known[key] = terms_of(receipt, log)
        dated.append((receipt, known[key]))
    return page.next, dated


def _shown(receipt: Receipt, log: Log) -> Artefact | None:
    return log.artefact(receipt.shown_hash) if receipt.shown_hash else None


def _position(text: str) -> Position | None:
    """Read where a page begins; anything else means the newest."""
    found = _POSITION.fullmatch(text)
    return Position(int(found[1]), int(found[2])) if found else None


def _written_position(position: Position | None) -> str:
    return f"{position.time_ms}-{position.leaf}" if position else ""


def _day(seconds: int) -> str:
    return format_moment(seconds * 1_000)[:10]


def _render(banner: Banner, name: str, **values: object) -> bytes:
    return banner.template(name).render(**values).encode()


def _file(content: object, name: str, form: str = "") -> Answer:
    is_linked = form == "iso-27560"
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    kind = (b"content-type", b"application/ld+json" if is_linked else b"application/json")
    name += ".jsonld" if is_linked else ".json"
    return Answer(200, (kind, *_FILE_HEADERS, _attached(name)), text.encode())


def _attached(name: str) -> tuple[bytes, bytes]:
    return b"content-disposition", f"attachment; filename={name}".encode()


def _missing(*headers: tuple[bytes, bytes]) -> Refused:
    return Refused(404, "no-receipt", "error_no_receipt", headers)
