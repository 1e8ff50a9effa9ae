"""A site as the constructor's arguments and the environment say it: policy, catalog, folder, cookies, texts."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from datetime import UTC, date, datetime
from pathlib import Path

from consent.banner import Banner
from consent.catalog import load_catalog
from consent.choice_cookie import ChoiceCookie
from consent.data_folder import DEFAULT_FOLDER, DataFolder
from consent.errors import ConfigurationError
from consent.parts import catalog_of
from consent.policy import CacheMode, Policy, Rule
from consent.policy_file import load_policy, locate_in_policy
from consent.variant_cookie import VariantCookie


class Settings:
    """What the middleware and the cookie declaration have in common. Everything is read and checked here.

    Args:
        policy, data, templates, prefix: As for :class:`consent.ConsentMiddleware`; what is left out is taken from the
            environment, then from its default.
        clock: Returns seconds since 1970.
        takes_requests: Whether there is the form for what visitors ask about their data.

    Raises:
        ConfigurationError: the policy, the folder, a template or a text is wrong.
    """

    def __init__(
        self,
        *,
        policy: Policy | str | Path | None,
        data: str | Path | None,
        templates: str | Path | None,
        prefix: str | None,
        clock: Callable[[], float],
        takes_requests: bool = False,
    ) -> None:
        path = None
        if isinstance(policy, Policy):
            catalog = catalog_of(policy)
        else:
            path = policy or os.environ.get("CONSENT_POLICY")
            builtin = load_catalog()
            policy, catalog = load_policy(path, builtin) if path else (Policy(), builtin)
        self.policy = policy
        self.policy_file = Path(path) if path else None
        self.catalog = catalog
        """What is known about vendors, the site's own included."""
        self.prefix = prefix or os.environ.get("CONSENT_PREFIX") or "/_consent"
        self.folder = DataFolder(data or os.environ.get("CONSENT_DATA") or DEFAULT_FOLDER)
        self._takes_requests = takes_requests
        self._templates = templates or os.environ.get("CONSENT_TEMPLATES")
        today = datetime.fromtimestamp(clock(), UTC).date()
        try:
            self._prepare(in_force_since=self.folder.in_force_since(policy.version, today))
        except ConfigurationError as error:
            # A text of the policy file is checked where it is used: say where it stands.
            raise (locate_in_policy(error, path) if path else error) from None

    def _prepare(self, *, in_force_since: date | None) -> None:
        policy = self.policy
        self.cookie = ChoiceCookie(
            self.folder.keys(), max_age_days=policy.choice_days, domain=policy.choice_domain
        )
        self.companion: VariantCookie | None = None
        if policy.cache is not CacheMode.PER_VISITOR:
            self.companion = VariantCookie(self.cookie, policy, self.catalog)
        self.banner = Banner(
            policy,
            prefix=self.prefix,
            templates=Path(self._templates) if self._templates else None,
            cookie_name=self.cookie.name,
            companion_name="" if self.companion is None else self.companion.name,
            # Where pages are shared they set no cookie.
            names_beside=(
                self.cookie.mark_form,
                *([self.cookie.taken_form] if self.companion is None else []),
            ),
            in_force_since=in_force_since,
            takes_requests=self._takes_requests,
        )

    def treated(self, policy: Policy) -> Settings:
        """Return the same for those visitors for whom ``policy`` is that of this one."""
        other = copy(self)
        other.policy = policy
        # The folder knows this of one policy.
        other._prepare(in_force_since=None)
        return other

    def under(self, rule: Rule) -> Settings:
        """Return what is the same for another policy of the site, and that policy's own.

        Raises:
            ConfigurationError: a text of that policy is wrong.
        """
        policy = rule.policy
        other = copy(self)
        other.policy = policy
        other.catalog = rule.catalog or catalog_of(policy)
        # The folder knows this of one policy.
        other._prepare(in_force_since=None)
        return other
