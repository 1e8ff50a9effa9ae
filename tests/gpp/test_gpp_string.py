"""Strings of the Global Privacy Platform: as the IAB's own encoder writes and reads them, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.gpp_string import MAX_LENGTH, GppError, Section, decode, encode, sections

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))
"""Made with the IAB's encoder by vectors.mjs."""
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NOT_APPLICABLE = "BAAAAABA"
"""The core of ``usca`` with nothing in it but that a transaction is covered."""


def parts_of(section: Section) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Everything that can be in a section."""

    def core(version: int) -> st.SearchStrategy[dict[str, Any]]:
        fields: dict[str, st.SearchStrategy[Any]] = {section.version_field: st.just(version)}
        for field in section.cores[version]:
            number = st.integers(int(field.name == "MspaCoveredTransaction"), 2)
            fields[field.name] = (
                number if field.size is None else st.lists(number, min_size=field.size, max_size=field.size)
            )
        return st.fixed_dictionaries(fields)

    gpc = st.fixed_dictionaries({"SubsectionType": st.just(1), "Gpc": st.booleans()})
    cores = st.sampled_from(sorted(section.cores)).flatmap(core)
    more = st.lists(gpc, max_size=int(section.has_gpc))
    return st.tuples(cores, more).map(lambda found: [found[0], *found[1]])


CONTENT = st.fixed_dictionaries(
    {}, optional={name: parts_of(section) for name, section in sections().items()}
)


def test_every_section_is_there_once() -> None:
    """With the numbers and names that the IAB gave; the states' codes are those of ISO 3166-2."""
    found = {section.id: (section.name, section.place) for section in sections().values()}
    states = "ca va co ut ct fl mt or tx de ia ne nh nj tn mn md in ky ri"
    assert found == {
        7: ("usnat", "US"),
        **{at: (f"us{state}", f"US-{state.upper()}") for at, state in enumerate(states.split(), 8)},
    }
    assert {name: sorted(section.cores) for name, section in sections().items()} == {
        name: [1, 2] if name == "usnat" else [1] for name in sections()
    }
    assert [name for name, section in sections().items() if not section.has_gpc] == [
        "usva", "usut", "usfl", "usin", "usky", "usri",
    ]  # fmt: skip


def test_the_vectors_are_about_all_of_them() -> None:
    """In every version, with the sub-section and without."""
    met = {
        (name, parts[0].get("Version", 1), len(parts))
        for vector in VECTORS
        for name, parts in vector["content"].items()
    }
    wanted = {
        (name, version, count)
        for name, section in sections().items()
        for version, count in product(section.cores, (1, 2) if section.has_gpc else (1,))
    }
    assert met == wanted
    assert len(VECTORS) > 90


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: "+".join(vector["content"])[:40] or "none")
def test_it_writes_and_reads_what_the_iabs_encoder_does(vector: Mapping[str, Any]) -> None:
    assert encode(vector["content"]) == vector["string"]
    assert decode(vector["string"]) == vector["content"]


@given(CONTENT)
def test_what_is_written_is_read_again(content: dict[str, Any]) -> None:
    """In the order of the sections' numbers, whatever order it came in."""
    text = encode(dict(reversed(content.items())))
    assert decode(text) == content
    assert encode(decode(text)) == text


@given(CONTENT, st.data())
def test_one_bit_that_is_otherwise_is_something_else_or_an_error(
    content: dict[str, Any], data: st.DataObject
) -> None:
    """And never an error of another kind."""
    text = encode(content)
    places = [at for at, character in enumerate(text) if character in CHARACTERS]
    at = data.draw(st.sampled_from(places))
    flipped = CHARACTERS.index(text[at]) ^ (1 << data.draw(st.integers(0, 5)))
    altered = text[:at] + CHARACTERS[flipped] + text[at + 1 :]
    try:
        found = decode(altered)
    except GppError:
        return
    assert found != content
    assert decode(encode(found)) == found


@given(
    st.text(st.sampled_from(CHARACTERS + "~.=+/ \x00é"), max_size=60)
    | st.text(max_size=20)
    | st.text(st.sampled_from("AB~."), max_size=40).map("DBAB".__add__)
)
def test_garbage_is_an_error_of_ours(text: str) -> None:
    try:
        found = decode(text)
    except GppError:
        return
    assert decode(encode(found)) == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "the header is not in base64url"),
        ("CPXxRfA", "the header is of type 2, and not 3"),
        ("DCAA", "the header has version 2; 1 is the one that is known"),
        ("DBA", "the header ends too early"),
        ("DBAA=", "the header is not in base64url"),
        ("DBAA~", "the header names 0 sections, and 1 follow"),
        ("DBAAA", "the header goes on behind its end"),
        ("DBAB", "the header ends too early"),
        ("DBABAAAA", "the header has a number that does not end"),
        ("DBABM~CPXxRfA", "the header names section 2, which is not known"),
        ("DBABYA~A", "the header names section 1, which is not known"),
        (f"DBABjw~{NOT_APPLICABLE}~1YNN", "the header names section 5, which is not known"),
        ("DBABBg", "the header names 1 sections, and 0 follow"),
        ("DBABBg~", "usca is not in base64url"),
        ("DBABBg~BAAAAABB", "usca goes on behind its end"),
        ("DBABBg~BAAAAABAA", "usca goes on behind its end"),
        ("DBABBg~BAAAAA", "usca ends too early"),
        ("DBABBg~CAAAAABA", "usca has version 2, which is not known"),
        ("DBABBg~BAAAAAAA", "usca.MspaCoveredTransaction has a value that it cannot have"),
        ("DBABBg~BwAAAABA", "usca.SaleOptOutNotice has a value that it cannot have"),
        (f"DBABBg~{NOT_APPLICABLE}.", "the sub-section of usca is not in base64url"),
        (f"DBABBg~{NOT_APPLICABLE}.gA", "the sub-section of usca is not about GPC"),
        (f"DBABBg~{NOT_APPLICABLE}.QA.QA", "usca has more parts than it can have"),
        ("DBABRg~BAAAABA.QA", "usva has more parts than it can have"),
        ("D" * (MAX_LENGTH + 1), "it has 1025 characters; at most 1024 are read"),
    ],
)
def test_what_is_wrong_is_said(text: str, wrong: str) -> None:
    with pytest.raises(GppError) as caught:
        decode(text)
    assert str(caught.value) == wrong


def test_a_header_padded_to_characters_alone_is_read() -> None:
    """As the words of the specification have it; its examples and the IAB's encoder pad to bytes."""
    assert decode("DBABEYA~BQBA.QA") == decode("DBABEY~BQBA.QA") != decode("DBABEYA~BQBA.Y")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"SaleOptOut": 3}, "usca.SaleOptOut cannot be 3"),
        ({"SaleOptOut": True}, "usca.SaleOptOut cannot be True"),
        ({"SaleOptOut": "1"}, "usca.SaleOptOut cannot be '1'"),
        ({"MspaCoveredTransaction": 0}, "usca.MspaCoveredTransaction cannot be 0"),
        ({"SensitiveDataProcessing": [0] * 8}, "usca.SensitiveDataProcessing is a list of 9 numbers"),
        ({"SensitiveDataProcessing": 0}, "usca.SensitiveDataProcessing is a list of 9 numbers"),
        ({"SharingNotice": 1}, "usca has no field 'SharingNotice' there"),
        ({"Version": 2}, "usca has no version 2"),
        ({"SaleOptOut": None}, "usca.SaleOptOut cannot be None"),
    ],
)
def test_what_cannot_be_in_a_string_is_not_put_into_one(change: dict[str, Any], wrong: str) -> None:
    (core,) = decode(f"DBABBg~{NOT_APPLICABLE}")["usca"]
    with pytest.raises(GppError) as caught:
        encode({"usca": [core | change]})
    assert str(caught.value) == wrong


def test_parts_that_do_not_fit_are_refused() -> None:
    core, gpc = decode(f"DBABBg~{NOT_APPLICABLE}.QA")["usca"]
    without = {name: value for name, value in core.items() if name != "SaleOptOut"}
    for content, wrong in (
        ({"ustv": [core]}, "'ustv' is none of the sections usnat, usca, "),
        ({"usca": []}, "usca has one or two parts"),
        ({"usca": [core, gpc, gpc]}, "usca has one or two parts"),
        ({"usva": [core, gpc]}, "usva has one part"),
        ({"usca": [without]}, "usca lacks the field SaleOptOut"),
        ({"usca": [core, {"Gpc": True}]}, "usca lacks the field SubsectionType"),
        (
            {"usca": [core, gpc | {"Gpc": 1}]},
            "the sub-section about GPC of usca is of type 1, and says true or false",
        ),
    ):
        with pytest.raises(GppError) as caught:
            encode(content)
        assert str(caught.value).startswith(wrong)
