"""What the pages call the members of a receipt, for people who never saw one."""

from __future__ import annotations

from typing import Final

_LABELS: Final = {
    "policy_version": "Policy, version",
    "policy_hash": "Policy, SHA-256",
    "shown_hash": "Text shown, SHA-256",
    "collection_method": "How it was asked",
    "regime": "What silence means",
    "jurisdiction": "Place",
    "bot": "Made by a program",
    "gpc": "Global Privacy Control",
    "dnt": "Do Not Track",
    "grants": "Agreed to something",
    "vendor": "Vendor with an answer of its own",
    "said": "That answer",
}


def label(name: str) -> str:
    """Return what a member is called."""
    return _LABELS.get(name) or name.replace("_", " ").capitalize()
