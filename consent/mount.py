"""One line to mount: puts policy, catalog, store, banner and endpoints together around an app."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent.accounts import AccountOf, Accounts
from consent.csp import ClosedWorld
from consent.data_folder import DataFolder
from consent.dispatch import Dispatch
from consent.enforcement_log import EnforcementLog, EnforcementStore
from consent.erasure import Erasure
from consent.errors import ConfigurationError, StoreError
from consent.gpp import GppScript, gpp_scripts, section_at, sections_of
from consent.group_token import GroupTokens
from consent.guard import ClientPart, Guard
from consent.inline_scripts import PickedPages
from consent.jurisdictions import Treatment, treatments
from consent.log_reading import Log
from consent.middleware import EnforcingMiddleware, OnError
from consent.office.app import Office, register_in
from consent.office.in_force import InForce
from consent.office.register import Register
from consent.parts import is_section, name_of
from consent.placeholder import Placeholders
from consent.policy import CacheMode, CspMode, Embeds, Policy
from consent.receipts import Receipt
from consent.receipts_database import ReceiptsDatabase
from consent.reports import Reports
from consent.sealing import Sealer
from consent.settings import Settings
from consent.sqlite_inventory import InventoryWriter, SQLiteInventory
from consent.store import Erasing, Store
from consent.transitions import Transitions
from consent.vendor_interfaces import interface_parts, switched_on
from consent.visitor import VisitorEndpoints
from consent.whereabouts import ByJurisdiction, Locate, locating

logger = logging.getLogger("consent")


class ConsentMiddleware:
    """Governs the trackers of an ASGI app: ``app = ConsentMiddleware(app)``, or ``app.add_middleware``.

    Everything is read and checked here, once; a wrong setting stops the app's start. Every argument left out is
    taken from the environment, then from its default.

    Args:
        app: any ASGI app.
        policy: the site's rules: a ``consent.toml``, or a :class:`Policy`. ``CONSENT_POLICY``. Default: none,
            opt-in for everything the built-in catalog knows.
        data: the folder for receipts and keys, made where it is missing. ``CONSENT_DATA``. Default:
            ``consent-data`` in the working directory.
        database: the PostgreSQL database that receipts go to, instead of an SQLite file in ``data``: its address, or
            the path of a file that holds it. ``CONSENT_DATABASE``.
        read_database: a replica of it, which checkpoints and proofs are read from. ``CONSENT_READ_DATABASE``. Default:
            ``database`` itself.
        store: where receipts go instead of either. It is closed with the app.
        ledger: opens the log that ``store`` keeps, so that checkpoints, proofs and visitors' own
            receipts can be read under ``prefix``.
            Default: that of the database; for another store none.
        templates: the site's own folder of templates and texts, which go before the built-in ones.
            ``CONSENT_TEMPLATES``.
        prefix: the path under which the endpoints answer. ``CONSENT_PREFIX``. Default: ``/_consent``.
        guard: put the guard's script first into every page: it refuses what scripts add, and spares visitors the
            reload after a refusal. ``CONSENT_GUARD``: ``1`` or ``0``. Default: on. The rest needs no JavaScript.
        office: let the privacy office's console and API answer under ``prefix``, to those who have a token.
            ``CONSENT_OFFICE``: ``1`` or ``0``. Default: on, where the receipts are in a database of our own.
        requests: let visitors ask about their data with a form under ``prefix``, which goes into the office's register.
            ``CONSENT_REQUESTS``: ``1`` or ``0``. Default: off, for somebody has to answer.
        request_days: for how many days the office keeps who asked about their data, from the day on which a request was
            closed. ``CONSENT_REQUEST_DAYS``. Default: 730.
        explain: show developers at the end of each page what was withheld and why. ``CONSENT_EXPLAIN``: ``1`` or
            ``0``. Default: off.
        on_error: what becomes of the rest of a page that cannot be rewritten: ``withhold`` or ``pass``.
            ``CONSENT_ON_ERROR``. Default: ``withhold``.
        account: returns the identifier of the account that a request is signed in with, or ``None``; it is given the
            ASGI scope, and must not wait for anything. Receipts have a keyed hash of it. Default: they have none.
        clock: returns seconds since 1970.

    Raises:
        ConfigurationError: a setting, the policy file or the data folder is wrong; the message says what to do.
        StoreUnavailable: the database of receipts cannot be written, or is not one of ours.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy | str | Path | None = None,
        data: str | Path | None = None,
        database: str | None = None,
        read_database: str | None = None,
        store: Store | None = None,
        ledger: Callable[[], Log] | None = None,
        templates: str | Path | None = None,
        prefix: str | None = None,
        guard: bool | None = None,
        office: bool | None = None,
        requests: bool | None = None,
        request_days: int | None = None,
        explain: bool | None = None,
        on_error: OnError | None = None,
        account: AccountOf | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        takes_requests = _switch("CONSENT_REQUESTS", requests, default=False)
        settings = Settings(
            policy=policy,
            data=data,
            templates=templates,
            prefix=prefix,
            clock=clock,
            takes_requests=takes_requests,
        )
        self._office: Office | None = None
        self._erased: Callable[[str, Sequence[Erasure]], None] = lambda subject, erasures: None
        runs_office = _switch("CONSENT_OFFICE", office, default=True)
        if store is None:
            receipts = ReceiptsDatabase(settings.folder, database, read_database)
            ledger = receipts.log
            # A database that cannot be written is to stop the start, not the first visitor's choice.
            store = receipts.prepared(clock)
            # Also where the office is a process of its own.
            self._erased = partial(
                _forget, settings.folder, register_in(settings.folder, clock, request_days)
            )
            if runs_office:
                self._office = Office(
                    settings.prefix,
                    settings.folder,
                    receipts.log,
                    clock,
                    os.environ.get("CONSENT_OIDC") or None,
                    in_force=InForce(settings.policy, settings.catalog, settings.policy_file),
                    erase=partial(_erase, store),
                    append=partial(_append, store),
                    request_days=request_days,
                )
        if takes_requests and self._office is None:
            raise ConfigurationError(
                "what visitors ask goes into the office's register: turn the office on, and let the receipts be in a "
                "database of ours; or leave this off",
                key="requests",
            )
        self._register = self._office.register if self._office and takes_requests else None
        self._store = store
        self._ledger = ledger
        self._account = Accounts(account, Sealer(settings.folder.ledger_keys())) if account else None
        self._clock = clock
        self._guards = _switch("CONSENT_GUARD", guard, default=True)
        self._explains = _switch("CONSENT_EXPLAIN", explain, default=False)
        self._on_error = _on_error(on_error)
        self._logs: list[EnforcementLog] = []
        self._inventory = InventoryWriter(
            SQLiteInventory(settings.folder.inventory_path),
            then=partial(_keep, self._logs, store) if isinstance(store, EnforcementStore) else lambda: None,
        )
        self.app = app
        enter = self._entrance(settings)
        # The one entrance asks when it has to look at a request; what leads to several asks first.
        leads_to_one = not settings.policy.rules and settings.policy.jurisdictions is None
        self._enter = enter if leads_to_one else self._sorting(enter)

    def _sorting(self, enter: ASGIApp) -> ASGIApp:
        def sorting(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return (self._aside(scope) or enter)(scope, receive, send)

        return sorting

    def _entrance(self, settings: Settings, part: str = "") -> ASGIApp:
        """Return the way into the app under a policy and its rules, on the hosts of one part of the site."""
        policy = settings.policy
        others = {
            at: self._entrance(settings.under(rule), name_of(rule))
            for at, rule in enumerate(policy.rules)
            if not is_section(policy, settings.catalog, rule)
        }
        where = policy.jurisdictions
        if where is None:
            section = section_at(policy.interfaces.gpp, policy.jurisdiction)
            gpp = gpp_scripts(policy, policy, (section,), prefix=settings.prefix)
            return self._governed(settings, part, others, lambda scope: policy.jurisdiction, gpp)[section]
        locate = locating(where)
        policies = {treated: treated.of(policy) for treated in treatments(where)}
        # Whoever asks is told the same.
        honours_gpc = any(each.gpc_refuses for each in policies.values())
        made: list[tuple[Policy, Mapping[str, ASGIApp]]] = []
        ways: dict[Treatment, Mapping[str, ASGIApp]] = {}
        for treated, each in policies.items():
            same = [found for other, found in made if other == each]
            if not same:
                gpp = gpp_scripts(policy, each, sections_of(policy.interfaces.gpp), prefix=settings.prefix)
                own = settings.treated(each)
                same = [
                    self._governed(
                        own,
                        part,
                        others,
                        locate,
                        gpp,
                        honours_gpc=honours_gpc,
                        is_located=not where.everybody,
                    )
                ]
                made.append((each, same[0]))
            ways[treated] = same[0]
        return ByJurisdiction(
            where, locate, ways, partial(section_at, policy.interfaces.gpp), self._clock
        ).enter

    def _governed(
        self,
        settings: Settings,
        part: str,
        others: Mapping[int, ASGIApp],
        locate: Locate,
        gpp: Mapping[str, GppScript | None],
        *,
        honours_gpc: bool | None = None,
        is_located: bool = False,
    ) -> Mapping[str, ASGIApp]:
        """Return the ways in under one regime: one for each section of the IAB's platform.

        Args:
            others: the ways to what has a policy of its own, by the places of the rules.
            locate: tells where a visitor is, for the receipts.
            gpp: by section what answers ``__gpp``; ``None``: nothing does.
            honours_gpc: whether the site does, if not as the policy says.
            is_located: whether the policy is that of the place where a visitor is.
        """
        policy, catalog, banner, cookie = settings.policy, settings.catalog, settings.banner, settings.cookie
        prefix, companion = settings.prefix, settings.companion
        uniform = companion is not None and policy.cache is CacheMode.UNIFORM
        guarding = None
        if self._guards:
            client_parts = interface_parts(policy, catalog, uniform=uniform, is_located=is_located)
            if policy.group:
                client_parts += (ClientPart(("group.js",), {"GROUP": json.dumps(policy.group)}),)
            guarding = Guard(
                catalog,
                prefix=prefix,
                uniform=companion.unanswered if companion and uniform else None,
                parts=client_parts,
            )
        elif uniform:
            raise ConfigurationError(
                "where everybody gets the same page, only the guard knows what a visitor allows: do not turn it off, "
                "or choose another cache mode",
                key="cache",
            )
        elif switched_on(policy.interfaces):
            raise ConfigurationError(
                "it is the guard that tells vendors what a visitor allows: do not turn it off, or remove this table",
                key="interfaces",
            )
        inventory = self._inventory.of(part, policy.site)
        sections = [rule.policy for at, rule in enumerate(policy.rules) if at not in others]
        placeholders = None
        if any(each.embeds is Embeds.REPLACE for each in (policy, *sections)):
            is_final = policy.csp is CspMode.ENFORCE and not uniform
            placeholders = Placeholders(catalog, banner, once=guarding is not None and not is_final)
        endpoints = VisitorEndpoints(
            policy,
            catalog,
            banner,
            cookie,
            self._store,
            static=[each.file for each in (guarding, *gpp.values()) if each],
            placeholders=placeholders,
            companion=companion,
            reports=None if policy.csp is CspMode.OFF else Reports(inventory, catalog),
            ledger=self._ledger,
            group=GroupTokens(settings.folder.group_keys()) if policy.group else None,
            seen=(lambda: inventory.seen_in_pages) if policy.declare_seen else tuple,
            locate=locate,
            account=self._account,
            honours_gpc=honours_gpc,
            register=self._register,
            erased=self._erased,
            keys=settings.folder.keys(),
            clock=self._clock,
        )
        scripts = PickedPages(inventory, catalog)
        self._inventory.first(scripts.read)
        transitions = Transitions(
            policy,
            catalog,
            cookie,
            self._store,
            language=banner.language,
            locate=locate,
            account=self._account,
            clock=self._clock,
        )
        enforcement = EnforcementLog(policy.site, policy.version)
        self._logs.append(enforcement)

        def enforcing(policy: Policy, csp: ClosedWorld | None, script: GppScript | None) -> ASGIApp:
            return EnforcingMiddleware(
                self.app,
                endpoints=endpoints,
                policy=policy,
                catalog=catalog,
                cookie=cookie,
                banner=banner,
                guard=guarding,
                gpp=script,
                csp=csp,
                inventory=inventory,
                scripts=scripts,
                enforcement=enforcement,
                keep=transitions.keep,
                placeholders=placeholders if policy.embeds is Embeds.REPLACE else None,
                clock=self._clock,
                prefix=prefix,
                explain=self._explains,
                on_error=self._on_error,
                aside=self._aside,
            ).enter

        policies = (policy, *(rule.policy for rule in policy.rules))
        closed = [
            None if each.csp is CspMode.OFF else ClosedWorld(catalog, each, prefix=prefix, for_all=uniform)
            for each in policies
        ]

        def way(script: GppScript | None) -> ASGIApp:
            rest, *parts = (
                others[at - 1] if at and at - 1 in others else enforcing(each, closed[at], script)
                for at, each in enumerate(policies)
            )
            return Dispatch(zip(policy.rules, parts, strict=True), rest).enter if parts else rest

        return {section: way(script) for section, script in gpp.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._enter(scope, receive, send)

    def _aside(self, scope: Scope) -> ASGIApp | None:
        """Return who answers what is neither for the site nor for its visitors; ``None``: it is for them."""
        if scope["type"] == "lifespan":
            return self._lifespan
        if self._office is not None and scope["type"] == "http" and self._office.answers(scope["path"]):
            return self._office
        return None

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the office's work; end it and close the store when the server stops.

        Whether or not the app takes part in the lifespan itself.
        """
        if self._office is not None:
            self._office.start()
        asked = False
        answered = False

        async def watch_receive() -> Message:
            nonlocal asked
            message = await receive()
            asked = True
            return message

        async def watch_send(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"].startswith("lifespan.shutdown."):
                await self._close()
            await send(message)

        try:
            await self.app(scope, watch_receive, watch_send)
        except Exception:
            # An app without a lifespan says so with an exception, at once or after it took the message.
            if answered:
                raise
        if answered:
            return
        if not asked:
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _close(self) -> None:
        if self._office is not None:
            await asyncio.to_thread(self._office.stop)
        await asyncio.to_thread(self._inventory.close)
        await self._store.aclose()


def _erase(store: Erasing, subject: str, series: str) -> Sequence[Erasure]:
    """Erase a visitor, from a thread without an event loop."""
    return asyncio.run(store.erase(subject, series=series))


def _append(store: Store, receipt: Receipt) -> None:
    """Record a receipt, from such a thread."""
    asyncio.run(store.append(receipt))


def _forget(folder: DataFolder, register: Register, subject: str, erasures: Sequence[Erasure]) -> None:
    """Take a visitor who asked to be forgotten out of the office's register, where there is one on this machine."""
    if folder.office_path.exists():
        register.forget(subject, erasures, "the visitor")


def _keep(logs: Sequence[EnforcementLog], store: EnforcementStore) -> None:
    """Add what was counted to what the store has; what it cannot take now waits."""
    for enforcement in logs:
        if counts := enforcement.take():
            try:
                store.count(counts)
            except StoreError as error:
                enforcement.give_back(counts)
                logger.debug("enforcement is not being counted: %s", error)


def _switch(variable: str, given: bool | None, *, default: bool) -> bool:
    if given is not None:
        return given
    text = os.environ.get(variable) or str(int(default))
    if text not in ("0", "1"):
        raise ConfigurationError(f"{text!r} is neither 1 nor 0", source=variable)
    return text == "1"


def _on_error(given: OnError | None) -> OnError:
    text = given or os.environ.get("CONSENT_ON_ERROR") or "withhold"
    for choice in get_args(OnError):
        if text == choice:
            return text  # type: ignore[return-value]
    raise ConfigurationError(f"{text!r} is none of {', '.join(get_args(OnError))}", key="on_error")
