"""How a language tag finds its texts: RFC 4647 lookup, likely scripts, other tags of the same language."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consent.assets import asset_dir
from consent.texts import fallbacks, load_texts


@pytest.mark.parametrize(
    ("language", "tags"),
    [
        ("de", "de"),
        ("de-AT", "de-at de"),
        ("de-CH-1996", "de-ch-1996 de-ch de"),
        ("pt-BR", "pt-br pt"),
        ("de-x-plain", "de-x-plain de"),
        ("de-AT-u-co-phonebk", "de-at-u-co-phonebk de-at-u-co de-at de"),
        ("zh", "zh zh-hans"),
        ("zh-CN", "zh-cn zh-hans-cn zh-hans zh"),
        ("zh-SG", "zh-sg zh-hans-sg zh-hans zh"),
        ("zh-TW", "zh-tw zh-hant-tw zh-hant zh"),
        ("zh-HK", "zh-hk zh-hant-hk zh-hant zh"),
        ("zh-MO", "zh-mo zh-hant-mo zh-hant zh"),
        ("zh-Hant-HK", "zh-hant-hk zh-hant zh"),
        ("zh-Hans-HK", "zh-hans-hk zh-hans zh"),
        ("cmn-TW", "cmn-tw cmn zh-tw zh-hant-tw zh-hant zh"),
        ("sr", "sr"),
        ("sr-RS", "sr-rs sr"),
        ("sr-Cyrl-ME", "sr-cyrl-me sr-cyrl sr"),
        ("sr-Latn-RS", "sr-latn-rs sr-latn sr"),
        ("sr-ME", "sr-me sr-latn-me sr-latn sr"),
        ("sh", "sh sr-latn sr"),
        ("no", "no nb"),
        ("nn-NO", "nn-no nn nb-no nb"),
        ("iw-IL", "iw-il iw he-il he"),
    ],
)
def test_tags_are_looked_for_from_the_most_exact_on(language: str, tags: str) -> None:
    """What was asked for comes first; what another script would be read as comes last."""
    assert list(fallbacks(language)) == tags.split()


def test_a_site_s_own_file_under_another_tag_goes_first(tmp_path: Path) -> None:
    """A site that writes Nynorsk, or Norwegian under its old tag, is not answered in our Bokmål."""
    (tmp_path / "texts").mkdir()
    shutil.copy(asset_dir("templates") / "texts" / "en.toml", tmp_path / "texts" / "nn.toml")
    assert load_texts("nn-NO", folder=tmp_path).language == "nn"


@pytest.mark.parametrize(
    ("language", "served"),
    [
        ("ar-EG", "ar"),
        ("he-IL", "he"),
        ("iw", "he"),
        ("no", "nb"),
        ("nn-NO", "nb"),
        ("pt-BR", "pt-BR"),
        ("PT-br", "PT-br"),
        ("sr-BA", "sr"),
        ("sr-Latn-BA", "sr-Latn"),
        ("sr-ME", "sr-Latn"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-Hans-HK", "zh-Hans"),
        ("zh-HK", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
    ],
)
def test_a_tag_finds_the_texts_that_its_readers_read(language: str, served: str) -> None:
    """The built-in files, and the tag that pages then carry in ``lang``."""
    assert load_texts(language).language == served
