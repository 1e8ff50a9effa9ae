"""Receipts: a list with filters, look-ups, and one of them as a story with its proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from consent.accounts import MAX_ACCOUNT
from consent.answers import Answer
from consent.choice import RECEIPT_ID, SUBJECT
from consent.moments import format_moment
from consent.office.desk import OpenedReceipt
from consent.office.pages.page import SECURE, SHOWN, Failed, Pages, Visit, leaf_of
from consent.office.questions import (
    CURSOR,
    FILTERS,
    LIMIT,
    STANDING,
    cursor_of,
    limit_of,
    moment_of,
    position_of,
    sought_by,
)
from consent.office.roles import Action
from consent.receipt_search import FoundPage, Sought


def _receipts(visit: Visit) -> Answer:
    given = {name: value for name, value in visit.query(*FILTERS, STANDING, LIMIT, CURSOR).items() if value}
    page = visit.desk.list(
        visit.asker, sought_by(given, visit.asker), limit=limit_of(given), before=position_of(given)
    )
    return _list(visit, page, given, looked_up=False)


def _lookups(visit: Visit) -> Answer:
    sought, reason = visit.form.get("sought", "").strip().lower(), visit.form.get("reason", "")
    as_of, account = visit.form.get("until", "").strip(), visit.form.get("account", "").strip()
    if account and (sought or len(account) > MAX_ACCOUNT):
        raise Failed(
            400, "That cannot be looked up", "Give one of the two: a pseudonym or an id, or an account."
        )
    if account or SUBJECT.fullmatch(sought):
        asked = Sought(
            subject=None if account else sought,
            account=visit.desk.log.account(account) if account else None,
            until_ms=moment_of("until", as_of) if as_of else None,
            standing=visit.form.get("standing") == "true",
        )
        page = visit.desk.look_up(visit.asker, asked, reason, limit=200, before=None)
    elif RECEIPT_ID.fullmatch(sought):
        page = visit.desk.look_up_id(visit.asker, sought, reason)
    else:
        raise Failed(400, "That is nobody's", "Give a pseudonym of 32 hexadecimal digits, or a receipt's id.")
    return _list(visit, page, {}, looked_up=True)


def _list(visit: Visit, page: FoundPage, given: Mapping[str, str], *, looked_up: bool) -> Answer:
    cursor = None if looked_up else cursor_of(page.next)
    following = "" if cursor is None else urlencode({**given, "cursor": cursor})
    rows = [(each.position.leaf, format_moment(each.position.time_ms), each.kind) for each in page.found]
    return visit.render("receipts.html", rows=rows, given=given, following=following, looked_up=looked_up,
        filters=FILTERS,
    )  # fmt: skip


def _ask_reason(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.OPEN)
    return visit.render("reason.html", leaf=leaf_of(visit.places["leaf"]))


def _receipt(visit: Visit) -> Answer:
    reason = visit.form.get("reason", "")
    opened = _open(visit, reason)
    history = visit.desk.history(visit.asker, opened.receipt)
    day = opened.receipt.time[:10]
    done = [
        count
        for count in visit.desk.enforcement(visit.asker, day, day)
        if count.kind.site == opened.receipt.site
        and count.kind.policy_version == opened.receipt.policy_version
    ]
    return visit.render("receipt.html", opened=opened, receipt=opened.receipt, history=history, reason=reason, day=day,
        done=sorted(done, key=lambda count: -count.times)[:50],
    )  # fmt: skip


def _evidence(visit: Visit) -> Answer:
    opened = _open(visit, visit.form.get("reason", ""))
    if opened.evidence is None:
        raise Failed(404, "There is no proof yet", "A checkpoint covers a receipt within about a second.")
    name = f'attachment; filename="consent-receipt-{opened.leaf}.json"'.encode()
    headers = ((b"content-type", b"application/json"), (b"content-disposition", name), *SECURE)
    return Answer(200, headers, opened.evidence.text().encode())


def _open(visit: Visit, reason: str) -> OpenedReceipt:
    opened = visit.desk.open(visit.asker, leaf_of(visit.places["leaf"]), reason)
    if opened is None:
        raise Failed(
            404, "There is no such receipt", "It was erased, it is of another site, or it never was."
        )
    return opened


def _text(visit: Visit) -> Answer:
    text = visit.desk.text(visit.asker, visit.places["hash"])
    if text is None or not text.media_type.startswith("text/html"):
        raise Failed(404, "There is no such text", "No receipt names it.")
    return Answer(200, SHOWN, text.content)


PAGES: Final[Pages] = {
    ("GET", "/receipts"): _receipts,
    ("POST", "/lookups"): _lookups,
    ("GET", "/receipts/{leaf}"): _ask_reason,
    ("POST", "/receipts/{leaf}"): _receipt,
    ("POST", "/evidence/{leaf}"): _evidence,
    ("GET", "/texts/{hash}"): _text,
}
