"""Letting requests in, and their responses out, in C where nothing new is said: most of them.

A request says nothing new where it holds no browser signal, and no choice or one that was met before. Nothing is done
about a response that is no page and no redirect, and has no field that may set or fetch a tracker; and to a page for
somebody who refuses nothing, or in which nobody has to be asked about anything, what its edition has is added. That is
seen in C where it was built, and Python is only asked for the time, and whether the page is one of the few that are
held on to. Everything else, and without C everything, is looked at in Python, which does the same to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.types import ASGIApp, Message

from consent.field_finder import FieldFinder
from consent.speedups import compiled

R = TypeVar("R")


class Known(NamedTuple, Generic[R]):
    """What is known of a visitor by what a request says, and when it holds, in seconds since 1970."""

    begins: float
    ends: float
    ruling: R
    decision: object
    """The one that the app is shown."""
    pages: Mapping[str, Mapping[bytes, tuple[object, ...]]] | None
    """The editions of pages, by scheme and by ``Accept-Language``; see :class:`consent.site.Edition`. What is put in
    counts from then on."""


def entrance(
    *,
    app: ASGIApp,
    look: ASGIApp,
    respond: Callable[..., Any],
    cookie_name: bytes,
    plain_codings: set[bytes],
    plain_types: set[bytes],
    roots: set[str],
    elsewhere: tuple[str, ...],
    bypasses: tuple[str, ...],
    fields: FieldFinder,
    silence: Known[R],
    chosen: dict[Any, Known[R]],
    clock: Callable[[], float],
    page_types: set[bytes],
    plain_names: set[bytes],
    inventory: object,
) -> ASGIApp:
    """Return the fastest way into ``app`` there is.

    The sets and ``chosen`` are looked into for each request: what is put in counts from then on.

    Args:
        app: the site.
        look: called in its place where a request needs a closer look.
        respond: takes a request's scope, its headers, the ruling and the server's ``send``; what it returns has the
            ``send`` for a message that something may have to be done about, and for all that follow.
        cookie_name: the choice cookie's.
        plain_codings: values of ``Accept-Encoding`` that the app may see.
        plain_types: values of ``Content-Type`` of what is no page.
        roots: values of ``root_path`` that need no look.
        elsewhere: what the paths begin with that others may answer.
        bypasses: extensions that apps are not to see.
        fields: finds, of a response, the fields that matter.
        silence: what is known of a visitor who says nothing.
        chosen: what is known of the others, by the line with the choice.
        clock: returns seconds since 1970.
        page_types: values of ``Content-Type`` of pages in UTF-8.
        plain_names: names of fields of pages that stay as they are.
        inventory: an edition is current while its ``seen`` is the one of this.
    """
    if compiled is None:
        return look
    made = compiled.Entrance(
        app=app,
        look=look,
        respond=respond,
        cookie_name=cookie_name,
        plain_codings=plain_codings,
        plain_types=plain_types,
        roots=roots,
        elsewhere=tuple(folder.encode() for folder in elsewhere),
        bypasses=bypasses,
        fields=fields,
        silence=silence,
        chosen=chosen,
        clock=clock,
        page_types=page_types,
        plain_names=plain_names,
        inventory=inventory,
        nothing=_nothing,
        in_turn=_in_turn,
    )
    let_in: ASGIApp = made.enter
    return let_in


async def _nothing() -> None:
    """Send nothing."""


async def _in_turn(send: Callable[[Message], Awaitable[None]], first: Message, second: Message) -> None:
    await send(first)
    await send(second)
