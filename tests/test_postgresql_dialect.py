"""The SQL of the store in PostgreSQL stays within what it says that an engine has to have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import first_codes

SOURCES = sorted(Path(__file__).parents[1].glob("consent/postgresql_*.py"))
SPECIAL = {
    "COPY … (FORMAT binary)": r"copy_to_table",
    "FOR UPDATE SKIP LOCKED": r"SKIP LOCKED",
    "GENERATED … AS IDENTITY": r"AS IDENTITY",
    "INSERT … ON CONFLICT": r"ON CONFLICT",
    "LATERAL": r"LATERAL",
    "LOCK TABLE": r"LOCK TABLE",
    "PARTITION BY LIST": r"PARTITION",
    "REPEATABLE READ READ ONLY": r"ISOLATION LEVEL",
    "SET LOCAL": r"SET LOCAL",
    "USING gin (… jsonb_path_ops)": r"USING gin|jsonb_path_ops",
    "VACUUM": r"VACUUM",
    "WITH … RETURNING": r"RETURNING",
    "WITH RECURSIVE": r"RECURSIVE",
    "generate_series": r"generate_series",
    "unnest": r"unnest",
}
"""What an engine may lack, as docs/operations.md names it."""
_PLAIN = """
ADD ALL ALTER AND ANY ARRAY AS AT BEGIN BY CASE CHECK COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS DEFAULT DELETE DESC
DISTINCT DO DROP ELSE END EXISTS FOR FROM GROUP HAVING IF IN INDEX INSERT INTO IS JOIN KEY LEFT LIMIT NOT NOTHING
NULL OFFSET ON OR ORDER PRIMARY RENAME ROLLBACK SELECT SET TABLE THEN TIME TO UNION UNIQUE UPDATE USING VALUES WHEN
WHERE WITH ZONE
"""
_FUNCTIONS = """
coalesce convert_from count current_setting decode max min string_agg substr substring sum to_char to_regclass
to_timestamp
"""
_STATEMENT = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|BEGIN|VACUUM|LOCK|DROP|ALTER|WHERE|FROM|EXISTS)\b"
)


def statements() -> Iterator[str]:
    """Yield all texts in the sources that are SQL or a part of it, without what is in quotes in them."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documentation
                and _STATEMENT.search(node.value)
            ):
                yield re.sub(r"'[^']*'", "''", node.value)


def test_no_statement_uses_more_than_is_said() -> None:
    """Every word is plain SQL of PostgreSQL 13, or of something that the documentation names."""
    found = list(statements())
    assert len(found) > 50
    for statement in found:
        rest = statement
        for pattern in SPECIAL.values():
            rest = re.sub(
                rf"\b(?:FOR UPDATE )?(?:GENERATED \w+(?: \w+)? )?(?:{pattern})\b(?: OF| BY LIST)?", " ", rest
            )
        rest = re.sub(
            r"REPEATABLE READ READ ONLY|FOR VALUES|READ ONLY|LIST|SKIP_LOCKED|LOCAL|ALWAYS", " ", rest
        )
        assert set(re.findall(r"\b[A-Z]{2,}\b", rest)) <= set(_PLAIN.split()), statement
        assert set(re.findall(r"\b([a-z_]+)\(", rest)) <= set(_FUNCTIONS.split()), statement


def test_what_an_engine_has_to_have_is_documented() -> None:
    """Both ways: nothing is named that is not used."""
    assert first_codes("docs/operations.md", "what is used") == SPECIAL.keys()
    text = "".join(path.read_text() for path in SOURCES)
    for name, pattern in SPECIAL.items():
        assert re.search(pattern, text), name


@pytest.mark.parametrize(
    "word",
    [
        "advisory",
        "LISTEN",
        "NOTIFY",
        "TEMP",
        "TRIGGER",
        "FUNCTION",
        "EXTENSION",
        "PREPARE",
        "CURSOR",
        "SET SESSION",
    ],
)
def test_nothing_depends_on_a_session_or_an_extension(word: str) -> None:
    """A pooler hands sessions on, and other engines have other extensions."""
    for statement in statements():
        assert word not in statement
