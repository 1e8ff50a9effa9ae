"""A real OpenID Connect provider in a process of its own: django-oauth-toolkit, on loopback, with one client.

``python -m tests.oidc_provider PORT FOLDER CONSOLE`` serves it, until its standard input ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.caching.nginx import free_port

CLIENT_ID = "consent-office"
CLIENT_SECRET = "a secret & of 100% : the client"
PASSWORD = "correct horse battery staple"
PEOPLE = {"jo": ("Jo Example", ["privacy"]), "al": ("Al Example", ["sales"])}
"""Who has an account, what they are called, and their groups."""

_SIGN_IN = """<!doctype html><html lang="en"><title>Provider</title><form method="post">{% csrf_token %}
{{ form.as_p }}<button>Log in</button></form>"""
_AUTHORIZE = """<!doctype html><html lang="en"><title>Allow?</title><form method="post">{% csrf_token %}
{% for field in form %}{{ field.as_hidden }}{% endfor %}<button name="allow" value="Authorize">Allow</button></form>"""
_SIGN_OUT = """<!doctype html><html lang="en"><title>Log out?</title><form method="post">{% csrf_token %}
{% for field in form %}{{ field.as_hidden }}{% endfor %}<button name="allow" value="Logout">Log out</button></form>"""


@contextmanager
def provider(folder: Path, console: str) -> Iterator[str]:
    """Run one for a console, and yield its issuer."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "tests.oidc_provider", str(port), str(folder), console]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    issuer = f"http://127.0.0.1:{port}/o"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"{issuer}/.well-known/openid-configuration", timeout=5):
                    break
            except URLError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the provider did not start") from None
                time.sleep(0.1)
        yield issuer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def _application(port: int, folder: Path, console: str) -> Any:
    import django
    from django.conf import settings

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    templates = {
        "registration/login.html": _SIGN_IN,
        "oauth2_provider/authorize.html": _AUTHORIZE,
        "oauth2_provider/logout_confirm.html": _SIGN_OUT,
    }
    settings.configure(
        SECRET_KEY=os.urandom(32).hex(),
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "provider.sqlite3"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF="tests.oidc_provider",
        LOGIN_URL="/login/",
        SESSION_COOKIE_NAME="provider",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [("django.template.loaders.locmem.Loader", templates)],
                    "context_processors": ["django.template.context_processors.request"],
                },
            }
        ],
        USE_TZ=True,
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem,
            "OIDC_ISS_ENDPOINT": f"http://127.0.0.1:{port}/o",
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who you are", "profile": "your name", "groups": "your groups"},
            "OAUTH2_VALIDATOR_CLASS": "tests.oidc_claims.Claims",
        },
    )
    django.setup()
    from django.contrib.auth import views
    from django.contrib.auth.models import User
    from django.core.asgi import get_asgi_application
    from django.core.management import call_command
    from django.urls import include, path
    from oauth2_provider.models import Application

    urlpatterns.extend(
        [path("o/", include("oauth2_provider.urls")), path("login/", views.LoginView.as_view())]
    )
    call_command("migrate", verbosity=0)
    for name, (full_name, _) in PEOPLE.items():
        User.objects.create_user(name, password=PASSWORD, first_name=full_name)
    Application.objects.create(
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        algorithm=Application.RS256_ALGORITHM,
        redirect_uris=f"{console}/sign-in/return",
        post_logout_redirect_uris=console,
    )
    return get_asgi_application()


urlpatterns: list[Any] = []


def _main(port: str, folder: str, console: str) -> None:
    import uvicorn

    # Django finds its addresses by this module's name.
    sys.modules["tests.oidc_provider"] = sys.modules["__main__"]
    server = uvicorn.Server(
        uvicorn.Config(
            _application(int(port), Path(folder), console), port=int(port), log_level="error", lifespan="off"
        )
    )

    def end_with_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    server.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
