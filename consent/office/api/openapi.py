"""The API's description in OpenAPI 3.1, made of the table that it answers by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from consent.office.api.endpoint import Endpoint
from consent.office.api.receipts import INDEX_MEMBERS
from consent.office.api.table import ENDPOINTS
from consent.office.deprecation import Deprecated
from consent.office.desk import MAX_REASON, MIN_REASON
from consent.office.roles import ALLOWED, Role

VERSION: Final = "1.0"

_ERRORS: Final = {
    "400": "A parameter or the body is wrong.",
    "401": "There is no token, or it is not valid.",
    "403": "The token's role, or its sites, do not allow this.",
    "404": "There is no such thing, or nothing that the token may see.",
    "429": "Too many calls today; `Retry-After` says when there are new ones.",
    "503": "The log cannot be read now.",
}


_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A new one for each request: sent again with the same key, it is done once and answered twice.",
    "schema": {"type": "string", "pattern": "^[!#-\\[\\]-~]{1,255}$"},
}
_PART: Final = [
    {
        "name": "Range",
        "in": "header",
        "description": "One part of the file, in bytes: to go on with a download that broke off.",
        "schema": {"type": "string", "pattern": "^bytes=[0-9]{1,15}-$"},
    },
    {
        "name": "If-Range",
        "in": "header",
        "description": "The `ETag` of what you have: if it is another file by now, all of it is the answer.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{64}"$'},
    },
]


def document(path: str) -> dict[str, Any]:
    """Return the description of the API that is mounted at ``path``."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The privacy office",
            "version": VERSION,
            "description": "Questions to the log of consent receipts. A token is made by `consent office token`.",
        },
        "servers": [{"url": path}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "message"],
                            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                        }
                    },
                },
                "FoundReceipt": {
                    "type": "object",
                    "properties": {name: _member(name) for name in INDEX_MEMBERS},
                },
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    roles = [str(role) for role in Role if endpoint.action is None or endpoint.action in ALLOWED[role]]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    parameters += [
        {"name": each.name, "in": "query", "schema": dict(each.schema), **_about(each.about, each.deprecated)}
        for each in endpoint.parameters
    ]
    errors = _ERRORS | {str(status): about for status, about in endpoint.problems.items()}
    if endpoint.needs_reason or endpoint.reason_for:
        errors["428"] = "There is no reason."
        only = f" Needed with `{endpoint.reason_for}`." if endpoint.reason_for else ""
        parameters.append(
            {
                "name": "Consent-Reason",
                "in": "header",
                "required": endpoint.needs_reason,
                "description": f"Why; it is recorded. UTF-8, or percent-encoded.{only}",
                "schema": {"type": "string", "minLength": MIN_REASON, "maxLength": MAX_REASON},
            }
        )
    content: dict[str, Any] = {media_type: {} for media_type in endpoint.media_types}
    answers: dict[str, Any] = {
        str(endpoint.status): {"description": "What was asked for.", "content": content}
    }
    if endpoint.in_parts:
        parameters += _PART
        answers |= {
            "206": {"description": "The part that was asked for.", "content": content},
            "304": {"description": "You have it."},
        }
        errors |= {"412": "It is another file.", "416": "The file has no such part."}
    if endpoint.takes_key:
        parameters.append(_KEY)
        errors |= {
            "409": "The request with this `Idempotency-Key` is being done, or the state does not allow it.",
            "422": "This `Idempotency-Key` was sent with another request.",
        }
    if endpoint.body is not None:
        errors |= {"413": "The body is too long.", "415": "The body is said to be no JSON."}
    operation: dict[str, Any] = {
        "summary": endpoint.about,
        **_about(f"For {', '.join(roles)}.", endpoint.deprecated),
        "operationId": f"{endpoint.method.lower()}{re.sub('[^a-z]+', '_', endpoint.path)}".rstrip("_"),
        "parameters": parameters,
        "responses": {
            **answers,
            **{
                status: {
                    "description": about,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, about in sorted(errors.items())
            },
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _body(endpoint.body, endpoint.deprecated_members)}},
        }
    return operation


def _about(text: str, deprecated: Deprecated | None) -> dict[str, Any]:
    if deprecated is None:
        return {"description": text}
    return {"description": f"{text} {deprecated.about}", "deprecated": True}


def _body(schema: Mapping[str, Any], deprecated: Mapping[str, Deprecated]) -> dict[str, Any]:
    members = {
        name: {**member, **_about(member.get("description", ""), deprecated[name])}
        if name in deprecated
        else member
        for name, member in schema["properties"].items()
    }
    return {**schema, "properties": members}


def _member(name: str) -> dict[str, Any]:
    if name == "leaf":
        return {"type": "integer"}
    if name in ("performance", "functional", "targeting", "gpc"):
        return {"type": "boolean"}
    return {"type": ["boolean", "null"]} if name == "dnt" else {"type": "string"}
