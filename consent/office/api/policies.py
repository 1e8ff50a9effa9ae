"""Policies that visitors were asked under: what they say, what differs, what was in force, who is asked again."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere
from consent.office.as_of import DAYS, ON, as_of, asking_again, days_ahead, expiring, today_of
from consent.office.policies import (
    Edition,
    NotComparable,
    compare,
    edition,
    editions,
    kinds_of,
    outcomes,
    terms,
)
from consent.office.questions import (
    CURSOR,
    FILTERS,
    FIRST_DAY,
    LAST_DAY,
    WrongQuestion,
    cursor_of,
    day_of,
    days_of,
    position_of,
    sought_by,
)
from consent.office.roles import Action
from consent.terms import terms_json


def _policies(call: Call) -> Content:
    return Content({"policies": [asdict(each) for each in editions(call.desk, call.asker)]})


def _policy(call: Call) -> Content:
    found = _edition(call, "policy")
    told = terms(call.desk, found)
    totals = kinds_of(call.desk, call.asker, found)
    texts: Counter[tuple[str, str]] = Counter()
    for total in totals:
        texts[total.kind.language, total.kind.shown_hash] += total.choices
    return Content(
        {
            **asdict(found),
            "outcomes": outcomes(totals),
            "texts": [
                {"language": language, "shown_hash": shown, "choices": choices}
                for (language, shown), choices in texts.most_common(200)
            ],
            "terms": None if told is None else terms_json(told),
        }
    )


def _changes(call: Call) -> Content:
    before, after = _edition(call, "policy"), _edition(call, "other")
    days = days_of(call.given, call.desk.clock())
    try:
        found = compare(call.desk, call.asker, before, after, days)
    except NotComparable as error:
        raise WrongQuestion("policy", str(error)) from None
    effects = found.effects
    return Content(
        {
            "before": asdict(before),
            "after": asdict(after),
            "material": found.material,
            "unexplained": found.unexplained,
            "changes": [asdict(change) for change in found.changes],
            "effects": {
                "from": effects.first_day,
                "to": effects.last_day,
                "recorded": effects.recorded,
                "decided": [asdict(each) for each in effects.decided],
                "named": [asdict(each) for each in effects.named],
            },
        }
    )


def _as_of(call: Call) -> Content:
    given = call.given.get("on")
    day = day_of("on", given) if given else today_of(call.desk)
    return Content(
        {"on": day.isoformat(), "in_force": [asdict(each) for each in as_of(call.desk, call.asker, day)]}
    )


def _standing(call: Call) -> Content:
    counted = call.desk.count_standing(
        call.asker, sought_by(call.given, call.asker), before=position_of(call.given)
    )
    by_outcome: Counter[str] = Counter()
    for kind, choices in counted.standing.items():
        by_outcome[kind.outcome] += choices
    return Content(
        {
            "examined": counted.examined,
            "standing": sum(by_outcome.values()),
            "outcomes": dict(by_outcome.most_common()),
            "next": cursor_of(counted.next),
        }
    )


def _expiring(call: Call) -> Content:
    days = days_ahead(call.given.get("days", ""))
    rows = expiring(call.desk, call.asker, today_of(call.desk), days)
    return Content({"days": days, "expiring": [asdict(each) for each in rows]})


def _asking_again(call: Call) -> Content:
    rows = [
        {
            "site": each.edition.site,
            "policy_version": each.edition.version,
            "policy": each.edition.name,
            "present_version": each.present.version,
            "present_policy": each.present.name,
            "since": each.since,
            "granted": each.granted,
            "standing": each.standing,
        }
        for each in asking_again(call.desk, call.asker, today_of(call.desk))
    ]
    return Content({"asking_again": rows})


def _edition(call: Call, place: str) -> Edition:
    found = edition(call.desk, call.asker, call.places[place])
    if found is None:
        raise NothingThere
    return found


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/policies",
        about="The policies that visitors were asked under, and how many choices were made under each.",
        action=Action.COUNTS,
        answer=_policies,
    ),
    Endpoint(
        method="GET",
        path="/policies/{policy}",
        about="One of them: what visitors were told, and what they answered.",
        action=Action.COUNTS,
        answer=_policy,
    ),
    Endpoint(
        method="GET",
        path="/policies/{policy}/changes/{other}",
        about="What differs in another one, whether visitors are asked again, and what would have been decided "
        "otherwise.",
        action=Action.COUNTS,
        answer=_changes,
        parameters=(FIRST_DAY, LAST_DAY),
    ),
    Endpoint(
        method="GET",
        path="/as-of",
        about="What visitors were asked under on a day, by site.",
        action=Action.COUNTS,
        answer=_as_of,
        parameters=(ON,),
    ),
    Endpoint(
        method="GET",
        path="/standing",
        about="How many receipts no later choice of the same visitor, until `to`, has replaced: 5,000 are examined at "
        "once, the newest first. Add up the pages.",
        action=Action.COUNTS,
        answer=_standing,
        parameters=(*FILTERS, CURSOR),
    ),
    Endpoint(
        method="GET",
        path="/expiring",
        about="The choices that agree to something and end on the coming days.",
        action=Action.COUNTS,
        answer=_expiring,
        parameters=(DAYS,),
    ),
    Endpoint(
        method="GET",
        path="/asking-again",
        about="The choices that agree to something under another version than that in force.",
        action=Action.COUNTS,
        answer=_asking_again,
    ),
)
