"""A complaint arrives, and the office answers it with a proof: the steps of docs/office.md, on a real site."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConsentMiddleware
from consent.cli import main

API = "/_consent/api/v1"
PAGE = "<html><head><script src='https://www.googletagmanager.com/gtag/js?id=G-1'></script></head><body>Shop</body></html>"


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


def test_a_complaint_is_answered_with_a_proof(tmp_path: Path) -> None:
    """*I refused, and was tracked all the same*: what was chosen, on which text, what was done, who looked."""
    folder = tmp_path / "data"
    app = ConsentMiddleware(Starlette(routes=[Route("/", page)]), data=folder)

    def token(role: str) -> dict[str, str]:
        made = CliRunner().invoke(
            main, ["office", "token", "--name", "Jo", "--role", role, "--data", str(folder)]
        )
        return {"authorization": f"Bearer {made.stdout.strip()}", "consent-reason": "complaint 12"}

    with TestClient(app, base_url="https://shop.example") as client:
        # The visitor refuses, and keeps the receipt.
        client.get("/")
        client.post("/_consent/choice", json={"action": "refuse"}, headers={"Sec-Fetch-Site": "same-origin"})
        assert "googletagmanager" not in client.get("/").text
        deadline = time.monotonic() + 30
        while (kept := client.get("/_consent/receipt")).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        subject = kept.json()["record"]["subject"]
        client.cookies.clear()

        # 1. Which choices were made?
        officer, today = token("officer"), datetime.now(UTC).date().isoformat()
        found = client.post(f"{API}/lookups", json={"subject": subject}, headers=officer).json()["receipts"]
        assert [row["outcome"] for row in found] == ["refused"]
        leaf, shown = found[0]["leaf"], found[0]["shown_hash"]
        # 2. How did it stand that day?
        then = {"subject": subject, "until": today, "standing": True}
        assert client.post(f"{API}/lookups", json=then, headers=officer).json()["receipts"] == found
        # 3. What was chosen, on which text?
        opened = client.get(f"{API}/receipts/{leaf}", headers=officer).json()
        assert opened["receipt"] == kept.json()["record"]
        assert opened["proof"]["verified"] is True
        if shown:
            assert client.get(f"{API}/texts/{shown}", headers=officer).status_code == 200
        # 4. What did the server do? Counts are written every few seconds.
        while time.monotonic() < deadline:
            done = client.get(f"{API}/enforcement?from={today}&to={today}", headers=officer).json()[
                "enforcement"
            ]
            if done:
                break
            time.sleep(0.3)
        assert done
        assert not any(row["leaked"] for row in done)
        assert {row["action"] for row in done} == {"stripped"}
        # 5. Proof for others, who have the log's key and nothing else.
        evidence = client.get(f"{API}/receipts/{leaf}/evidence", headers=officer)
        (key,) = client.get(f"{API}/integrity", headers=officer).json()["keys"]
        file = tmp_path / "receipt.json"
        file.write_bytes(evidence.content)
        assert CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)]).exit_code == 0
        # 6. Who looked?
        entries = client.get(f"{API}/accesses", headers=token("administrator")).json()["accesses"]
        steps = [(entry["what"], entry["reason"]) for entry in reversed(entries)]
        assert steps == [
            ("token-made", ""),
            ("looked-up", "complaint 12"),
            ("looked-up", "complaint 12"),
            ("opened", "complaint 12"),
            ("opened", "complaint 12"),
            ("token-made", ""),
        ]
        assert subject not in json.dumps(entries)
