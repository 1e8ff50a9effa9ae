"""The site of Fernwell Instruments, as an ordinary web developer would write it.

Nothing here knows of consent, with one exception to show how it is done: the journal's "Most read" list,
which asks ``request.state.consent`` in its template. The trackers are in ``templates/tags``.

``site`` is the app alone, with every tracker at work; ``demo_site.app`` mounts the middleware around it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from demo_site.fields import FIELDS, TOPICS

HERE = Path(__file__).resolve().parent
YEAR = 365 * 24 * 3600
MAX_FORM_BYTES = 16 * 1024

templates = Jinja2Templates(directory=HERE / "templates")


def page(request: Request, name: str, status_code: int = 200, **context: object) -> Response:
    """Render a page, with the cookies that every page of this site sets."""
    context["member"] = request.session.get("member")
    context["recent"] = request.cookies.get("fernwell_recent") == "taproot"
    response = templates.TemplateResponse(request, name, dict(context), status_code=status_code)
    # Tagging on the server: Google Analytics' visitor number, kept out of reach of scripts.
    response.set_cookie("FPID", "FPID2.2.demo%3D.1700000000", max_age=2 * YEAR, httponly=True, samesite="lax")
    # What the Meta Conversions API wants to see again later.
    response.set_cookie("_fbc", "fb.1.1700000000000.demo", max_age=YEAR // 4, samesite="lax")
    response.headers.append(
        "link",
        "</static/site.css>; rel=preload; as=style, "
        "<https://connect.facebook.net/en_US/fbevents.js>; rel=preload; as=script",
    )
    return response


def form_token(request: Request) -> str:
    """Return the token that this visitor's forms carry, making one at need."""
    if "token" not in request.session:
        request.session["token"] = secrets.token_urlsafe(16)
    return str(request.session["token"])


async def form_fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that came from one of this site's own pages."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "That is more than this form takes.")
    try:
        parsed = parse_qs(body.decode(), max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "That form could not be read.") from None
    fields = {name: values[0].strip() for name, values in parsed.items()}
    expected = str(request.session.get("token", ""))
    if not expected or not secrets.compare_digest(fields.get("token", "").encode(), expected.encode()):
        raise HTTPException(
            403, "This form had gone stale. Please go back, reload the page and send it again."
        )
    return fields


async def home(request: Request) -> Response:
    return page(request, "home.html")


async def taproot(request: Request) -> Response:
    response = page(request, "taproot.html")
    response.set_cookie("fernwell_recent", "taproot", max_age=30 * 24 * 3600, httponly=True, samesite="lax")
    return response


async def frost_night(request: Request) -> Response:
    return page(request, "frost_night.html")


async def contact(request: Request) -> Response:
    if request.method == "POST":
        await form_fields(request)
        # A real site would pass the message on; here it goes nowhere.
        return RedirectResponse(request.url_for("thanks").path, status_code=303)
    topic = request.query_params.get("topic", "")
    return page(
        request,
        "contact.html",
        token=form_token(request),
        topics=TOPICS,
        topic=topic if topic in TOPICS else "",
    )


async def thanks(request: Request) -> Response:
    return page(request, "thanks.html")


async def sign_in(request: Request) -> Response:
    if request.method == "POST":
        email = (await form_fields(request)).get("email", "")
        if "@" in email and len(email) <= 200:
            request.session["member"] = email
            return RedirectResponse(request.url_for("members").path, status_code=303)
        return page(request, "sign_in.html", 422, token=form_token(request), problem=True)
    return page(request, "sign_in.html", token=form_token(request), problem=False)


async def sign_out(request: Request) -> Response:
    await form_fields(request)
    request.session.clear()
    return RedirectResponse(request.url_for("home").path, status_code=303)


async def members(request: Request) -> Response:
    if "member" not in request.session:
        return RedirectResponse(request.url_for("sign_in").path, status_code=303)
    return page(request, "members.html", token=form_token(request), fields=FIELDS)


async def privacy(request: Request) -> Response:
    return page(request, "privacy.html")


async def problem(request: Request, error: Exception) -> Response:
    """Every error as a page of the site."""
    if not isinstance(error, HTTPException):
        raise error
    if request.method != "GET":
        return page(request, "problem.html", error.status_code, detail=error.detail)
    detail = "There is nothing at this address." if error.status_code == 404 else error.detail
    return page(request, "problem.html", error.status_code, detail=detail)


site = Starlette(
    routes=[
        Route("/", home),
        Route("/products/taproot", taproot),
        Route("/journal/frost-night", frost_night),
        Route("/contact", contact, methods=["GET", "POST"]),
        Route("/contact/thanks", thanks),
        Route("/sign-in", sign_in, methods=["GET", "POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/members", members),
        Route("/privacy", privacy),
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ],
    middleware=[
        # A new secret at every start: this site forgets its members when it stops.
        Middleware(
            SessionMiddleware, secret_key=secrets.token_urlsafe(32), session_cookie="fernwell_session"
        ),
    ],
    exception_handlers={HTTPException: problem},
)
