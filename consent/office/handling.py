"""Handling requests at the desk: who may, that it is recorded, and what is looked up, packaged and erased for them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from consent.accounts import MAX_ACCOUNT
from consent.choice import RECEIPT_ID, SUBJECT
from consent.erasure import Erasure
from consent.errors import ErasureHeldError, OtherReceiptError
from consent.office.asker import Asker
from consent.office.desk import Desk, NotAllowed
from consent.office.package import Package, packaged
from consent.office.questions import WrongQuestion, of_sites
from consent.office.register import MAX_SUBJECTS
from consent.office.request_finding import Due
from consent.office.request_flood import FormLoad
from consent.office.request_rows import OpenedRequest, Person, Registered, Wanted
from consent.office.request_subjects import Certificate
from consent.office.roles import Action
from consent.office.visitors import last_choices, subjects_of
from consent.office.withdrawing import withdrawal_of
from consent.receipt_search import Found, Position, Sought
from consent.receipts import CollectionMethod, Receipt
from consent.subject_request import (
    CLOSED,
    MAX_DETAILS,
    WITHOUT_IDENTITY,
    NewRequest,
    StepKind,
    StepRefused,
)

MAX_TEXT: Final = MAX_DETAILS
"""Characters that can be written about a step."""
MIN_TEXT: Final = 3
FOUND: Final = 200
"""How many receipts of a visitor one look-up links with a request."""
WITH_TEXT: Final[Mapping[StepKind, str]] = {
    StepKind.VERIFY_IDENTITY: "how it was verified, and by what",
    StepKind.VERIFY_AUTHORITY: "how it was verified, and by what",
    StepKind.EXTEND: "the reason that was sent",
    StepKind.ANSWER: "what was answered, and where to",
    StepKind.DENY: "the reason that was sent",
    StepKind.NOTE: "the note",
}
"""The steps that say nothing without a text, and what it is."""
_WITHDRAWN: Final = "withdrawal recorded"
"""What the history calls it."""
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Handling:
    """What somebody may do with requests. Blocks.

    Args:
        desk: looks things up.
        asker: who handles.
    """

    def __init__(self, desk: Desk, asker: Asker) -> None:
        self._desk = desk
        self._asker = asker
        self._who = asker.label

    @property
    def today(self) -> str:
        """The day, in UTC."""
        return datetime.fromtimestamp(self._desk.clock(), UTC).date().isoformat()

    def list(
        self, wanted: Wanted, *, limit: int, before: Position | None
    ) -> tuple[Sequence[Registered], Position | None]:
        """Return requests without who asked, what is due first coming first."""
        self._desk.require(self._asker, Action.REQUESTS)
        self._desk.register.purge()
        return self._desk.register.find(
            replace(wanted, sites=frozenset(self._asker.sites)), limit=limit, before=before
        )

    def counts(self) -> Mapping[str, int]:
        """Return how many there are of each state, and how many are overdue."""
        self._desk.require(self._asker, Action.REQUESTS)
        return self._desk.register.counts(self._asker.sites, self.today)

    def due(self) -> Due:
        """Return how many are overdue, and how many are due soon."""
        self._desk.require(self._asker, Action.REQUESTS)
        return self._desk.register.due(self._asker.sites, self.today)

    def load(self) -> FormLoad:
        """Return how much of what it can take the form has taken, of all sites together."""
        self._desk.require(self._asker, Action.REQUESTS)
        return self._desk.register.load()

    def get(self, reference: str) -> Registered | None:
        """Return a request without who asked; ``None``: there is none that they may see."""
        self._desk.require(self._asker, Action.REQUESTS)
        return self._seen(reference)

    def add(self, new: NewRequest, *, received_ms: int | None) -> tuple[Registered, str]:
        """Register a request that arrived; return it, and the code with which who asked sees how it stands."""
        self._desk.require(self._asker, Action.HANDLE)
        if self._asker.sites and new.site not in self._asker.sites:
            raise NotAllowed(f"requests of {new.site or 'no site'}")
        return self._desk.register.add(
            new,
            self._who,
            received_ms=received_ms,
            first=lambda reference: self._record("request-received", reference, kind=str(new.kind)),
        )

    def open(self, reference: str) -> OpenedRequest | None:
        """Return a request with who asked, and record who did; ``None``: there is none that they may see."""
        self._desk.require(self._asker, Action.HANDLE)
        self._desk.register.purge()
        request = self._seen(reference)
        if request is None:
            return None
        self._record("request-opened", request.reference)
        return self._desk.register.open(request.reference)

    def step(self, reference: str, kind: StepKind, text: str) -> Registered | None:
        """Take a step; ``None``: there is no such request.

        Raises:
            StepRefused: it cannot be taken now.
            WrongQuestion: the text is missing, or too long.
        """
        request = self._handled(reference)
        if request is None:
            return None
        request.progress.require(kind)
        text = text.replace("\r\n", "\n").strip()
        if len(text) > MAX_TEXT or _CONTROL.search(text):
            raise WrongQuestion("text", f"at most {MAX_TEXT} characters, and none that control a terminal")
        if kind in WITH_TEXT and len(text) < MIN_TEXT:
            raise WrongQuestion("text", f"write {WITH_TEXT[kind]}")
        self._record(f"request-{kind}", request.reference)
        return self._desk.register.step(request.reference, kind, text, self._who)

    def look_up(self, reference: str, *, sought: str = "", account: str = "") -> Sequence[Found] | None:
        """Find the receipts of a visitor, or of all visitors who were signed in with an account, and link them.

        Args:
            reference: of the request.
            sought: the visitor's pseudonym, or the id of a receipt.
            account: its identifier, as the site names it; one of the two.

        Raises:
            StepRefused: the request is closed, or there are more visitors than one request can be about.
            WrongQuestion: it is neither, or both.
        """
        request = self._handled(reference)
        if request is None:
            return None
        _require_open(request)
        if bool(sought) is bool(account):
            raise WrongQuestion("sought", "a pseudonym, or the id of a receipt; or else give an account")
        hashed = self._desk.log.account(account) if 0 < len(account) <= MAX_ACCOUNT else None
        subjects = (
            self._subjects_of_account(request, hashed) if account else self._subject_of(request, sought)
        )
        found: dict[str, Sequence[Found]] = {}
        for subject in subjects:
            asked = of_sites(Sought(subject=subject), self._asker)
            # Who was found by an account was recorded as that.
            if theirs := (
                self._desk.log.look(asked, limit=FOUND).found
                if account
                else self._desk.look_up(
                    self._asker, asked, _reason(request.reference), limit=FOUND, before=None
                ).found
            ):
                found[subject] = theirs
        if found:
            leaves = {subject: [each.position.leaf for each in theirs] for subject, theirs in found.items()}
            self._desk.register.link(request.reference, leaves, self._who, account=hashed)
        return [each for theirs in found.values() for each in theirs]

    def _subject_of(self, request: Registered, sought: str) -> Sequence[str]:
        subject = sought.strip().lower()
        if RECEIPT_ID.fullmatch(subject):
            page = self._desk.look_up_id(self._asker, subject, _reason(request.reference))
            receipt = self._desk.log.get(subject) if page.found else None
            return [] if receipt is None else [receipt.subject]
        if SUBJECT.fullmatch(subject) is None:
            raise WrongQuestion("sought", "a pseudonym of 32 hexadecimal digits, or the id of a receipt")
        return [subject]

    def _subjects_of_account(self, request: Registered, account: str | None) -> Sequence[str]:
        if account is None:
            raise WrongQuestion("account", f"1 to {MAX_ACCOUNT} characters")
        asked = of_sites(Sought(account=account), self._asker)
        self._desk.look_up(self._asker, asked, _reason(request.reference), limit=FOUND, before=None)
        subjects = subjects_of(self._desk.log, asked, limit=MAX_SUBJECTS)
        if len(subjects) > MAX_SUBJECTS:
            raise StepRefused(
                f"there are more than {MAX_SUBJECTS} visitors with this account: 'consent office erase --account -' "
                "erases all of them"
            )
        return subjects

    def withdraw(self, reference: str) -> Sequence[Receipt] | None:
        """Take back what the visitors agreed to whom a request is about; return a receipt for each site.

        Of a visitor who was found by an account it is what was agreed to under that account: other people may use the
        same browser. Asked again, it returns the same. The browser learns of it later: see
        :mod:`consent.office.withdrawing`.

        Raises:
            StepRefused: the request asks for something else, nobody was looked up, an agent may not ask, or what was
                recorded of a visitor who was erased meanwhile is held.
            StoreUnavailable: not all of it was recorded; doing it again is safe.
        """
        request = self._handled(reference)
        if request is None:
            return None
        _require_open(request)
        if request.kind not in WITHOUT_IDENTITY:
            raise StepRefused("the request is not to withdraw or to object: ask whether that is meant")
        request.progress.require_identity()
        last = self._last_choices(self._person(request))
        granted = [each for each in last if each.grants]
        before = [each for each in last if each.collection_method is CollectionMethod.OFFICE]
        made: list[Receipt] = []
        if granted:
            self._record("request-withdrawing", request.reference, found=len(granted))
        try:
            for each in granted:
                receipt = withdrawal_of(each, int(self._desk.clock() * 1_000))
                # Somebody else may do the same at this moment: then it is done.
                with contextlib.suppress(OtherReceiptError):
                    self._desk.append(receipt)
                if self._desk.log.get(each.receipt_id) is None:
                    self._erase_again(request, each.subject)
                else:
                    made.append(receipt)
        finally:
            self._note_withdrawals(request, made, before)
        return [*before, *made]

    def _note_withdrawals(
        self, request: Registered, made: Sequence[Receipt], before: Sequence[Receipt]
    ) -> None:
        """Write into the history what was made, and what was made before of sites that it lacks: whoever did
        that may have been cut short.
        """
        opened = self._desk.register.open(request.reference)
        steps = () if opened is None else opened.steps
        noted = {step.text for step in steps if step.what == _WITHDRAWN}
        # By the site alone: a receipt's id would say whose request it is when the visitor is erased.
        for site in sorted({each.site for each in made} | ({each.site for each in before} - noted)):
            self._desk.register.note(request.reference, _WITHDRAWN, site, self._who)

    def _erase_again(self, request: Registered, subject: str) -> None:
        """Erase what was just recorded of a visitor whom somebody else was erasing: the choice before it is gone.

        Where that is still there, whoever erases afterwards finds the withdrawal, too.
        """
        erasures = self._erased(
            request,
            subject,
            str(uuid4()),
            held="somebody erased this visitor meanwhile, and the withdrawal that was recorded since is held: "
            "release it, and erase the visitor again",
        )
        self._forget(request, subject, erasures)

    def package(self, reference: str) -> Package | None:
        """Return all receipts of who a request is about, with texts and proofs.

        Raises:
            StepRefused: it is not known who asks, or nobody was looked up.
        """
        request = self._handled(reference)
        if request is None:
            return None
        _require_known(request)
        sought = _receipts_of(self._person(request))
        self._record("request-packaged", request.reference)
        package = packaged(self._desk.log, request.reference, sought, self._asker, self._desk.clock())
        self._desk.register.note(
            request.reference, "packaged", f"{len(package.receipts)} receipts", self._who
        )
        return package

    def erase(self, reference: str) -> Sequence[Certificate] | None:
        """Erase the visitors that a request is about; return the certificates of that, and of what was erased before.

        Asked again, because the answer was lost or by somebody else at the same time, it returns the same.

        Raises:
            StepRefused: it is not known who asks, nobody was looked up, or receipts are held.
            NotAllowed: there are receipts of sites that they are not for.
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """
        request = self._handled(reference)
        if request is None:
            return None
        register = self._desk.register
        opened = register.open(request.reference)
        subjects = () if opened is None else opened.person.subjects
        # Looked for after that: who is no longer named there has been erased, and the certificates came with it.
        if not subjects and (known := register.certificates(request.reference)):
            return known
        _require_open(request)
        _require_known(request)
        if not subjects:
            raise _nobody()
        sites = frozenset(self._asker.sites)
        there = set()
        for subject in subjects:
            theirs = self._desk.log.look(Sought(subject=subject), limit=FOUND)
            if theirs.found:
                there.add(subject)
            if sites and (theirs.next or any(each.kind.site not in sites for each in theirs.found)):
                raise NotAllowed("erasing a visitor who has receipts of other sites, or very many")
        for done, subject in enumerate(subjects):
            series = register.series(request.reference, subject)
            erasures = self._erased(
                request,
                subject,
                series,
                held=f"{done} of {len(subjects)} visitors were erased; the receipts of the next are held: "
                "release them, and do it again"
                if done
                else "the receipts are held, so nothing was erased: release them first",
            )
            if not erasures and subject in there:
                # Somebody else has erased this visitor at this moment, has the certificates, and tells the register.
                continue
            # Who is not in the log may be another site's: that nothing was erased changes nothing there.
            self._forget(request, subject, erasures, () if erasures else sites)
        return register.certificates(request.reference)

    def _erased(self, request: Registered, subject: str, series: str, *, held: str) -> Sequence[Erasure]:
        """Erase a visitor from the log, and record that it is begun; ``held``: what is said where that is refused."""
        self._record("request-erasing", request.reference, series=series)
        try:
            return self._desk.erase(subject, series)
        except ErasureHeldError:
            raise StepRefused(held) from None

    def _forget(
        self, request: Registered, subject: str, erasures: Sequence[Erasure], sites: Collection[str] = ()
    ) -> None:
        """Take the visitor out of the register, and record that it is done."""
        self._desk.register.forget(subject, erasures, self._who, sites)
        ids = [erasure.erasure_id for erasure in erasures]
        self._record("request-erased", request.reference, certificates=ids)

    def certificates(self, reference: str) -> Mapping[str, str | None] | None:
        """Return the proofs of what was erased for a request, by their ids; ``None`` where none covers one yet."""
        request = self._handled(reference)
        if request is None:
            return None
        kept = self._desk.register.certificates(request.reference)
        proofs = {each.erasure_id: self._desk.log.evidence(each.erasure_id) for each in kept}
        return {each: None if proof is None else proof.text() for each, proof in proofs.items()}

    def receipts(self, opened: OpenedRequest) -> Sequence[Found]:
        """Return what the receipts are found by that a request is about; opening it was recorded."""
        self._desk.require(self._asker, Action.HANDLE)
        found: list[Found] = []
        for subject in opened.person.subjects:
            found += self._desk.log.look(of_sites(Sought(subject=subject), self._asker), limit=FOUND).found
        return found

    def _handled(self, reference: str) -> Registered | None:
        self._desk.require(self._asker, Action.HANDLE)
        return self._seen(reference)

    def _seen(self, reference: str) -> Registered | None:
        request = self._desk.register.get(reference)
        if request is None or (self._asker.sites and request.site not in self._asker.sites):
            return None
        return request

    def _last_choices(self, person: Person) -> Sequence[Receipt]:
        """Return the newest choice on each site of every visitor that is this person's."""
        found: list[Receipt] = []
        by_account = {subject for subject, _ in person.accounts}
        for subject in person.subjects:
            newest = last_choices(self._desk.log, of_sites(Sought(subject=subject), self._asker))
            if subject not in by_account:
                found += newest
                continue
            mine = {account for of, account in person.accounts if of == subject}
            # Where somebody else has agreed since, that is what holds: a later no would be theirs.
            others = {each.site for each in newest if each.account not in mine and each.grants}
            for account in sorted(mine):
                asked = of_sites(Sought(subject=subject, account=account), self._asker)
                found += [each for each in last_choices(self._desk.log, asked) if each.site not in others]
        return found

    def _person(self, request: Registered) -> Person:
        opened = self._desk.register.open(request.reference)
        if opened is None or not opened.person.subjects:
            raise _nobody()
        return opened.person

    def _record(self, what: str, reference: str, **details: object) -> None:
        self._desk.record(self._asker, what, _reason(reference), request=reference, **details)


def _receipts_of(person: Person) -> Sequence[Sought]:
    """Return what to ask for: of a browser that an account led to, only what was chosen while signed in with it."""
    by_account = {subject for subject, _ in person.accounts}
    return [
        *(Sought(subject=subject) for subject in person.subjects if subject not in by_account),
        *(Sought(subject=subject, account=account) for subject, account in person.accounts),
    ]


def _nobody() -> StepRefused:
    return StepRefused("look the visitor up first, by a pseudonym or a receipt that the request names")


def _reason(reference: str) -> str:
    return f"request {reference}"


def _require_open(request: Registered) -> None:
    if request.state in CLOSED:
        raise StepRefused(f"the request is {request.state}: only notes can be added")


def _require_known(request: Registered) -> None:
    if request.identity_ms is None or (request.by_agent and request.authority_ms is None):
        raise StepRefused("verify first who asks: what there is of a visitor is for that person alone")
