"""A MaxMind database of a few networks, written as its format has it (MaxMind DB file format 2.0)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any


def database(networks: Mapping[str, object]) -> bytes:
    """Return the file's bytes: each IPv4 network with its record."""
    nodes: list[list[int | None]] = [[None, None]]
    data = b""
    leaves: dict[tuple[int, int], int] = {}
    for text, record in networks.items():
        network = IPv4Network(text)
        bits = [int(network.network_address) >> (31 - bit) & 1 for bit in range(network.prefixlen)]
        at = 0
        for bit in bits[:-1]:
            following = nodes[at][bit]
            if following is None:
                nodes.append([None, None])
                following = nodes[at][bit] = len(nodes) - 1
            at = following
        leaves[at, bits[-1]] = len(data)
        data += _encoded(record)
    tree = b""
    for at, node in enumerate(nodes):
        for side, following in enumerate(node):
            value = len(nodes) if following is None else following
            if (at, side) in leaves:
                value = len(nodes) + 16 + leaves[at, side]
            tree += value.to_bytes(3, "big")
    about = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-City",
        "description": {},
        "ip_version": 4,
        "languages": [],
        "node_count": len(nodes),
        "record_size": 24,
    }
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encoded(about)


def _encoded(value: Any) -> bytes:
    match value:
        case str():
            text = value.encode()
            return bytes([2 << 5 | len(text)]) + text
        case int():
            return bytes([6 << 5 | 4]) + value.to_bytes(4, "big")
        case list():
            return bytes([len(value), 4]) + b"".join(map(_encoded, value))
    return bytes([7 << 5 | len(value)]) + b"".join(
        _encoded(key) + _encoded(each) for key, each in value.items()
    )
