"""Visitor texts: complete in every language, overridable, and checked when they are loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consent.assets import asset_dir
from consent.catalog import load_catalog
from consent.errors import ConfigurationError
from consent.texts import MAX_TEXT_LENGTH, Texts, languages, load_texts

PLACEHOLDER = re.compile(r"\{[a-z]+\}")
BUTTONS = ("accept", "refuse", "choose", "save", "withdraw")
SIGNALS = ("Global Privacy Control", "Do Not Track")


def own(folder: Path, name: str, content: str) -> Path:
    """Put a language file into a site's own templates folder, and return that folder."""
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / name).write_text(content, encoding="utf-8")
    return folder


def english() -> str:
    return (asset_dir("templates") / "texts" / "en.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    """No key is missing or left over, and each text uses exactly what the English one fills in."""
    texts, source = load_texts(language), load_texts("en")
    assert sorted(texts) == sorted(source)
    assert {key: set(PLACEHOLDER.findall(texts[key])) for key in texts} == {
        key: set(PLACEHOLDER.findall(source[key])) for key in source
    }


@pytest.mark.parametrize("language", languages())
def test_labels_fit_their_buttons(language: str) -> None:
    """Three buttons stand side by side: none of their labels is longer than 20 characters."""
    texts = load_texts(language)
    assert [key for key in BUTTONS if len(texts[key]) > 20] == []


@pytest.mark.parametrize("language", languages())
def test_yes_and_no_take_the_same_room(language: str) -> None:
    """Neither of the two is made larger by its words: at most half as long again as the other."""
    texts = load_texts(language)
    shorter, longer = sorted((len(texts["accept"]), len(texts["refuse"])))
    assert longer <= shorter * 1.5 + 2


@pytest.mark.parametrize("language", languages())
def test_no_text_outgrows_its_place(language: str) -> None:
    """Layouts are drawn in English and German: no text is much longer than the longer of these two."""
    texts, english, german = load_texts(language), load_texts("en"), load_texts("de")
    assert {
        key: text
        for key, text in texts.items()
        if len(text) > 1.6 * max(len(english[key]), len(german[key])) + 12
    } == {}


@pytest.mark.parametrize("language", [tag for tag in languages() if tag != "en"])
def test_no_sentence_is_left_in_english(language: str) -> None:
    """Beside names, placeholders and signs, a text of two words or more is never the English one."""
    texts, source = load_texts(language), load_texts("en")
    assert [
        key
        for key, text in texts.items()
        if text == source[key] and len(re.findall(r"[a-zA-Z]{2,}", PLACEHOLDER.sub("", text))) > 1
    ] == []


@pytest.mark.parametrize("language", languages())
def test_signals_keep_their_names(language: str) -> None:
    """A browser's settings call them Global Privacy Control and Do Not Track: so do we, wherever they stand."""
    texts, source = load_texts(language), load_texts("en")
    assert {key: [name for name in SIGNALS if name in texts[key]] for key in texts} == {
        key: [name for name in SIGNALS if name in source[key]] for key in texts
    }


@pytest.mark.parametrize("language", languages())
def test_texts_are_typed_with_care(language: str) -> None:
    """No straight quotation marks, no space at an edge or doubled, no ASCII ellipsis."""
    texts = load_texts(language)
    assert [
        key
        for key, text in texts.items()
        if re.search(r"[\"']|  |\.\.\.", text)
        or (key != "list_separator" and key != "list_last" and text != text.strip())
    ] == []


def test_french_signs_do_not_stand_alone() -> None:
    """Before : ; ? » and after « French sets a space that no line is broken at."""
    assert [
        key for key, text in load_texts("fr").items() if re.search(r"[^\u00a0][:;?»]|«[^\u00a0]", text)
    ] == []


def test_two_languages_are_written_from_right_to_left() -> None:
    """Arabic and Hebrew, and no other that is built in."""
    assert [tag for tag in languages() if load_texts(tag).direction == "rtl"] == ["ar", "he"]


@pytest.mark.parametrize("language", languages())
def test_every_language_names_the_same_countries(language: str) -> None:
    """A vendor's country reads as a name in every language: every country of the catalog has one."""
    countries = load_texts(language).countries
    assert sorted(countries) == sorted(load_texts("en").countries)
    assert {vendor.country for vendor in load_catalog().vendors.values()} <= countries.keys()
    assert all(name.strip() == name != code for code, name in countries.items())


@pytest.mark.parametrize("language", [tag for tag in languages() if tag != "en"])
def test_every_lifetime_of_the_catalog_reads_in_every_language(language: str) -> None:
    """As a number and a unit in the language's own words, and never in English ones."""
    texts = load_texts(language)
    lifetimes = {c.lifetime for vendor in load_catalog().vendors.values() for c in vendor.cookies}
    said = {words: texts.lifetime(words) for words in lifetimes - {"session"}}
    assert [words for words in said.values() if "{" in words] == []
    assert [words for words in said if words == said[words] and not re.search("[0-9]+ minutes?", words)] == []


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["1 day", "2 days", "5 days", "21 days"]),
        ("pl", ["1 dzień", "2 dni", "5 dni", "21 dni"]),
        ("ru", ["1 день", "2 дня", "5 дней", "21 день"]),
        ("sl", ["1 dan", "2 dneva", "5 dni", "21 dni"]),
        ("lt", ["1 diena", "2 dienos", "5 dienos", "21 diena"]),
        ("lv", ["1 diena", "2 dienas", "5 dienas", "21 diena"]),
        ("ro", ["1 zi", "2 zile", "5 zile", "21 de zile"]),
        ("ar", ["يوم واحد", "يومان", "5 أيام", "21 يومًا"]),
        ("he", ["יום אחד", "יומיים", "5 ימים", "21 ימים"]),
        ("ja", ["1日", "2日", "5日", "21日"]),
    ],
)
def test_a_number_takes_the_form_that_its_language_wants(language: str, said: list[str]) -> None:
    """One, two, few, many."""
    texts = load_texts(language)
    assert [texts.lifetime(words) for words in ("1 day", "2 days", "5 days", "21 days")] == said


def test_what_is_no_number_of_units_is_left_as_it_is(tmp_path: Path) -> None:
    """A site's own words, and everything in a language without forms."""
    assert load_texts("de").lifetime("until the next order") == "until the next order"
    content = re.sub(r"^(plurals = .*\n|\[durations\]\n(.+\n)+)", "", english(), flags=re.M)
    assert load_texts("eo", folder=own(tmp_path, "eo.toml", content)).lifetime("2 days") == "2 days"


@pytest.mark.parametrize("language", languages())
def test_no_text_flatters_or_claims_what_is_not_ours_to_claim(language: str) -> None:
    """No cliché, no claim of compliance, no exclamation mark."""
    said = " ".join(load_texts(language).values()).lower()
    for cliche in ("we value", "your privacy is important", "compliant", "best experience", "konform", "!"):
        assert cliche not in said


def test_a_region_is_served_by_its_language() -> None:
    """de-AT has no file of its own: the German one serves it, and says that it is German."""
    texts = load_texts("de-AT")
    assert (texts.language, texts.direction, texts.name) == ("de", "ltr", "Deutsch")
    assert texts["accept"] == "Alle erlauben"


def test_a_site_overrides_a_text() -> None:
    """The override is shown, everything else stays."""
    texts = load_texts("en", {"accept": "Yes to all"})
    assert texts["accept"] == "Yes to all"
    assert texts["refuse"] == "Refuse all"


def test_a_site_brings_a_language_of_its_own(tmp_path: Path) -> None:
    """A file in the site's folder is found, also one that is written from right to left."""
    folder = own(tmp_path, "eo.toml", english().replace('dir = "ltr"', 'dir = "rtl"'))
    assert set(languages(folder)) == {*languages(), "eo"}
    assert load_texts("eo", folder=folder).direction == "rtl"


def test_fill_replaces_placeholders_and_nothing_else() -> None:
    """A value that looks like a placeholder is left as it is."""
    assert load_texts("en").fill("banner_title", site="{site}") == "May {site} use optional cookies?"


def test_fill_wants_every_value() -> None:
    """A forgotten value is a mistake, not a gap in a sentence."""
    with pytest.raises(KeyError, match="site"):
        load_texts("en").fill("banner_title")


@pytest.mark.parametrize(
    ("names", "sentence"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_listing_reads_as_a_sentence(names: list[str], sentence: str) -> None:
    """The last member is joined by a word."""
    assert load_texts("en").listing(names) == sentence


def test_a_country_without_a_name_is_its_code() -> None:
    """Nothing is left out because the table is short."""
    texts = load_texts("en")
    assert [texts.country("US"), texts.country("ZZ")] == ["United States", "ZZ"]


@pytest.mark.parametrize("language", ["", "xx", "../en", "en/../de", "e", "en\n", "x" * 500])
def test_a_language_that_is_not_there_is_refused(language: str) -> None:
    """The message lists the languages; a tag cannot lead out of the folder."""
    with pytest.raises(ConfigurationError, match=r"there are .*de, .*en, ") as caught:
        load_texts(language)
    assert caught.value.key == "language"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("acept", "Yes", r"did you mean 'accept'\?"),
        ("zzzzzz", "Yes", r"the keys are in .*en\.toml"),
        ("accept", "", "something in it"),
        ("accept", "Yes {site}", "may use no placeholder"),
        ("banner_title", "{sight}?", r"may use \{site\}"),
        ("banner_title", "{site", "no other braces"),
        ("banner_title", "{site.__class__}", "no other braces"),
        ("accept", "two\nlines", "on one line"),
        ("accept", "x" * (MAX_TEXT_LENGTH + 1), "longer than 1000"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(key: str, text: str, message: str) -> None:
    """A mistake in a site's texts stops the start, and the message says what to change."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_texts("en", {key: text})
    assert caught.value.key == f"texts.{key}"


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        (('accept = "Accept all"\n', ""), "texts.accept", "in English it reads 'Accept all'"),
        (("[texts]\n", '[texts]\nnews = "x"\n'), "texts.news", "no such text in English"),
        (('"Accept all"', "1"), "texts.accept", "a string in quotes"),
        (('dir = "ltr"', 'dir = "up"'), "dir", "'ltr' or 'rtl'"),
        (('name = "English"', "name = 1"), "name", "the language's own name"),
        (('name = "English"', 'name = "E"\nother = 1'), "other", "belong here"),
        (('AT = "Austria"', 'Au = "Austria"'), "countries.Au", "two capital letters"),
        (('"n == 1 ? 0 : 1"', '"n % 0"'), "plurals", "which form goes with a number n"),
        (('"n == 1 ? 0 : 1"', '"n =="'), "plurals", "which form goes with a number n"),
        (('"n == 1 ? 0 : 1"', '"0"'), "durations.second", "there are 1 forms"),
        (("second = [", "seconds = ["), "durations", "it has second, minute"),
        (("[countries]", "[[countries]]"), "countries", r"write a table, \[countries\]"),
    ],
)
def test_a_language_file_is_checked_whole(
    tmp_path: Path, change: tuple[str, str], key: str, message: str
) -> None:
    """The error names the file and the key."""
    assert change[0] in english()
    folder = own(tmp_path, "fr.toml", english().replace(*change, 1))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_texts("fr", folder=folder)
    assert (caught.value.source, caught.value.key) == (str(folder / "texts" / "fr.toml"), key)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "not valid TOML: Invalid value"),
        ('name = "é"', "this line is not UTF-8: save the file as UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_in_utf_8_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """What cannot be read is named, with its line, and not skipped."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "fr.toml").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_texts("fr", folder=tmp_path)
    assert (caught.value.source, caught.value.line) == (str(tmp_path / "texts" / "fr.toml"), 1)


def test_texts_are_a_mapping() -> None:
    """They can be listed, counted and looked up."""
    texts: Texts = load_texts("en")
    assert len(texts) == len(list(texts)) > 50
    assert "accept" in texts
