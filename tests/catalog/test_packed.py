"""The packed form of the catalog says what the TOML says."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from consent.catalog import Catalog, load_catalog
from consent.catalog.packed import FILE, pack, read_packed
from consent.categories import Category


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The built-in catalog, packed and read."""
    file = tmp_path_factory.mktemp("packed") / FILE
    file.write_bytes(pack(load_catalog().vendors.values()))
    return read_packed(file)


def test_every_vendor_comes_back_as_it_was(packed: Catalog) -> None:
    """Equal in all members and in their types, in the same order."""
    known = load_catalog()
    assert list(packed.vendors.items()) == list(known.vendors.items())
    assert {type(vendor.category) for vendor in packed.vendors.values()} == {Category}
    assert {type(vendor.hosts) for vendor in packed.vendors.values()} == {tuple}


def test_its_snippets_are_found_without_checking_them_again(packed: Catalog) -> None:
    """Every example leads to the same vendors, also where a site adds its own."""
    known, extended = load_catalog(), packed.with_vendors([])
    for vendor in known.vendors.values():
        for inline in vendor.inline:
            expected = known.match_inline(inline.example)
            assert packed.match_inline(inline.example) == expected
            assert extended.match_inline(inline.example) == expected


@pytest.mark.parametrize("collecting", [True, False])
def test_reading_leaves_the_collector_as_it_was(tmp_path: Path, collecting: bool) -> None:
    """On where it was on, off where it was off; after an error too."""
    file = tmp_path / FILE
    file.write_bytes(b"[[")
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(ValueError, match="Expecting value"):
            read_packed(file)
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()


def test_a_checkout_has_no_packed_form() -> None:
    """It would be stale as soon as somebody edits a vendor: only a build makes one."""
    assert not (Path(load_catalog.__code__.co_filename).parent / "vendors" / FILE).exists()
