"""The wheel carries all it needs: installed outside of the checkout, it serves a banner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from consent.catalog import load_catalog
from consent.catalog.packed import pack

ROOT = Path(__file__).resolve().parent.parent
SERVE = """
import asyncio, json, pathlib, consent

async def site(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<!doctype html><body><p>Hello</p></body>"})

async def get(app, path):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "scheme": "http",
             "headers": [(b"host", b"localhost")]}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]).decode()

app = consent.ConsentMiddleware(site, data="data")
status, page = asyncio.run(get(app, "/"))
style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
print(json.dumps({"module": consent.__file__, "page": page, "style": asyncio.run(get(app, style))}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_with_its_templates_and_nothing_of_the_tests(wheel: Path) -> None:
    """Templates and static files are inside the package; sources of the build are not."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert top == {"consent", next(name for name in top if name.endswith(".dist-info"))}
    assert {"consent/templates/banner.html", "consent/static/layouts/bar.css", "consent/py.typed"} <= set(
        names
    )
    for kind in ("texts", "catalog"):
        spoken = {f"consent/templates/{kind}/{path.name}" for path in (ROOT / "templates" / kind).iterdir()}
        assert {name for name in names if name.startswith(f"consent/templates/{kind}/")} == spoken
    assert not [name for name in names if name == "consent/_build.py" or name.endswith((".c", ".h"))]


def test_the_wheel_holds_the_packed_catalog_of_these_vendors(wheel: Path) -> None:
    """Made by the build from the same files: an installed package reads it instead of the TOML."""
    held = zipfile.ZipFile(wheel).read("consent/catalog/vendors/vendors.json")
    assert held == pack(load_catalog().vendors.values())


def test_an_installed_wheel_serves_a_banner(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment outside of the checkout, a mounted app answers with banner and stylesheet."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", str(wheel)]
    subprocess.run(pip, check=True, cwd=tmp_path, capture_output=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "CONSENT_"))}
    answer = subprocess.run(
        [str(python), "-c", SERVE], check=True, cwd=tmp_path, capture_output=True, text=True, env=clean
    )
    result = json.loads(answer.stdout)
    assert Path(result["module"]).is_relative_to(environment)
    assert (
        '<form class="consent-banner" data-layout="card" method="post" action="/_consent/choice"'
        in result["page"]
    )
    status, style = result["style"]
    assert status == 200
    assert ".consent-banner" in style
    command = [str(environment / "bin" / "consent"), "--help"]
    shown = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True, env=clean)
    assert "Keep trackers out of a website" in shown.stdout
