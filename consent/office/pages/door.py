"""Who is let into the console, and how they leave it again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Final

from starlette.types import Scope

from consent.answers import Answer, json_bytes
from consent.office.attempts import Attempts
from consent.office.desk import Desk
from consent.office.oidc.sign_in import SignIn, SignInFailed
from consent.office.oidc.signed_in import PREFIX
from consent.office.pages.page import SECURE, Failed, Render
from consent.office.sessions import SESSION_SECONDS, Sessions
from consent.request_fields import is_secure

logger = logging.getLogger("consent")

BACK_CHANNEL: Final = "/sign-out/provider"
"""Where the provider tells that sessions have ended."""
_WRONG_TOKEN: Final = "That token is not valid: it may be mistyped, past its time, or revoked."  # noqa: S105


class Door:
    """Answers what has to do with signing in and out.

    Args:
        home: the console's path.
        desk: knows the tokens, and records who comes.
        sessions: of who is in.
        sign_in: with a provider; ``None``: there is none.
        attempts: counts who was not let in.
        render: renders a page.
    """

    def __init__(
        self,
        home: str,
        desk: Desk,
        sessions: Sessions,
        sign_in: SignIn | None,
        attempts: Attempts,
        render: Render,
    ) -> None:
        self._home = home
        self._desk = desk
        self._sessions = sessions
        self._sign_in = sign_in
        self._attempts = attempts
        self._render = render

    def is_secure(self, scope: Scope) -> bool:
        """Tell whether the browser came over HTTPS, as far as anybody says so."""
        return is_secure(scope) or (self._sign_in is not None and self._sign_in.settings.is_secure)

    def answer(self, scope: Scope, method: str, path: str, form: Mapping[str, str]) -> Answer | None:
        """Return the answer to a request that is about this; ``None``: it is not."""
        try:
            match method, path:
                case "POST", "/sign-in":
                    return self._with_token(scope, form.get("token", "").strip())
                case "POST", "/sign-out":
                    return self._out(scope)
                case "POST", path if path == BACK_CHANNEL and self._sign_in is not None:
                    return self._ended(scope, form.get("logout_token", ""), self._sign_in)
                case "GET", "/sign-in/provider" if self._sign_in is not None:
                    address, field = self._sign_in.begin()
                    return Answer(303, (field, (b"location", address.encode()), *SECURE))
                case "GET", "/sign-in/return" if self._sign_in is not None:
                    return self._returned(scope, self._sign_in)
        except SignInFailed as error:
            wait = self._attempts.failed(scope) if error.status < 500 else 0
            status, problem = (429, _too_many(wait)) if wait else (error.status, str(error))
            return self.ask(status=status, problem=problem)
        return None

    def is_from_provider(self, path: str) -> bool:
        """Tell whether it is the provider that asks this, which is no page of ours."""
        return self._sign_in is not None and path == f"{self._home}{BACK_CHANNEL}"

    def _ended(self, scope: Scope, token: str, sign_in: SignIn) -> Answer:
        """End the sessions that the provider has ended (OpenID Connect Back-Channel Logout 1.0, 2.5 to 2.8)."""
        try:
            logout = sign_in.logout(token)
            with self._desk.accesses.together():
                ended = sign_in.end(logout)
                people = {each.id: each for each in ended}
                for person_id, sessions in Counter(each.id for each in ended).items():
                    self._desk.record(people[person_id], "signed-out", by="the provider", sessions=sessions)
        except SignInFailed as error:
            wait = self._attempts.failed(scope)
            if not wait:
                logger.warning("the provider's logout ended nothing: %s", error)
            body = json_bytes(
                {"error": "invalid_request", "error_description": "nobody was signed out by it"}
            )
            headers = ((b"content-type", b"application/json"), *SECURE)
            if wait:
                return Answer(429, (*headers, (b"retry-after", b"%d" % wait)), body)
            return Answer(400, headers, body)
        return Answer(200, SECURE, b"")

    def ask(self, *, status: int, problem: str = "") -> Answer:
        """Return the page that asks who somebody is."""
        provider = None if self._sign_in is None else self._sign_in.settings
        return self._render(
            "sign_in.html", None, status=status, problem=problem, provider="" if provider is None else provider.name,
            minutes=SESSION_SECONDS // 60 if provider is None else provider.session_minutes,
        )  # fmt: skip

    def _with_token(self, scope: Scope, presented: str) -> Answer:
        token = self._desk.tokens.find(presented)
        if token is None:
            if wait := self._attempts.failed(scope):
                return self.ask(status=429, problem=_too_many(wait))
            logger.warning("the office's console was asked to let somebody in with a token that is not valid")
            return self.ask(status=401, problem=_WRONG_TOKEN)
        self._desk.record(token, "signed-in")
        session = self._sessions.start(token, is_secure=self.is_secure(scope))
        return Answer(303, (session, (b"location", self._home.encode()), *SECURE))

    def _returned(self, scope: Scope, sign_in: SignIn) -> Answer:
        if scope["method"] != "GET":
            raise Failed(405, "That cannot be done here", "Begin again.")
        recognised = sign_in.finish(scope["headers"], scope.get("query_string", b""))
        with self._desk.accesses.together():
            asker, session_id = sign_in.admit(recognised)
            self._desk.record(asker, "signed-in")
        field = self._sessions.start(asker, is_secure=self.is_secure(scope), session_id=session_id)
        # No redirect: the session's cookie is not sent along a way that began at another site.
        page = self._render("signed_in.html", None, person=asker.name)
        return Answer(200, (*page.headers, field, sign_in.forgotten()), page.body)

    def _out(self, scope: Scope) -> Answer:
        asker = self._sessions.asker(scope["headers"], is_secure=self.is_secure(scope))
        # Nobody's session is ended by a cookie that is none: it takes no turn to write.
        with nullcontext() if asker is None else self._desk.accesses.together():
            over = self._sessions.end(scope["headers"], is_secure=self.is_secure(scope))
            if asker is not None:
                self._desk.record(asker, "signed-out")
        if self._sign_in is None or asker is None or not asker.id.startswith(PREFIX):
            return Answer(303, (over, (b"location", self._home.encode()), *SECURE))
        page = self._render(
            "signed_out.html",
            None,
            provider=self._sign_in.settings.name,
            there=self._sign_in.sign_out_address(),
        )
        return Answer(200, (*page.headers, over), page.body)


def _too_many(seconds: int) -> str:
    return f"Too often, from your network. Try again in {-(-seconds // 60)} minutes."
