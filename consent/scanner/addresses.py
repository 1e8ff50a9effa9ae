"""What is said about an address: of a recording, where anything may stand in its place."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from consent.enforcement import site_of

_NONE = SplitResult("", "", "", "", "")


def host_of(url: str) -> str:
    """Return the host of an address, without a port; empty where it has none."""
    return (_parts(url).hostname or "").rstrip(".")


def path_of(url: str) -> str:
    """Return the path of an address; ``/`` where it has none."""
    return _parts(url).path or "/"


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address of a page; empty where it is none."""
    parts = _parts(url)
    try:
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return f"{parts.scheme}://{parts.hostname.rstrip('.')}:{port or (443 if parts.scheme == 'https' else 80)}"


def place_of(url: str) -> str:
    """Return host, port and path of an address, which is how places are named in a report; empty where it has none."""
    parts = _parts(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path or '/'}" if parts.netloc else ""


def is_same_site(url: str, other: str) -> bool:
    """Tell whether two addresses have one registrable domain."""
    return site_of(host_of(url)) == site_of(host_of(other))


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return _NONE
