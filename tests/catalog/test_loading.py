"""Reading vendor files: every mistake is answered with the file, the key and the remedy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from consent.catalog import Cookie, InlineSignature, StorageKey, Vendor, load_catalog, parse_vendors
from consent.categories import Category
from consent.errors import ConfigurationError

GOOD = """
[[vendor]]
id = "example-chat"
name = "Example Chat"
company = "Example Chat Ltd"
country = "IE"
privacy = "https://chat.example/privacy"
category = "functional"
about = "Lets visitors chat with the company."
hosts = ["chat.example"]
urls = ["mixed.example/chat/*"]
cookie = [
  { name = "chat_*", purpose = "Recognises the visitor.", lifetime = "1 year", http_only = true },
  { name = "uid", purpose = "Recognises the browser.", lifetime = "session", party = "third" },
]
storage = [
  { key = "chat.state", purpose = "Keeps the window." },
  { key = "chat.tab", area = "session", purpose = "Keeps the tab." },
]

[[vendor.inline]]
pattern = '''ExampleChat\\s*+\\(\\s*+["']boot["']'''
example = "ExampleChat('boot');"
benign = ["// ExampleChat('boot');"]
"""


def table(**changes: Any) -> dict[str, Any]:
    """A minimal vendor table with ``changes``; None removes a key."""
    made: dict[str, Any] = {
        "id": "example",
        "name": "Example",
        "company": "Example Ltd",
        "country": "DE",
        "privacy": "https://example.com/privacy",
        "category": "targeting",
        "about": "Exists for a test.",
        "hosts": ["tracker.example"],
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def test_a_complete_file_becomes_a_vendor(tmp_path: Path) -> None:
    """Every key of the format ends where it belongs."""
    (tmp_path / "chat.toml").write_text(GOOD, encoding="utf-8")
    catalog = load_catalog(tmp_path)
    assert catalog.vendors == {
        "example-chat": Vendor(
            id="example-chat",
            name="Example Chat",
            company="Example Chat Ltd",
            country="IE",
            privacy_url="https://chat.example/privacy",
            category=Category.FUNCTIONAL,
            about="Lets visitors chat with the company.",
            hosts=("chat.example",),
            urls=("mixed.example/chat/*",),
            inline=(
                InlineSignature(
                    pattern=r"""ExampleChat\s*+\(\s*+["']boot["']""",
                    example="ExampleChat('boot');",
                    benign=("// ExampleChat('boot');",),
                ),
            ),
            cookies=(
                Cookie(
                    name="chat_*",
                    purpose="Recognises the visitor.",
                    lifetime="1 year",
                    party="first",
                    http_only=True,
                ),
                Cookie(
                    name="uid",
                    purpose="Recognises the browser.",
                    lifetime="session",
                    party="third",
                    http_only=False,
                ),
            ),
            storage=(
                StorageKey(key="chat.state", area="local", purpose="Keeps the window."),
                StorageKey(key="chat.tab", area="session", purpose="Keeps the tab."),
            ),
        )
    }


def test_other_keys_of_a_site_file_are_not_its_business() -> None:
    """``[[vendor]]`` tables are read from a document that holds other settings too."""
    assert [v.id for v in parse_vendors({"site": "x", "vendor": [table()]}, "consent.toml")] == ["example"]
    assert parse_vendors({"site": "x"}, "consent.toml") == ()


def cookie(**changes: Any) -> dict[str, Any]:
    return {"name": "abc", "purpose": "Counts.", "lifetime": "1 year", **changes}


def inline(**changes: Any) -> dict[str, Any]:
    return {"pattern": r"abc\s*+\(", "example": "abc()", "benign": ["// abc()"], **changes}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"colour": "red"}, "colour", "unknown key: known are id, name, company,"),
        ({"name": None}, "name", 'missing: add name = "…"'),
        ({"name": 3}, "name", "must be text in quotes"),
        ({"name": "  "}, "name", "must not be empty"),
        ({"about": "x" * 301}, "about", "must be at most 300 characters long"),
        ({"id": "Example"}, "id", "'Example' must be lower-case letters, digits and hyphens"),
        ({"id": "a--b"}, "id", "must be lower-case letters, digits and hyphens"),
        ({"country": "Germany"}, "country", "'Germany' must be a two-letter country code"),
        ({"privacy": "http://example.com/"}, "privacy", "must be the address of a page"),
        ({"privacy": "javascript:alert(1)"}, "privacy", "must be the address of a page"),
        ({"privacy": "https://[x/"}, "privacy", "must be the address of a page"),
        ({"category": "marketing"}, "category", "'marketing' is none of strictly-necessary, performance,"),
        ({"hosts": "tracker.example"}, "hosts", "must be a list of texts"),
        ({"hosts": [1]}, "hosts", "must be a list of texts"),
        ({"hosts": ["a.example", "a.example"]}, "hosts[1]", "'a.example' is there twice"),
        ({"hosts": ["*"]}, "hosts[0]", "'*' must not have a '*'"),
        ({"hosts": ["*.tracker.example"]}, "hosts[0]", "a host stands for its subdomains already"),
        ({"hosts": ["com"]}, "hosts[0]", "is not a host"),
        ({"hosts": ["co.uk"]}, "hosts[0]", "belongs to everybody who has a name under it"),
        ({"hosts": ["cloudfront.net"]}, "hosts[0]", "belongs to everybody who has a name under it"),
        ({"hosts": ["https://a.example"]}, "hosts[0]", "has a path: move it to urls"),
        ({"hosts": ["A.example"]}, "hosts[0]", "is not a host: write a lower-case domain name"),
        ({"hosts": ["a.example:443"]}, "hosts[0]", "is not a host"),
        ({"hosts": ["a.example."]}, "hosts[0]", "is not a host"),
        ({"hosts": ["192.0.2.1"]}, "hosts[0]", "is not a host"),
        ({"hosts": ["bücher.example"]}, "hosts[0]", "an IDN as 'xn--…'"),
        ({"hosts": []}, "hosts", "nothing would ever match this vendor"),
        ({"urls": ["*.a.example/ad"]}, "urls[0]", "must not have a '*' in its host"),
        ({"urls": ["*/ad*"]}, "urls[0]", "is about every host: write a whole name at its end"),
        ({"urls": ["*/ad/"]}, "urls[0]", "is about every host: write a whole name at its end"),
        ({"urls": ["/ad*"]}, "urls[0]", "or whole folders at its beginning"),
        ({"urls": ["/*/ad/*"]}, "urls[0]", "or whole folders at its beginning"),
        ({"urls": ["/a/*"]}, "urls[0]", "or whole folders at its beginning"),
        ({"urls": ["/"]}, "urls[0]", "covers every host"),
        ({"urls": ["*/?a=1"]}, "urls[0]", "covers every host"),
        ({"urls": ["/ad?x"]}, "urls[0]", "must name its query parameters"),
        ({"urls": ["/ad#x"]}, "urls[0]", "at most one '?' and no '#'"),
        ({"urls": ["com/ad"]}, "urls[0]", "(host 'com') is not a host"),
        ({"urls": ["co.uk/ad"]}, "urls[0]", "(host 'co.uk') belongs to everybody"),
        ({"urls": ["https://a.example/x"]}, "urls[0]", "without a scheme"),
        ({"urls": ["//a.example/x"]}, "urls[0]", "without a scheme"),
        ({"urls": ["a.example"]}, "urls[0]", "has no path: move it to hosts"),
        ({"urls": ["a.example/"]}, "urls[0]", "covers the whole host"),
        ({"urls": ["a.example/*"]}, "urls[0]", "covers the whole host"),
        ({"urls": ["a.example/x#y"]}, "urls[0]", "at most one '?' and no '#'"),
        ({"urls": ["a.example/x?y?z=1"]}, "urls[0]", "at most one '?' and no '#'"),
        ({"urls": ["a.example/x?y"]}, "urls[0]", "must name its query parameters"),
        ({"urls": ["a.example/x?*=1"]}, "urls[0]", "must name its query parameters"),
        ({"cookie": {"name": "x"}}, "cookie", "must be an array of tables: write [[vendor.cookie]]"),
        ({"cookie": ["x"]}, "cookie", "must be an array of tables"),
        ({"cookie": [cookie(name="*")]}, "cookie[0].name", "write at least 3 characters before the '*'"),
        ({"cookie": [cookie(name="ab*")]}, "cookie[0].name", "'ab*' would match too much"),
        (
            {"cookie": [cookie(name="consent_*")]},
            "cookie[0].name",
            "keeps the visitor's answer, consent_taken",
        ),
        (
            {"cookie": [cookie(name="__Host-*")]},
            "cookie[0].name",
            "keeps the visitor's answer, __Host-consent",
        ),
        (
            {"cookie": [cookie(name="consent_taken_gpc_3f2504e0")]},
            "cookie[0].name",
            "keeps the visitor's answer, consent_taken_*",
        ),
        (
            {"cookie": [cookie(name="consent_taken_d*")]},
            "cookie[0].name",
            "keeps the visitor's answer, consent_taken_*",
        ),
        ({"cookie": [cookie(name="consent")]}, "cookie[0].name", "keeps the visitor's answer, consent:"),
        ({"cookie": [cookie(name="abc*d*")]}, "cookie[0].name", "more than one '*'"),
        ({"cookie": [cookie(name="a b")]}, "cookie[0].name", "is not a cookie name"),
        ({"cookie": [cookie(name="a;b")]}, "cookie[0].name", "is not a cookie name"),
        ({"cookie": [cookie(party="second")]}, "cookie[0].party", "'second' is none of first, third"),
        ({"cookie": [cookie(http_only="yes")]}, "cookie[0].http_only", "must be true or false"),
        ({"cookie": [cookie(expires="1 year")]}, "cookie[0].expires", "unknown key"),
        ({"cookie": [cookie(), cookie()]}, "cookie[1]", "'abc' is there twice"),
        ({"storage": [{"key": "abc"}]}, "storage[0].purpose", "missing"),
        (
            {"storage": [{"key": "abc", "purpose": "X.", "area": "disk"}]},
            "storage[0].area",
            "'disk' is none of",
        ),
        ({"inline": [inline(pattern="abc(")]}, "inline[0].pattern", "capturing group"),
        ({"inline": [inline(pattern="abc=[")]}, "inline[0].pattern", "which signatures must not use"),
        ({"inline": [inline(pattern=r"abc\(.*\)")]}, "inline[0].pattern", "can be slow"),
        (
            {"inline": [inline(example="abd()")]},
            "inline[0].example",
            "does not match it: correct one of the two",
        ),
        ({"inline": [inline(example="'abc()'")]}, "inline[0].example", "does not match it"),
        ({"inline": [inline(benign=[])]}, "inline[0].benign", "must name at least one"),
        ({"inline": [inline(benign=None)]}, "inline[0].benign", "must be a list of texts"),
        (
            {"inline": [inline(benign=["x", "abc()"])]},
            "inline[0].benign[1]",
            "matches it: narrow the pattern",
        ),
    ],
)
def test_mistakes_in_a_vendor_are_answered_with_key_and_remedy(
    changes: dict[str, Any], key: str, message: str
) -> None:
    """One mistake, one error: which file, which key, what to do."""
    with pytest.raises(ConfigurationError) as caught:
        parse_vendors(
            {"vendor": [table(id="fine", hosts=["fine.example"]), table(**changes)]}, "consent.toml"
        )
    assert caught.value.source == "consent.toml"
    assert caught.value.key == f"vendor[1].{key}"
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"consent.toml [vendor[1].{key}]: ")


@pytest.mark.parametrize("vendors", [{"id": "x"}, "x", [1]])
def test_vendors_must_be_an_array_of_tables(vendors: Any) -> None:
    """``[vendor]`` instead of ``[[vendor]]`` is a common slip."""
    with pytest.raises(ConfigurationError) as caught:
        parse_vendors({"vendor": vendors}, "consent.toml")
    assert str(caught.value) == "consent.toml [vendor]: must be an array of tables: write [[vendor]]"


def test_an_id_is_unique_within_a_file() -> None:
    """The second one is the mistake."""
    with pytest.raises(ConfigurationError) as caught:
        parse_vendors({"vendor": [table(), table()]}, "consent.toml")
    assert str(caught.value) == (
        "consent.toml [vendor[1].id]: a second vendor with the id 'example': rename it, or merge the two"
    )


def write_vendor(path: Path, **changes: str) -> None:
    keys = {key: value for key, value in table().items() if isinstance(value, str)} | changes
    hosts = keys.pop("hosts", '["tracker.example"]')
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    path.write_text("\n".join(["[[vendor]]", *lines, f"hosts = {hosts}", ""]), encoding="utf-8")


def test_an_id_is_unique_among_files(tmp_path: Path) -> None:
    """The error names both files."""
    write_vendor(tmp_path / "a.toml")
    write_vendor(tmp_path / "b.toml", hosts='["other.example"]')
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(tmp_path)
    assert caught.value.source == str(tmp_path / "b.toml")
    assert caught.value.key == "vendor.example.id"
    assert "the id 'example' is taken by a vendor in a.toml: rename one of them" in str(caught.value)


def test_a_host_has_one_owner_among_files(tmp_path: Path) -> None:
    """The error names the second file, the rule and the first owner."""
    write_vendor(tmp_path / "a.toml")
    write_vendor(tmp_path / "b.toml", id="second")
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'b.toml'} [vendor.second.hosts]: 'tracker.example' already belongs to the vendor "
        "'example': remove it from one of the two, or give the vendor the id 'example' to replace that one"
    )


def test_a_vendor_with_very_many_hosts_takes_time_in_proportion() -> None:
    """Looking for repeats does not compare each with all before it."""

    def seconds(count: int) -> float:
        data = {"vendor": [table(hosts=[f"h{number}.example" for number in range(count)])]}
        times = []
        for _ in range(3):
            begun = time.process_time()
            parse_vendors(data, "test")
            times.append(time.process_time() - begun)
        return min(times)

    assert seconds(16_000) < 8 * seconds(4_000)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "no [[vendor]] table: add one, or remove the file"),
        (b"# nothing\n", None, "no [[vendor]] table"),
        (b"title = 'x'\n", 1, "[title]: unknown key: a vendor file has [[vendor]] tables only"),
        (b"[[vendor]]\nid = \n", 2, "not valid TOML at column 6: Invalid value"),
        (b"[[vendor]]\nid = 'a'\nid = 'b'\n", 3, "not valid TOML at column 9: Cannot overwrite a value"),
        (b"id = '\xff'\n", 1, "this line is not UTF-8: save the file as UTF-8"),
        (b"#" * (1024 * 1024 + 1), None, "larger than 1,048,576 bytes"),
    ],
)
def test_mistakes_in_a_file_name_it_and_the_line(
    tmp_path: Path, content: bytes, line: int | None, message: str
) -> None:
    """Empty, broken, foreign and oversized files are refused."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(tmp_path)
    assert caught.value.source == str(path)
    assert caught.value.line == line
    assert message in str(caught.value)


def test_a_folder_without_vendor_files_is_refused(tmp_path: Path) -> None:
    """A wrong path is no empty catalog."""
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no vendor files (*.toml) in this folder"
