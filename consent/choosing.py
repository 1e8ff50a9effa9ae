"""The life of a choice: same origin? small enough? understood? then a receipt is recorded.

Only then the signed cookie is set and the answer sent. A refusal is honoured even if it cannot be recorded. A crawler
agrees to nothing, and nothing is recorded of it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from time import time
from types import MappingProxyType
from urllib.parse import quote
from uuid import UUID

from starlette.types import Receive, Scope

from consent import headers as fields
from consent.accounts import AccountOf
from consent.answers import JSON_HEADERS, PAGE_HEADERS, Answer, Headers, Refused, json_bytes, wants_json
from consent.banner import Banner, Shown
from consent.browsers import is_crawler
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import Choice, refusals_of
from consent.choice_form import UnwritableChoiceError
from consent.choice_storing import ChoiceStoring
from consent.decision import Decision, allowance
from consent.placeholder import Placeholders
from consent.policy import Policy, Regime
from consent.receipts import Artefact, CollectionMethod, build_receipt, outcome_of
from consent.request_fields import is_secure
from consent.signals import ChoiceState, Signals
from consent.store import Store
from consent.submission import Submission, read_form, read_json
from consent.terms import terms_artefacts
from consent.tracking_status import UPDATED
from consent.visitor_requests import VisitorRequests, read_submitted

logger = logging.getLogger("consent")

RETRY_AFTER_SECONDS = 10


class Choosing:
    """Answers the POST of a choice. Safe to share between tasks.

    Args:
        policy, catalog, store, placeholders, locate, account, clock, random_bytes: as for
            :class:`consent.visitor.VisitorEndpoints`.
        storing: puts the choice into the browser.
        requests: reads who asks.
        prefix: where the visitor endpoints are.
        withdrawn: returns what the office recorded since, as :meth:`consent.history.History.withdrawn`.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        storing: ChoiceStoring,
        store: Store,
        requests: VisitorRequests,
        *,
        prefix: str,
        withdrawn: Callable[[Signals, int], Awaitable[Choice | None]],
        placeholders: Placeholders | None = None,
        locate: Callable[[Scope], str] | None = None,
        account: AccountOf | None = None,
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._storing = storing
        self._store = store
        self._requests = requests
        self._prefix = prefix
        self._withdrawn = withdrawn
        self._placeholders = placeholders
        self._locate = locate or (lambda scope: policy.jurisdiction)
        self._account = account
        self._clock = clock
        self._random_bytes = random_bytes
        self._terms = terms_artefacts(policy)

    async def answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        """Take what was submitted; ``None`` if the browser went away.

        Raises:
            Refused: it does not count.
        """
        readers = {b"application/x-www-form-urlencoded": read_form, b"application/json": read_json}
        submitted = await read_submitted(headers, receive, readers)
        if submitted is None:
            return None
        media_type, body = submitted
        try:
            submission = readers[media_type](body, self._catalog, prefix=self._prefix)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "bad-request", "error_bad_request") from error
        banner = self._requests.speaking(headers, submission.return_to, submission.language)
        try:
            return await self._take(submission, banner, scope, headers)
        except Refused as refused:
            refused.banner = banner
            raise

    async def _take(self, submission: Submission, banner: Banner, scope: Scope, headers: Headers) -> Answer:
        """Make the choice, record it and store it; answer in the language that it was made in."""
        signals = self._requests.signals(scope)
        if submission.action in ("allow", "opt-out"):
            signals = await self._as_it_stands(signals, opts_out=submission.action == "opt-out")
        before = self._requests.decide(signals)
        if submission.action == "allow":
            choice = self._with_one_more(submission, signals, before, scope)
        else:
            choice = self._made(submission, signals, before, scope)
        shown = self._shown(submission, banner)
        if shown is None and choice.grants and not _needs_no_text(submission):
            # A yes counts for the text it was given on. That text is not known here: it is of another policy.
            if wants_json(headers):
                raise Refused(409, "text-changed", "look_again")
            page = banner.choices_page(before, return_to=submission.return_to, message="look_again")
            return Answer(409, PAGE_HEADERS, page)

        return_to = submission.return_to
        after = self._requests.decide_after(choice, signals)
        try:
            stored = self._storing.lines(choice, after, scope, return_to=return_to)
        except UnwritableChoiceError as error:
            logger.warning("a choice was turned away: %s", error)
            raise Refused(400, "bad-request", "error_bad_request") from error
        refused: Refused | None = None
        user_agent = (fields.only(headers, b"user-agent") or b"").decode("latin-1")
        is_person = recorded = True
        try:
            is_person = recorded = not is_crawler(user_agent)
            if is_person:
                await self._record(
                    choice,
                    signals,
                    scope,
                    headers,
                    language=banner.language,
                    method=submission.method,
                    shown=shown,
                )
        except Exception:
            # Whatever is wrong with the store, it must not turn a no into anything else, nor count a yes.
            logger.exception("a choice could not be recorded: its refusals are honoured, its grants are not")
            recorded = False
        if not recorded:
            effective, refused = self.unrecorded(choice, signals, before)
            if refused is not None and not is_person:
                # Nobody is there to agree, nor to try again.
                refused = Refused(403, "not-a-person", refused.text)
            stored = []
            if effective is not None:
                after = self._requests.decide_after(effective, signals)
                stored = self._storing.lines(effective, after, scope, return_to=return_to)
        cookies = [(b"set-cookie", line) for line in stored]
        if refused is not None:
            refused.headers = (*refused.headers, *cookies)
            raise refused
        cookies.append((b"tk", UPDATED.encode()))
        if wants_json(headers):
            outcome = {
                "receipt_id": choice.receipt_id if recorded else None,
                "recorded": recorded,
                "outcome": outcome_of(choice, signals.choice, opts_out=submission.action == "opt-out"),
                "policy_version": self._policy.version,
                "categories": {category: after.allows(category) for category in Category},
                # What comes of the exceptions: a signal may overrule one.
                "vendors": {
                    vendor: after.allows(known.category, vendor)
                    for vendor in choice.vendors
                    if (known := self._catalog.vendors.get(vendor)) is not None
                },
                "allowed": allowance(after, self._catalog),
            }
            return Answer(200, (*JSON_HEADERS, *cookies), json_bytes(outcome))
        target = return_to
        if submission.stay:
            target = f"{self._prefix}/choices?saved=1&language={banner.language}&return_to={quote(target, safe='/')}"
        location = (b"location", quote(target, safe="/?&=#%:;,+@!$'()*~[]").encode("ascii"))
        return Answer(303, (location, (b"cache-control", b"no-store"), *cookies))

    async def _as_it_stands(self, signals: Signals, *, opts_out: bool) -> Signals:
        """Return what the request says, but for a choice that was withdrawn at the office since.

        What was granted before stands in a choice that is about a part.

        Raises:
            Refused: the log cannot be read, and more would be allowed.
        """
        try:
            refusal = await self._withdrawn(signals, int(self._clock()))
        except Refused:
            if not opts_out or signals.choice is None:
                raise
            # A no is honoured at once; what else is granted, nobody can tell now.
            refusal = refusals_of(signals.choice)
        if refusal is None:
            return signals
        return replace(signals, choice=refusal, choice_state=ChoiceState.VALID)

    async def take_over(
        self, choice: Choice, signals: Signals, scope: Scope, headers: Headers, *, return_to: str
    ) -> None:
        """Record a choice that was made on another site of the group.

        Raises:
            StoreError: it is not recorded.
        """
        language = self._requests.speaking(headers, return_to).language
        await self._record(choice, signals, scope, headers, language=language, method=CollectionMethod.GROUP)

    async def _record(
        self,
        choice: Choice,
        signals: Signals,
        scope: Scope,
        headers: Headers,
        *,
        language: str,
        method: CollectionMethod,
        shown: Shown | None = None,
    ) -> None:
        receipt = build_receipt(
            policy=self._policy,
            jurisdiction=self._locate(scope),
            signals=signals,
            choice=choice,
            language=language,
            shown_hash=shown.hash if shown else None,
            policy_hash=self._terms.policy.hash,
            vendor_list_hash=self._terms.vendor_list.hash,
            collection_method=method,
            user_agent=(fields.only(headers, b"user-agent") or b"").decode("latin-1"),
            now_ms=int(self._clock() * 1000),
            account=self._account(scope) if self._account else None,
        )
        artefacts = [_artefact(shown)] if shown else []
        artefacts += (self._terms.policy, self._terms.vendor_list)
        await self._store.append(receipt, artefacts)

    def _shown(self, submission: Submission, banner: Banner) -> Shown | None:
        """Return the text that the visitor chose on, by the form's own account, if it is one of ours."""
        if submission.shown is None:
            return None
        if submission.action != "allow":
            return banner.shown_by_hash(submission.shown)
        if self._placeholders is None:
            return None
        (vendor,) = submission.vendors
        return self._placeholders.shown_by_hash(submission.shown, vendor, banner.language)

    def _made(self, submission: Submission, signals: Signals, before: Decision, scope: Scope) -> Choice:
        """Turn what was submitted into the choice it means."""
        vendors: dict[str, bool] = {}
        granted: frozenset[Category] = frozenset()
        if submission.action == "accept":
            granted = frozenset(OPTIONAL)
            if signals.gpc:
                granted -= self._policy.gpc_refuses
        elif submission.action == "opt-out":
            granted = frozenset(filter(before.allows, OPTIONAL)) - self._policy.opt_out_refuses
            vendors = self._differing(
                {
                    vendor: allowed and not self._opts_out_of(vendor)
                    for vendor, allowed in before.vendors.items()
                },
                granted,
            )
        elif submission.action == "save":
            granted = submission.categories
            vendors = self._exceptions(submission, signals, granted)
        previous = signals.choice
        return Choice(
            receipt_id=str(UUID(bytes=self._random_bytes(16), version=4)),
            subject=previous.subject
            if previous and not previous.is_nobodys
            else self._random_bytes(16).hex(),
            made_at=int(self._clock()),
            policy_version=self._policy.version,
            granted=granted - self._policy.never,
            vendors=MappingProxyType(vendors),
            told=submission.told & signals.sent,
            over_http=not is_secure(scope),
        )

    def _with_one_more(
        self, submission: Submission, signals: Signals, before: Decision, scope: Scope
    ) -> Choice:
        """Turn the yes to one vendor into a choice in which all else that was said stands.

        Where nothing was said, all else is refused, as the placeholder tells. That holds in opt-in only: where
        silence is a yes, it would take back what nobody spoke of.
        """
        previous = signals.choice
        silent = previous is None and self._policy.regime is not Regime.OPT_IN
        if silent or self._catalog.vendors[next(iter(submission.vendors))].category in self._policy.never:
            raise Refused(400, "bad-request", "error_bad_request")
        valid = signals.choice_state is ChoiceState.VALID
        granted = (
            frozenset(c for c in previous.granted if valid or before.allows(c)) if previous else frozenset()
        )
        answers = {**before.vendors, **submission.vendors}
        return replace(
            self._made(submission, signals, before, scope),
            granted=granted,
            vendors=MappingProxyType(self._differing(answers, granted)),
            told=previous.told if previous and valid else frozenset(),
        )

    def _exceptions(
        self, submission: Submission, signals: Signals, granted: frozenset[Category]
    ) -> dict[str, bool]:
        """Return the vendors whose answer differs from their category's.

        A vendor refused earlier stays refused until it is itself named again.
        """
        earlier = signals.choice.vendors if signals.choice else {}
        answers = {vendor: False for vendor, allowed in earlier.items() if not allowed}
        answers.update(submission.vendors)
        return self._differing(answers, granted)

    def _opts_out_of(self, vendor: str) -> bool:
        known = self._catalog.vendors.get(vendor)
        return known is not None and known.category in self._policy.opt_out_refuses

    def _differing(self, answers: Mapping[str, bool], granted: frozenset[Category]) -> dict[str, bool]:
        """Return those of ``answers`` that differ from what is ``granted``, and can."""
        return {
            vendor: allowed
            for vendor, allowed in sorted(answers.items())
            if vendor in self._catalog.vendors
            and allowed is not ((category := self._catalog.vendors[vendor].category) in granted)
            and not (allowed and category in self._policy.never)
        }

    def unrecorded(
        self, choice: Choice, signals: Signals, before: Decision
    ) -> tuple[Choice | None, Refused | None]:
        """Return what of ``choice`` is to be stored although there is no receipt of it, and the error.

        Refusals hold. Of the grants only those that an earlier receipt proves: they keep its id and date.
        There is nothing to store where nothing was taken back, and no error where nothing is missing.
        """
        proven = signals.choice if signals.choice_state is ChoiceState.VALID else None
        kept = replace(
            choice,
            granted=choice.granted & proven.granted if proven else frozenset(),
            told=proven.told if proven else frozenset(),
            vendors=MappingProxyType(
                {
                    vendor: allowed
                    for vendor, allowed in choice.vendors.items()
                    if not allowed
                    or (proven and before.allows(self._catalog.vendors[vendor].category, vendor))
                }
            ),
        )
        if proven and kept.grants:
            kept = replace(kept, receipt_id=proven.receipt_id, made_at=proven.made_at)
        wanted = self._requests.decide_after(choice, signals)
        holds = self._requests.decide_after(kept, signals)
        if wanted.key == holds.key:
            return kept, None
        retry = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
        loses = any(before.allows(category) and not holds.allows(category) for category in OPTIONAL)
        if loses or self._takes_back(choice, signals.choice):
            return kept, Refused(503, "not-recorded", "error_not_recorded_partly", retry)
        return None, Refused(503, "not-recorded", "error_not_recorded", retry)

    def _takes_back(self, choice: Choice, previous: Choice | None) -> bool:
        """Tell whether ``choice`` refuses what ``previous`` did not, even if a signal hides that now."""
        if previous is None:
            return False
        vendors = {*choice.vendors, *previous.vendors} & self._catalog.vendors.keys()
        return bool(previous.granted - choice.granted) or any(
            self._grants_vendor(previous, vendor) and not self._grants_vendor(choice, vendor)
            for vendor in vendors
        )

    def _grants_vendor(self, choice: Choice, vendor: str) -> bool:
        return choice.vendors.get(vendor, self._catalog.vendors[vendor].category in choice.granted)


@lru_cache(maxsize=128)  # as many texts as a banner remembers
def _artefact(shown: Shown) -> Artefact:
    """Return the text as it is kept. An artefact hashes its content, some 30 KB here, when it is made."""
    return Artefact(content=shown.content, media_type=shown.media_type)


def _needs_no_text(submission: Submission) -> bool:
    """A page's own script may ask in its own words: there is no text of ours, and the receipt says so."""
    if submission.action == "opt-out":  # a no counts on whatever text
        return True
    return submission.method is CollectionMethod.API and submission.shown is None
