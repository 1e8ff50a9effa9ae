"""Bringing a database of an earlier release to the present tables, in steps that may be interrupted.

Schema 1 had nothing beside a sealed receipt that it could be found by but its outcome, and counted by fewer members:
every receipt is opened once, and its kind noted. Schema 2 had kinds without the artefacts of the policy, and without
whether anybody was there: every receipt is opened once, and gets another kind. Processes of the earlier release must
have ended.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from consent.choice_kind import ChoiceKind, kind_of
from consent.errors import InvalidReceiptError, SealBrokenError
from consent.postgresql_recording import KEEP_KINDS, KINDS_OF
from consent.postgresql_schema import FOUND_BY, KINDS, SCHEMA_VERSION
from consent.postgresql_session import Session, Transaction
from consent.receipts import Receipt
from consent.sealing import Sealer

STEP_ROWS: Final = 1_000
"""How many receipts one transaction opens."""

_BEGIN: Final = f"""
ALTER TABLE consent_daily RENAME TO consent_daily_before;
ALTER TABLE consent_daily_before RENAME CONSTRAINT consent_daily_pkey TO consent_daily_before_pkey;
ALTER TABLE consent_record ADD COLUMN kind integer, ADD COLUMN vendors jsonb;
ALTER TABLE consent_inbox ADD COLUMN day text, ADD COLUMN kind integer;
{KINDS}"""
_END: Final = f"""
ALTER TABLE consent_inbox DROP COLUMN daily, ALTER COLUMN day SET NOT NULL, ALTER COLUMN kind SET NOT NULL;
DROP TABLE consent_daily_before;
DROP INDEX IF EXISTS consent_record_by_outcome;
DROP INDEX IF EXISTS consent_record_by_tag;
{FOUND_BY}"""
_END_2: Final = f"""
DROP INDEX IF EXISTS consent_record_by_tag;
{FOUND_BY}"""
_NEXT: Final = """
SELECT month, id_tag, tag, wrapped_key, body FROM consent_record
WHERE (month, id_tag) > ($1, $2) AND kind IS NULL ORDER BY month, id_tag LIMIT $3
"""
_NOTE: Final = """
UPDATE consent_record r SET kind = a.kind, vendors = a.vendors::jsonb
FROM unnest($1::integer[], $2::bytea[], $3::integer[], $4::text[]) AS a (month, id_tag, kind, vendors)
WHERE r.month = a.month AND r.id_tag = a.id_tag
"""
_NEXT_2: Final = """
SELECT r.month, r.id_tag, r.tag, r.wrapped_key, r.body, r.kind, l.number IS NOT NULL AS counted FROM consent_record r
LEFT JOIN consent_leaf l ON l.id_tag = r.id_tag
WHERE (r.month, r.id_tag) > ($1, $2) AND r.kind = ANY($3::integer[]) ORDER BY r.month, r.id_tag LIMIT $4
"""
_NOTE_IN_INBOX: Final = """
UPDATE consent_inbox i SET kind = a.kind FROM unnest($1::bytea[], $2::integer[]) AS a (id_tag, kind)
WHERE i.id_tag = a.id_tag
"""
_COUNT_LESS: Final = """
UPDATE consent_daily d SET choices = d.choices - a.choices
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS a (day, kind, choices) WHERE d.day = a.day AND d.kind = a.kind
"""
# What is a leaf was counted, and so are leaves of today, which the inbox does not have any more.
_COUNT: Final = """
INSERT INTO consent_daily SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (day, kind) DO UPDATE SET choices = consent_daily.choices + excluded.choices
"""

logger = logging.getLogger("consent")


def migrate(session: Session, sealer: Sealer) -> None:
    """Bring a database of an earlier schema to the present one. Goes on where it was interrupted.

    Raises:
        StoreUnavailable: not done, or not all of it; it goes on the next time.
    """
    with session.transaction() as transaction:
        version = _version(transaction)
    if version == 1:
        _find_kinds(session, sealer)
    elif version == 2:
        _know_more(session, sealer)


def _find_kinds(session: Session, sealer: Sealer) -> None:
    """Do it with a database of schema 1."""
    with session.transaction() as transaction:
        if _version(transaction) != 1:
            return
        (begun,) = transaction.fetch("SELECT to_regclass('consent_kind') IS NOT NULL AS begun")
        if not begun["begun"]:
            logger.warning(
                "%s: noting what receipts are found by, for schema %d", session.place, SCHEMA_VERSION
            )
            transaction.run(_BEGIN)
    month, id_tag = 0, b""
    while True:
        with session.transaction() as transaction:
            if _version(transaction) != 1:
                return
            rows = transaction.fetch(_NEXT, month, id_tag, STEP_ROWS)
            if not rows:
                break
            _note(transaction, sealer, rows, session.place)
            month, id_tag = rows[-1]["month"], rows[-1]["id_tag"]
    with session.transaction() as transaction:
        if _version(transaction) == 1:
            _sort_inbox(transaction)
            _count(transaction)
            transaction.run(_END)
            transaction.execute("UPDATE consent_log SET schema_version = $1", SCHEMA_VERSION)


def _know_more(session: Session, sealer: Sealer) -> None:
    """Give every receipt a kind with all members, and count it by that. What was erased stays counted as it was."""
    with session.transaction() as transaction:
        old = [
            row["number"]
            for row in transaction.fetch("SELECT number, key FROM consent_kind")
            if len(json.loads(row["key"])) < len(ChoiceKind._fields)
        ]
    logger.warning("%s: noting what receipts are found by, for schema %d", session.place, SCHEMA_VERSION)
    month, id_tag = 0, b""
    while True:
        with session.transaction() as transaction:
            if _version(transaction) != 2:
                return
            rows = transaction.fetch(_NEXT_2, month, id_tag, old, STEP_ROWS)
            if not rows:
                break
            _note_more(transaction, sealer, rows, session.place)
            month, id_tag = rows[-1]["month"], rows[-1]["id_tag"]
    with session.transaction() as transaction:
        if _version(transaction) == 2:
            transaction.run(_END_2)
            transaction.execute("UPDATE consent_log SET schema_version = $1", SCHEMA_VERSION)


def _version(transaction: Transaction) -> int:
    """Take the turn; return the schema of the database, 0 where there is no log."""
    rows = transaction.fetch("SELECT schema_version FROM consent_log FOR UPDATE")
    return rows[0]["schema_version"] if rows else 0


def _note_more(transaction: Transaction, sealer: Sealer, rows: Collection[Any], place: str) -> None:
    found = _note(transaction, sealer, rows, place)
    transaction.execute(
        _NOTE_IN_INBOX, [row["id_tag"] for row, *_ in found], [number for *_, number in found]
    )
    more, less = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for row, receipt, number in found:
        if row["counted"]:
            more[receipt.time[:10], number] += 1
            less[receipt.time[:10], row["kind"]] += 1
    if more:
        transaction.execute(_COUNT, *_columns(more))
        transaction.execute(_COUNT_LESS, *_columns(less))
        days, kinds, _ = _columns(less)
        transaction.execute(
            "DELETE FROM consent_daily WHERE choices <= 0 AND day = ANY($1::text[]) AND kind = ANY($2::integer[])",
            days,
            kinds,
        )


def _columns(counts: Counter[tuple[str, int]]) -> tuple[list[str], list[int], list[int]]:
    return [day for day, _ in counts], [kind for _, kind in counts], list(counts.values())


def _note(
    transaction: Transaction, sealer: Sealer, rows: Collection[Any], place: str
) -> list[tuple[Any, Receipt, int]]:
    """Note the kinds of records; return each that opened, with the number of its kind."""
    found: list[tuple[Any, Receipt, ChoiceKind]] = []
    for row in rows:
        try:
            _, record = sealer.open(sealer.unwrap(row["wrapped_key"], row["tag"]), row["body"], row["id_tag"])
            receipt = Receipt.from_bytes(record)
        except (SealBrokenError, InvalidReceiptError) as error:
            # It is no worse than it was: still there, found by its id, and named by consent ledger verify.
            logger.error("%s: a receipt does not open: %s", place, error)
            continue
        found.append((row, receipt, kind_of(receipt)))
    numbers = _numbers(transaction, {kind for _, _, kind in found})
    transaction.execute(
        _NOTE,
        [row["month"] for row, _, _ in found],
        [row["id_tag"] for row, _, _ in found],
        [numbers[kind] for _, _, kind in found],
        [json.dumps(dict(receipt.marks)) if receipt.marks else None for _, receipt, _ in found],
    )
    return [(row, receipt, numbers[kind]) for row, receipt, kind in found]


def _sort_inbox(transaction: Transaction) -> None:
    """Note of what waits how it is to be counted."""
    rows = transaction.fetch(
        "SELECT i.arrived, i.daily, r.kind FROM consent_inbox i"
        " LEFT JOIN consent_record r ON r.id_tag = i.id_tag AND r.month = i.month"
    )
    before = {row["arrived"]: _before(json.loads(row["daily"])) for row in rows}
    numbers = _numbers(transaction, {before[row["arrived"]][1] for row in rows if row["kind"] is None})
    transaction.execute(
        "UPDATE consent_inbox i SET day = a.day, kind = a.kind"
        " FROM unnest($1::bigint[], $2::text[], $3::integer[]) AS a (arrived, day, kind)"
        " WHERE i.arrived = a.arrived",
        [row["arrived"] for row in rows],
        [before[row["arrived"]][0] for row in rows],
        [numbers[before[row["arrived"]][1]] if row["kind"] is None else row["kind"] for row in rows],
    )


def _count(transaction: Transaction) -> None:
    """Count the leaves that there are; of what was counted before and is there no more, fewer members are known."""
    left = Counter(
        {
            _before(list(row)[:-1]): row["choices"]
            for row in transaction.fetch("SELECT * FROM consent_daily_before")
        }
    )
    counted: Counter[tuple[str, int]] = Counter()
    for row in transaction.fetch(
        "SELECT to_char(to_timestamp(r.time_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, k.number, k.key,"
        " count(*) AS choices FROM consent_record r JOIN consent_kind k ON k.number = r.kind"
        " JOIN consent_leaf l ON l.id_tag = r.id_tag GROUP BY 1, 2, 3"
    ):
        kind = ChoiceKind.parse(row["key"])
        counted[row["day"], row["number"]] += row["choices"]
        coarse = kind._replace(
            regime="", language="", shown_hash="", dnt=None, policy_hash="", vendor_list_hash="", bot=False
        )
        left[row["day"], coarse] -= row["choices"]
    rest = {key: choices for key, choices in left.items() if choices > 0}
    numbers = _numbers(transaction, {kind for _, kind in rest})
    for (day, kind), choices in rest.items():
        counted[day, numbers[kind]] += choices
    if counted:
        transaction.execute(_COUNT, *_columns(counted))


def _before(values: list[Any]) -> tuple[str, ChoiceKind]:
    """Return the day and the kind of what was counted by the members of schema 1."""
    day, site, jurisdiction, policy, outcome, *answers, method = values
    return day, ChoiceKind._make(
        [site, "", jurisdiction, policy, "", "", outcome, *answers, None, method, "", "", False]
    )


def _numbers(transaction: Transaction, kinds: Collection[ChoiceKind]) -> dict[ChoiceKind, int]:
    if not kinds:
        return {}
    keys = sorted(kind.text() for kind in kinds)
    transaction.execute(KEEP_KINDS, keys)
    return {ChoiceKind.parse(row["key"]): row["number"] for row in transaction.fetch(KINDS_OF, keys)}
