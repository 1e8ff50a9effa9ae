"""An erasure request arrives, and the office answers it: the steps of docs/office.md, on a real site."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.parse import urlencode

from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConsentMiddleware
from consent.cli import main

API = "/_consent/api/v1"
FORM = "/_consent/requests"
SAME = {"Sec-Fetch-Site": "same-origin"}


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse("<html><body>Shop</body></html>")


def test_an_erasure_request_is_answered(tmp_path: Path) -> None:
    """*Please delete everything you have about me*: known, copied, erased, certified, answered, and recorded."""
    folder = tmp_path / "data"
    app = ConsentMiddleware(Starlette(routes=[Route("/", page)]), data=folder, requests=True)

    def token(role: str) -> dict[str, str]:
        made = CliRunner().invoke(
            main, ["office", "token", "--name", "Jo", "--role", role, "--data", str(folder)]
        )
        return {"authorization": f"Bearer {made.stdout.strip()}"}

    with TestClient(app, base_url="https://shop.example") as client:

        def post(**given: str) -> str:
            sent = {**SAME, "content-type": "application/x-www-form-urlencoded"}
            return client.post(FORM, content=urlencode(given), headers=sent).text

        # The visitor accepts, thinks again, and asks with the form.
        client.post("/_consent/choice", json={"action": "accept"}, headers=SAME)
        client.post("/_consent/choice", json={"action": "refuse"}, headers=SAME)
        assert FORM in client.get("/_consent/choices").text
        shown = re.search(r'name="form" value="([^"]+)"', client.get(FORM).text)
        assert shown
        sent = post(
            form=shown[1],
            kind="erase",
            name="Alix Example",
            contact="alix@mail.example",
            details="Please delete everything you have about me.",
            attach="on",
        )
        reference, code = re.findall(r"<code dir=\"ltr\">([A-Z2-7-]+)</code>", sent)

        officer = token("officer")
        # 1. What is due?
        listed = client.get(f"{API}/requests?open=true", headers=officer).json()
        (row,) = listed["requests"]
        assert (row["reference"], row["kind"], row["overdue"]) == (reference, "erase", False)
        assert row["due"] == row["acknowledge_by"]
        assert "Alix" not in json.dumps(listed)
        # 2. Who asks?
        own = f"{API}/requests/{reference}"
        opened = client.get(own, headers=officer).json()
        assert (opened["name"], opened["contact"]) == ("Alix Example", "alix@mail.example")
        # 3. It arrived.
        step = client.patch(own, json={"step": "acknowledge"}, headers=officer).json()
        assert (step["state"], step["due"]) == ("acknowledged", step["answer_by"])
        assert "Being worked on" in post(action="show", reference=reference, code=code)
        # 4. Is it them?
        assert client.post(f"{own}/erasures", json={}, headers=officer).status_code == 409
        subject = opened["came_with"]
        how = {
            "step": "verify-identity",
            "text": "The browser with the pseudonym sent it; confirmed by mail.",
        }
        assert client.patch(own, json=how, headers=officer).json()["identity_verified"]
        # 5. What is there?
        found = client.post(f"{own}/lookups", json={"sought": subject}, headers=officer).json()["receipts"]
        assert [each["outcome"] for each in found] == ["withdrawn", "given"]
        # 6. A copy first.
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            package = client.get(f"{own}/package", headers=officer).json()
            if all(each["evidence"] for each in package["receipts"]):
                break
            time.sleep(0.2)
        assert [each["receipt"]["outcome"] for each in package["receipts"]] == ["given", "withdrawn"]
        assert package["texts"].keys() >= {package["receipts"][0]["receipt"]["policy_hash"]}
        copy = client.get(f"{own}/package?form=html", headers=officer)
        assert copy.headers["content-disposition"].endswith(f'consent-request-{reference}.html"')
        # 7. Erase.
        erased = client.post(f"{own}/erasures", json={}, headers=officer).json()["erasures"]
        assert [each["erased"] for each in erased] == [2]
        while time.monotonic() < deadline:
            (certificate,) = client.get(f"{own}/certificates", headers=officer).json()["certificates"]
            if certificate["evidence"]:
                break
            time.sleep(0.2)
        file = tmp_path / "certificate.json"
        file.write_text(json.dumps(certificate["evidence"]))
        key = package["keys"][0]
        assert CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)]).exit_code == 0
        asked = {"subject": subject}
        look = {**officer, "consent-reason": f"request {reference}"}
        assert client.post(f"{API}/lookups", json=asked, headers=look).json()["receipts"] == []
        # 8. Answer.
        answer = {"step": "answer", "text": "Certificate sent to alix@mail.example."}
        assert client.patch(own, json=answer, headers=officer).json()["state"] == "answered"
        seen = post(action="show", reference=reference, code=code)
        assert "Answered" in seen
        assert "alix@" not in seen

        # Who did what: by the reference, and nothing that names anybody.
        entries = client.get(f"{API}/accesses?limit=100", headers=token("administrator")).json()["accesses"]
        steps = [each["what"] for each in reversed(entries) if each["details"].get("request") == reference]
        assert steps[0] == "request-received"
        for what in ("acknowledge", "verify-identity", "packaged", "erasing", "erased", "answer"):
            assert f"request-{what}" in steps
        recorded = json.dumps(entries)
        assert [word for word in (subject, "Alix", "alix@", code) if word in recorded] == []
    stored = (folder / "office.sqlite3").read_bytes()
    assert [
        word
        for word in (subject, "Alix Example", "alix@mail", "delete everything", code)
        if word.encode() in stored
    ] == []
