"""Files of ours that pages load: each is named by its content, so that browsers may keep it forever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from zopfli import gzip

from consent.errors import ConfigurationError
from consent.minify import minified_stylesheet


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file of ours that browsers may keep forever: its content is named in its URL."""

    name: str
    """The last segment of its URL, with the hash: ``consent.0123456789abcdef.css``."""
    media_type: str
    content: bytes
    etag: str


def zipped(content: bytes) -> bytes:
    """Compress a file as small as gzip goes, which takes 100 times as long: half a second for the guard's script."""
    return bytes(gzip.compress(content))


def stylesheets(folder: Path, layout: str) -> Mapping[str, StaticFile]:
    """Read every stylesheet in ``folder``, keyed by the name in its URL.

    Args:
        layout: The one whose rules are to be among them, of those in ``layouts/``.
    """
    files = {}
    names = (folder / "consent.css").read_text("utf-8")
    rules = (folder / "layouts" / f"{layout}.css").read_text("utf-8")
    for path in sorted(folder.glob("*.css")):
        source = path.read_text("utf-8").replace("@layout;", rules)
        content = minified_stylesheet(source, names=names).encode()
        digest = sha256(content).hexdigest()[:16]
        name = f"{path.stem}.{digest}.css"
        files[name] = StaticFile(
            name=name, media_type="text/css; charset=utf-8", content=content, etag=f'"{digest}"'
        )
    return MappingProxyType(files)


def named(files: Mapping[str, StaticFile], name: str) -> StaticFile:
    stem, _, suffix = name.rpartition(".")
    for file in files.values():
        if file.name.startswith(f"{stem}.") and file.name.endswith(f".{suffix}"):
            return file
    raise ConfigurationError(f"{name} is missing from the static files: reinstall asgi-consent")
