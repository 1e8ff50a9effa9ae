"""What the catalog says to visitors: the same few hundred sentences, in the language of who reads them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consent import ConfigurationError, Policy, load_catalog, load_policy
from consent.assets import asset_dir
from consent.banner import Banner
from consent.catalog import Vendor
from consent.decision import decide
from consent.languages import Languages
from consent.policy_diff import policy_changes
from consent.policy_file import locate_in_policy
from consent.sentences import GROUPS, Wording, load_sentences
from consent.signals import Signals
from consent.texts import languages, load_texts
from consent.toml_file import TomlFile

FILES = asset_dir("templates") / "catalog"
TRANSLATED = sorted(path.stem for path in FILES.glob("*.toml") if path.stem != "en")
ALPHABETIC = 1.9, 10
"""How many characters a translation may have for each one of the English, and how many besides."""
ENGLISH = re.compile(r"\b(?:the|which|visitors?|recognises|remembers)\b", re.IGNORECASE)
"""Words that no other language has, and that most of the English sentences do."""
FULL_STOPS = {"hi": "।", "ja": "。", "zh-Hans": "。", "zh-Hant": "。"}
CATALOG = tuple(load_catalog().vendors.values())


def said(vendor: Vendor) -> Iterator[tuple[str, str]]:
    """Yield all that the catalog says of a vendor, its cookies and storage, each with its table in the files."""
    yield "about", vendor.about
    for purpose in (*(c.purpose for c in vendor.cookies), *(item.purpose for item in vendor.storage)):
        yield "purpose", purpose


def written(language: str) -> dict[str, dict[str, str]]:
    """Return the tables of a language's file."""
    return TomlFile(FILES / f"{language}.toml", max_bytes=1 << 20).data


def test_the_catalog_says_what_is_in_the_file_and_all_of_it() -> None:
    """A vendor's file that says something of its own adds it to the file, and its translations."""
    english = written("en")
    for group in GROUPS:
        listed = list(english[group].values())
        assert len(set(listed)) == len(listed)
        assert {sentence for vendor in CATALOG for table, sentence in said(vendor) if table == group} == set(
            listed
        )
    assert not set(english["about"].values()) & set(english["purpose"].values())


def test_it_is_said_in_every_language_that_visitors_are_spoken_to_in() -> None:
    assert [*TRANSLATED, "en"] == sorted(languages(), key="en".__eq__)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_language_says_all_of_it(language: str) -> None:
    """The same keys in the same order, each a sentence that is no English one, not much longer, and no two alike."""
    english, own = written("en"), written(language)
    assert {group: list(table) for group, table in own.items()} == {
        group: list(table) for group, table in english.items()
    }
    stop = FULL_STOPS.get(language, ".")
    for group, table in own.items():
        assert len(set(table.values())) == len(table)
        for key, sentence in table.items():
            original = english[group][key]
            assert sentence != original, key
            assert sentence == sentence.strip(), key
            assert sentence.endswith(stop), key
            assert not sentence[: -len(stop)].endswith(stop), key
            assert len(sentence) <= ALPHABETIC[0] * len(original) + ALPHABETIC[1], key
            assert not re.search(r"[<>&{}]|  ", sentence), key
            assert not ENGLISH.search(sentence), key


# ---- what visitors read


def telling() -> tuple[Vendor, ...]:
    """Return as many vendors as it takes for every sentence to be among theirs."""
    heard: set[tuple[str, str]] = set()
    found = []
    for vendor in CATALOG:
        if not heard >= {*said(vendor)}:
            heard |= {*said(vendor)}
            found.append(vendor)
    return tuple(found)


POLICY = Policy(vendors=telling(), languages=("en", "de"))
BANNER = Banner(POLICY)


def words(page: str) -> set[str]:
    """Return the texts of a page's elements."""
    return {html.unescape(text.strip()) for text in re.findall(r">([^<>]+)<", page)}


@pytest.mark.parametrize("shown", ["banner", "choices", "declaration page", "declaration"])
def test_a_german_visitor_reads_it_in_german(shown: str) -> None:
    """In the second layer, on the page of choices, in the declaration: every sentence, and none in English."""
    banner = BANNER.in_language("de")
    silence = decide(POLICY, Signals())
    page = {
        "banner": lambda: banner.markup(silence, return_to="/", nonce=None).decode(),
        "choices": lambda: banner.choices_page(silence, return_to="/").decode(),
        "declaration page": lambda: banner.declaration_page().decode(),
        "declaration": lambda: str(banner.declaration()),
    }[shown]()
    read = words(page)
    english, german = written("en"), written("de")
    assert {text for table in german.values() for text in table.values()} <= read
    assert not {text for table in english.values() for text in table.values()} & read
    assert 'lang="en"' not in page.replace('hreflang="en" lang="en"', "")


def test_what_is_not_in_the_visitor_s_language_says_so() -> None:
    """A sentence that nobody has translated is marked as English; what a policy says, as the default language."""
    sentence = "Plays videos inside the page."
    english, arabic, said = load_texts("en"), load_texts("ar"), load_sentences("en")
    untranslated = Wording(arabic, said, {}, english)
    assert untranslated(sentence) == f'<bdi lang="en" dir="ltr">{sentence}</bdi>'
    assert untranslated("Ours <b>.") == '<bdi lang="en" dir="ltr">Ours &lt;b&gt;.</bdi>'
    assert Wording(english, said, {}, arabic)("لنا.") == '<bdi lang="ar" dir="rtl">لنا.</bdi>'
    assert Wording(english, said, {}, english)(sentence) == sentence
    assert Wording(english, said, {}, english)("Ours <b>.") == "<bdi>Ours &lt;b&gt;.</bdi>"
    german = Wording(load_texts("de"), load_sentences("de"), {"Ours <b>.": "Unser <b>."}, english)
    assert german(sentence) == "Spielt Videos auf der Seite ab."
    assert german("Ours <b>.") == "Unser &lt;b&gt;."


OWN = """
[site]
languages = ["en", "de"]

[[cookie]]
name = "basket"
purpose = "Remembers what you put into the basket."
lifetime = "session"
category = "strictly-necessary"

[sentences.de-AT]
"Remembers what you put into the basket." = "Merkt sich, was Sie in den Einkaufskorb legen."
"Plays videos inside the page." = "Spielt Filme ab."
"""


def test_a_policy_says_how_a_sentence_reads_in_another_language(tmp_path: Path) -> None:
    """One of its own or of the catalog; pages that say something else have another version."""
    path = tmp_path / "consent.toml"
    path.write_text(OWN, encoding="utf-8")
    policy, _ = load_policy(path, load_catalog())
    banner = Banner(policy)
    wordings = banner.languages.wordings
    assert wordings["de"]("Plays videos inside the page.") == "Spielt Filme ab."
    assert wordings["en"]("Plays videos inside the page.") == "Plays videos inside the page."
    page = banner.in_language("de").declaration_page().decode()
    assert "Merkt sich, was Sie in den Einkaufskorb legen." in page
    assert "Remembers what you put into the basket." not in page
    plain = replace(policy, sentences={})
    assert Banner(plain).version != banner.version
    assert plain.version == policy.version
    (change,) = policy_changes(
        plain, replace(policy, sentences={"de": {"Sells tickets inside the page.": "X."}})
    )
    assert (change.material, change.what) == (False, "sentence de.Sells tickets inside the page.")


@pytest.mark.parametrize(
    ("line", "number", "key", "message"),
    [
        ('[sentences.de]\n"Shows the wether." = "Wetter."', 1, "sentences.de", "did you mean 'Shows the weather.'?"),
        ('[sentences.de]\n"Q" = "Wetter."', 1, "sentences.de", "of no vendor and no cookie is 'Q' said; write it as"),
        ('[sentences.fr]\n"Shows the weather." = "Il fait."', 1, "sentences.fr", "the site's languages are de"),
        ('[sentences]\nde = "x"', 2, "sentences.de", "must be a table"),
        ('[sentences.1]\n', 1, "sentences.1", "must be a language tag"),
        ('[sentences.de]\n"Shows the weather" = ""', 2, "sentences.de.Shows the weather", "must not be empty"),
    ],
)  # fmt: skip
def test_a_mistake_in_them_is_told_with_its_place(
    tmp_path: Path, line: str, number: int, key: str, message: str
) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(f'{line}\n[site]\nlanguage = "de"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError) as told:
        Languages(load_policy(path, load_catalog())[0])
    error = locate_in_policy(told.value, path)
    assert (error.line, error.key) == (number, key)
    assert message in error.message


# ---- files


def test_a_language_is_found_as_its_texts_are(tmp_path: Path) -> None:
    """The most exact file; a site's own before the built-in one; English where there is none."""
    assert load_sentences("de-AT").language == "de"
    assert load_sentences("en-GB").language == "en"
    assert load_sentences("eu").language == "en"
    own = tmp_path / "catalog"
    own.mkdir()
    basque = (FILES / "de.toml").read_text(encoding="utf-8").replace("Zeigt das Wetter.", "Eguraldia.")
    (own / "eu.toml").write_text(basque, encoding="utf-8")
    found = load_sentences("eu", folder=tmp_path)
    assert (found.language, found.by_english["Shows the weather."]) == ("eu", "Eguraldia.")
    assert load_sentences("eu").language == "en"


def test_nothing_is_translated_where_nothing_is_said() -> None:
    """A site without vendors and cookies reads no sentences at its start; one that tells of what was seen does."""
    sentence = "Shows the weather."
    silent, telling = (Languages(Policy(languages=("en", "de"), declare_seen=seen)) for seen in (False, True))
    assert 'lang="en"' in silent.wordings["de"](sentence)
    assert telling.wordings["de"](sentence) == "Zeigt das Wetter."


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'weather = "Shows the weather."',
            "",
            "about.weather]: this sentence is missing; in English it reads",
        ),
        ("weather = ", "wether = ", "about.weather]: this sentence is missing"),
        (
            "[purpose]",
            'more = "More."\n[purpose]',
            "about.more]: there is no such sentence in English: remove it",
        ),
        ('"Shows the weather."', '""', "about.weather]: a sentence is a line of at most 300 characters"),
        ('"Shows the weather."', f'"{"x" * 301}"', "about.weather]: a sentence is a line"),
        ('"Shows the weather."', '"""a\nb"""', "about.weather]: a sentence is a line"),
        ('"Shows the weather."', "1", "about.weather]: a sentence is a line"),
        ("[purpose]", "[texts]\n[purpose]", "texts]: only [about] and [purpose] belong here"),
        ("[about]", 'about = "x"\n[x]', "x]: only [about] and [purpose] belong here"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, before: str, after: str, message: str) -> None:
    """Before the site starts."""
    (tmp_path / "catalog").mkdir()
    path = tmp_path / "catalog" / "eu.toml"
    text = (FILES / "en.toml").read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError) as told:
        load_sentences("eu", folder=tmp_path)
    assert message in str(told.value)
    assert told.value.source == str(path)
