"""The tables that a log in PostgreSQL is kept in, and how they come to be.

Names are not qualified: the ``search_path`` of the role or of the database says in which schema the log is, so that
one database can have several. Nothing here needs the state of a session: a pooler may hand each transaction another.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
"""Version of the tables (``consent_log.schema_version``)."""

# What is recorded goes into `consent_record`, and its commitment into `consent_inbox`, in one statement; whoever has
# the row of `consent_log` locked takes commitments from there and makes them leaves, in one order. A leaf stays for
# ever, with the tag of its record's id, so that nothing is recorded a second time. An erasure's leaf has its record
# beside it, which is nobody's; a receipt's is sealed in `consent_record`, under a key of its own. Erasing it deletes
# that row, or drops the month that it is in.
#
# Level 0 of the tree has a tile once it is full; until then it is the last leaves.
TABLES: Final = """
CREATE TABLE IF NOT EXISTS consent_log (
    id smallint PRIMARY KEY CHECK (id = 1),
    origin text NOT NULL,
    schema_version integer NOT NULL,
    size bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS consent_leaf (
    number bigint PRIMARY KEY,
    id_tag bytea NOT NULL UNIQUE,
    commitment bytea NOT NULL,
    month integer,
    body bytea
);
CREATE TABLE IF NOT EXISTS consent_inbox (
    arrived bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id_tag bytea NOT NULL,
    commitment bytea NOT NULL,
    month integer NOT NULL,
    daily text NOT NULL
);
CREATE TABLE IF NOT EXISTS consent_record (
    month integer NOT NULL,
    id_tag bytea NOT NULL,
    tag bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    outcome text NOT NULL,
    site text NOT NULL,
    time_ms bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (month, id_tag)
) PARTITION BY LIST (month);
CREATE INDEX IF NOT EXISTS consent_record_by_tag ON consent_record (tag);
CREATE INDEX IF NOT EXISTS consent_record_by_outcome ON consent_record (outcome);
CREATE TABLE IF NOT EXISTS consent_hold (
    tag bytea PRIMARY KEY,
    reason text NOT NULL
);
CREATE TABLE IF NOT EXISTS consent_tile (
    level integer NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, number)
);
CREATE TABLE IF NOT EXISTS consent_checkpoint (
    size bigint PRIMARY KEY,
    day text NOT NULL,
    note text NOT NULL
);
CREATE TABLE IF NOT EXISTS consent_daily (
    day text NOT NULL,
    site text NOT NULL,
    jurisdiction text NOT NULL,
    policy_version text NOT NULL,
    outcome text NOT NULL,
    performance boolean NOT NULL,
    functional boolean NOT NULL,
    targeting boolean NOT NULL,
    gpc boolean NOT NULL,
    collection_method text NOT NULL,
    choices bigint NOT NULL,
    PRIMARY KEY (day, site, jurisdiction, policy_version, outcome, performance, functional, targeting, gpc,
        collection_method)
);
CREATE TABLE IF NOT EXISTS consent_enforcement (
    day text NOT NULL,
    site text NOT NULL,
    rule text NOT NULL,
    vendor text NOT NULL,
    category text NOT NULL,
    action text NOT NULL,
    reason text NOT NULL,
    policy_version text NOT NULL,
    times bigint NOT NULL,
    PRIMARY KEY (day, site, rule, vendor, category, action, reason, policy_version)
);
CREATE TABLE IF NOT EXISTS consent_artefact (
    hash bytea PRIMARY KEY,
    media_type text NOT NULL,
    content bytea NOT NULL
);
"""

IS_PARTITIONED: Final = "SELECT relkind = 'p'::\"char\" FROM pg_class WHERE oid = 'consent_record'::regclass"
# What is acknowledged must be on the disk. Engines that have no such setting answer NULL.
DURABILITY: Final = (
    "SELECT current_setting('synchronous_commit', true), current_setting('fsync', true),"
    " current_setting('full_page_writes', true)"
)


def month_of(day: str) -> int:
    """Return the month of a moment as it is kept: ``202603`` for ``2026-03-01T…``."""
    return int(day[:4] + day[5:7])


def partition_of(month: int) -> str:
    """Return the name of the table that has a month's records."""
    return f"consent_record_{month:06}"


def new_partition(month: int) -> str:
    """Return the statement that makes it."""
    name = partition_of(month)
    return f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF consent_record FOR VALUES IN ({month:d})"
