"""Requests: what is due, one of them as a story with all that can be done, and writing down one that arrived."""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import urlencode

from consent.answers import Answer
from consent.office.handling import WITH_TEXT, Handling
from consent.office.pages.page import SECURE, Failed, Pages, Visit
from consent.office.questions import CURSOR, LIMIT, WrongQuestion, cursor_of, limit_of, position_of
from consent.office.request_reading import REQUEST_FILTERS, new_request, received_of, wanted_by
from consent.office.roles import Action
from consent.subject_request import RequestKind, StepKind, StepRefused, Way

_T = TypeVar("_T")

LABELS: Final = {
    StepKind.ACKNOWLEDGE: "Acknowledge: who asks was told that it arrived",
    StepKind.VERIFY_IDENTITY: "It is verified who asks",
    StepKind.VERIFY_AUTHORITY: "It is verified that the agent may ask",
    StepKind.EXTEND: "Take more time",
    StepKind.ANSWER: "It was answered",
    StepKind.DENY: "Deny it",
    StepKind.TAKE_BACK: "Who asked does not ask any more",
    StepKind.NOTE: "Write a note",
}
"""What the steps are called on the page."""


def _requests(visit: Visit) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    given = {name: value for name, value in visit.query(*REQUEST_FILTERS, LIMIT, CURSOR).items() if value}
    found, following = handling.list(
        wanted_by(given, handling.today), limit=limit_of(given), before=position_of(given)
    )
    cursor = cursor_of(following)
    return visit.render(
        "requests.html",
        rows=found,
        today=handling.today,
        counts=handling.counts(),
        load=handling.load(),
        given=given,
        filters=REQUEST_FILTERS,
        following="" if cursor is None else urlencode({**given, "cursor": cursor}),
    )


def _ask_new(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.HANDLE)
    return _new(visit, "")


def _add(visit: Visit) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    try:
        received_ms = received_of(visit.form.get("received", ""), visit.desk.clock())
        request, code = handling.add(new_request(visit.form), received_ms=received_ms)
    except (WrongQuestion, StepRefused) as error:
        return _new(visit, str(error))  # with all that was written: it may be long
    return visit.render("request_added.html", request=request, code=code)


def _new(visit: Visit, problem: str) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    ways = [way for way in Way if way is not Way.FORM]
    return visit.render(
        "request_new.html", status=400 if problem else 200, problem=problem, given=visit.form, kinds=list(RequestKind),
        ways=ways, today=handling.today, sites=visit.asker.sites,
    )  # fmt: skip


def _closed_cover(visit: Visit) -> Answer:
    """Show a request without who asked: opening it is recorded, so it takes a button."""
    handling = Handling(visit.desk, visit.asker)
    request = _there(handling.get(visit.places["reference"]))
    return visit.render("request.html", request=request, opened=None, today=handling.today, done="")


def _open(visit: Visit) -> Answer:
    return _opened(visit, Handling(visit.desk, visit.asker))


def _step(visit: Visit) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    kinds = {str(kind): kind for kind in StepKind}
    kind = kinds.get(visit.form.get("step", ""))
    if kind is None:
        raise Failed(400, "There is no such step", "Use the forms of the request's page.")
    _there(handling.step(visit.places["reference"], kind, visit.form.get("text", "")))
    return _opened(visit, handling, done=LABELS[kind])


def _look_up(visit: Visit) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    sought, account = (visit.form.get(name, "").strip() for name in ("sought", "account"))
    found = _there(handling.look_up(visit.places["reference"], sought=sought, account=account))
    done = f"{len(found)} receipts were found and linked." if found else "No receipt was found."
    return _opened(visit, handling, done=done)


def _package(visit: Visit) -> Answer:
    form = "html" if visit.form.get("form") == "html" else "json"
    package = _there(Handling(visit.desk, visit.asker).package(visit.places["reference"]))
    content = package.page() if form == "html" else package.json()
    media_type = b"text/html; charset=utf-8" if form == "html" else b"application/json"
    return _file(content, media_type, f"consent-request-{package.request}.{form}")


def _erase(visit: Visit) -> Answer:
    if visit.form.get("sure") != "yes":
        raise Failed(400, "Nothing was erased", "Tick the box, too: it cannot be undone.")
    handling = Handling(visit.desk, visit.asker)
    erased = _there(handling.erase(visit.places["reference"]))
    count = sum(each.erased for each in erased)
    return _opened(visit, handling, done=f"{count} receipts were erased. The certificates are below.")


def _withdraw(visit: Visit) -> Answer:
    handling = Handling(visit.desk, visit.asker)
    made = _there(handling.withdraw(visit.places["reference"]))
    sites = ", ".join(each.site for each in made)
    done = (
        f"The withdrawal is recorded, for {sites}. Now tell them what their browser still has."
        if made
        else "There is nothing to withdraw: they agreed to nothing, took it back themselves, or, found by an account, "
        "somebody else has chosen in the same browser since."
    )
    return _opened(visit, handling, done=done)


def _certificates(visit: Visit) -> Answer:
    proofs = _there(Handling(visit.desk, visit.asker).certificates(visit.places["reference"]))
    proof = proofs.get(visit.form.get("id", ""))
    if proof is None:
        raise Failed(
            404, "There is no certificate yet", "A checkpoint covers an erasure within about a second."
        )
    return _file(proof.encode(), b"application/json", "consent-erasure.json")


def _opened(visit: Visit, handling: Handling, *, done: str = "") -> Answer:
    opened = _there(handling.open(visit.places["reference"]))
    return visit.render(
        "request.html",
        request=opened.request,
        opened=opened,
        today=handling.today,
        done=done,
        certificates=visit.desk.register.certificates(opened.request.reference),
        receipts=handling.receipts(opened),
        steps=() if opened.request.is_forgotten else opened.request.progress.steps(),
        labels=LABELS,
        with_text=WITH_TEXT,
    )


def _file(content: bytes, media_type: bytes, name: str) -> Answer:
    attached = f'attachment; filename="{name}"'.encode()
    locked = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox")
    headers = ((b"content-type", media_type), (b"content-disposition", attached), locked, *SECURE)
    return Answer(200, headers, content)


def _there(found: _T | None) -> _T:
    if found is None:
        raise Failed(404, "There is no such request", "It is of another site, or it never was.")
    return found


PAGES: Final[Pages] = {
    ("GET", "/requests"): _requests,
    ("GET", "/requests/new"): _ask_new,
    ("POST", "/requests/new"): _add,
    ("GET", "/requests/{reference}"): _closed_cover,
    ("POST", "/requests/{reference}"): _open,
    ("POST", "/requests/{reference}/steps"): _step,
    ("POST", "/requests/{reference}/lookups"): _look_up,
    ("POST", "/requests/{reference}/package"): _package,
    ("POST", "/requests/{reference}/erasures"): _erase,
    ("POST", "/requests/{reference}/withdrawals"): _withdraw,
    ("POST", "/requests/{reference}/certificates"): _certificates,
}
