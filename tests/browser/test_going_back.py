"""Who goes back to a page of before a withdrawal does not go back to what was allowed then."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from consent import ConsentMiddleware
from demo_site.site import HERE, site
from tests.browser.conftest import Demo, OpenBrowser, serve
from tests.browser.test_demo_site import BENIGN, BENIGN_WITHOUT_SCRIPTS, withdraw


async def cached(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the demo does, with pages that browsers may keep for an hour."""

    async def with_age(message: Message) -> None:
        if (
            message["type"] == "http.response.start"
            and (b"cache-control", b"no-store") not in message["headers"]
        ):
            message = {**message, "headers": [*message["headers"], (b"cache-control", b"max-age=3600")]}
        await send(message)

    await site(scope, receive, with_age)


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("app", [site, cached])
def test_a_page_of_before_is_not_shown_as_it_was(
    tmp_path: Path, open_browser: OpenBrowser, javascript: bool, app: object
) -> None:
    """Neither as the browser kept it whole, nor from its cache of files, where the site lets it keep its pages."""
    middleware = ConsentMiddleware(app, policy=HERE / "consent.toml", data=tmp_path / "data")  # type: ignore[arg-type]
    with serve(middleware) as port:
        visitor = open_browser(Demo(f"http://127.0.0.1:{port}", port, None), javascript=javascript)
        visitor.go("/privacy")
        visitor.press("Accept all")
        visitor.go("/contact/thanks")
        benign = BENIGN if javascript else BENIGN_WITHOUT_SCRIPTS
        assert visitor.contacted() - benign
        visitor.go("/privacy")
        withdraw(visitor)
        visitor.settle()
        visitor.standin.forget()
        for _ in range(2 if javascript else 3):
            visitor.page.go_back()
            visitor.settle()
        assert visitor.contacted() <= benign
