"""The templates of what visitors see: a site's own before the built-in ones, compiled once for all languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
)
from jinja2.filters import FILTERS

from consent.assets import asset_dir
from consent.errors import ConfigurationError


class Templates(BaseLoader):
    """Finds templates. What was read once is not read again, so that all languages have the same.

    Args:
        folder: A site's own; ``None``: there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        folders = [asset_dir("templates")] if folder is None else [folder, asset_dir("templates")]
        self._files = ChoiceLoader([FileSystemLoader(place) for place in folders])
        self._compiled: dict[str, CodeType] = {}

    def environment(self, shared: Mapping[str, object]) -> Environment:
        """Return where templates are rendered that all may use ``shared``."""
        environment = _environment(self)
        environment.template_class = _CheckedTemplate
        environment.globals.update(shared)
        return environment

    def load(
        self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None
    ) -> Template:
        found = self._compiled.get(name)
        if found is None:
            source, path, _ = self._files.get_source(environment, name)
            filters = frozenset(environment.filters.items() - FILTERS.items())
            found = self._compiled[name] = _compiled(source, name, path, filters)
        return environment.template_class.from_code(environment, found, globals or {}, _is_current)


def _environment(loader: BaseLoader | None = None) -> Environment:
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)


@lru_cache(maxsize=256)
def _compiled(
    source: str, name: str, path: str | None, filters: frozenset[tuple[str, Callable[..., Any]]]
) -> CodeType:
    """Compile a template, once for all apps of this process: that is half of what it takes to start one."""
    environment = _environment()
    environment.filters.update(filters)
    return environment.compile(source, name, path)


def template_in(environment: Environment, name: str) -> Template:
    """Return a template.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    try:
        return environment.get_template(name)
    except TemplateError as error:
        raise _wrong_template(error, name) from error


def _is_current() -> bool:
    return True


class _CheckedTemplate(Template):
    """A template whose mistakes are reported as configuration, with file and line."""

    def render(self, *args: object, **kwargs: object) -> str:
        try:
            return super().render(*args, **kwargs)
        except TemplateError as error:
            raise _wrong_template(error, self.name or "template") from error


def _wrong_template(error: TemplateError, name: str) -> ConfigurationError:
    line = getattr(error, "lineno", None)
    source = getattr(error, "filename", None) or getattr(error, "name", None) or name
    return ConfigurationError(
        f"the template cannot be used: {error.message or type(error).__name__}", source=source, line=line
    )
