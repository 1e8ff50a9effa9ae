"""The tree of a log in SQLite: tiles read and written, checkpoints kept. Functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import partial

from consent.merkle import TILE_WIDTH, Edge, Tile, Tiles, kept_tile, leaf_hash


def log_size(connection: sqlite3.Connection) -> int:
    """Return how many leaves the log has."""
    (last,) = connection.execute("SELECT max(leaf) FROM record").fetchone()
    return 0 if last is None else int(last) + 1


def read_tile(connection: sqlite3.Connection, level: int, index: int, width: int) -> bytes:
    """Return the first ``width`` hashes of a tile, or as many as there are. See :data:`consent.merkle.ReadTile`.

    Raises:
        InvalidProofError: what is kept is not hashes.
    """
    row = connection.execute(
        # Whoever alters a row can alter its type, too.
        "SELECT CAST(hashes AS BLOB) FROM tile WHERE level = ? AND number = ?",
        (level, index),
    ).fetchone()
    if row is not None:
        return kept_tile(level, index, row[0], width)
    if level > 0:
        return b""
    first = index * TILE_WIDTH
    rows = connection.execute(
        "SELECT CAST(commitment AS BLOB) FROM record WHERE leaf >= ? AND leaf < ? ORDER BY leaf",
        (first, first + width),
    )
    return b"".join([leaf_hash(commitment) for (commitment,) in rows])


def load_edge(connection: sqlite3.Connection) -> Edge:
    """Return the edge of the tree as it is kept.

    Raises:
        InvalidProofError: a tile of it is missing or was altered.
    """
    return Edge.load(log_size(connection), partial(read_tile, connection))


def write_tiles(connection: sqlite3.Connection, tiles: Iterable[Tile]) -> None:
    """Keep tiles; one that has grown replaces what it was."""
    rows = [(tile.level, tile.index, tile.hashes) for tile in tiles]
    if rows:
        connection.execute(
            f"INSERT INTO tile VALUES (?, ?, ?){', (?, ?, ?)' * (len(rows) - 1)}"  # noqa: S608 - ours
            " ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes",
            [value for row in rows for value in row],
        )


def tiles_at(connection: sqlite3.Connection, size: int) -> Tiles:
    """Return the tree of the first ``size`` leaves."""
    return Tiles(size, partial(read_tile, connection))


def last_checkpoint(connection: sqlite3.Connection) -> str | None:
    """Return the checkpoint of the most leaves."""
    row = connection.execute(
        "SELECT CAST(note AS TEXT) FROM checkpoint ORDER BY size DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def checkpoints(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the last checkpoint of each day, the earliest first: day and note."""
    return list(
        connection.execute("SELECT CAST(day AS TEXT), CAST(note AS TEXT) FROM checkpoint ORDER BY size, day")
    )


def origin_of(connection: sqlite3.Connection) -> str:
    """Return the log's name."""
    (origin,) = connection.execute("SELECT CAST(origin AS TEXT) FROM log").fetchone()
    return str(origin)
