"""The photos that cannot be used, and why."""

from __future__ import annotations

import re

import pytest
from photos import TRAIN, draw, encode, write_files, write_zip

from carlib.audit import Fault, audit
from carlib.catalog import Catalog, read_test

BAD = {
    "b-empty.jpg": (b"", r" is empty \(0 bytes\)$"),
    "d-text.jpg": (b"text", " is no photo of a known format$"),
    "f-cut.png": (encode(draw())[:100], " cannot be decoded: "),
    "h-cut.jpg": (encode(draw(), "JPEG")[:-50], " is truncated$"),
}
GOOD = {"a.png": encode(draw()), "c.jpg": encode(draw(), "JPEG"), "e.jpg": encode(draw(), "GIF")}
FILES = {**GOOD, **{name: content for name, (content, _) in BAD.items()}}


def test_nothing_to_say():
    assert audit(Catalog((), ())) == ()


@pytest.mark.parametrize("zipped", [False, True])
def test_faults_in_catalog_order(tmp_path, zipped, capsys):
    if zipped:
        write_zip(tmp_path / "test.zip", FILES)
    else:
        write_files(tmp_path / "test", FILES)
    photos = read_test(tmp_path)
    faults = audit(photos)
    assert [fault.id for fault in faults] == sorted(BAD)
    for fault in faults:
        assert fault.path == photos.paths[photos.ids.index(fault.id)]
        assert fault.reason.startswith(fault.path)
        assert "\n" not in fault.reason
    assert audit(photos) == faults
    assert audit(photos.without(BAD)) == ()


@pytest.mark.parametrize("name", BAD)
def test_reasons(tmp_path, name):
    content, reason = BAD[name]
    write_files(tmp_path, {name: content})
    (fault,) = audit(Catalog(("id",), (str(tmp_path / name),)))
    assert isinstance(fault, Fault)
    assert fault.id == "id"
    assert re.search(reason, fault.reason)


def test_a_photo_that_is_gone(tmp_path):
    write_files(tmp_path, TRAIN)
    catalog = Catalog(("x", "y"), (str(tmp_path / "0/f.png"), str(tmp_path / "gone.jpg")))
    (fault,) = audit(catalog)
    assert fault == Fault(
        "y", catalog.paths[1], f"cannot read {catalog.paths[1]}: No such file or directory"
    )
