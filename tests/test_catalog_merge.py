"""An external set merged: for training only, no copies, no clash of ids."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from photos import TRAIN, photo_file, write_files, write_layout, write_zip

from carlib.catalog import Catalog, fold, merge, read_catalog, read_test, split
from carlib.errors import UsageError

# Of the classes of TRAIN, of two of them, with file names of its own and of TRAIN.
EXTERNAL = {
    "2/a.png": photo_file(50),
    "2/old/z.png": photo_file(51),
    "10/x.png": photo_file(52),
    "10/y.png": photo_file(53),
}


@pytest.fixture
def own(tmp_path) -> Catalog:
    return read_catalog(write_layout(tmp_path / "own", "folders"))


def external(folder, files=EXTERNAL, layout="folders") -> Catalog:
    return read_catalog(write_layout(folder / "external", layout, files))


def labels(catalog: Catalog) -> dict[str, str]:
    assert catalog.labels is not None
    names = (catalog.classes[label] for label in catalog.labels)
    return dict(zip(catalog.ids, names, strict=True))


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("layout", ["folders", "zip with top"])
def test_merge(own, tmp_path, caplog, layout):
    other = external(tmp_path, layout=layout)
    merged = merge(own, other)
    assert merged.ids == own.ids + tuple(f"external/{name}" for name in other.ids)
    assert merged.paths == own.paths + other.paths
    assert merged.classes == own.classes == ("0", "2", "10")
    assert labels(merged) == {
        **labels(own),
        **{f"external/{name}": name.split("/")[0] for name in EXTERNAL},
    }
    assert merged.origins == ("",) * 7 + ("external",) * 4
    assert merged.groups is None
    assert merged.digest() != own.digest()
    assert warnings(caplog) == []


def test_an_external_photo_never_validates(own, tmp_path):
    merged = merge(own, external(tmp_path))
    for seed in range(5):
        for way in (
            lambda catalog, seed=seed: split(catalog, 0.4, seed),
            lambda catalog, seed=seed: fold(catalog, 2, 1, seed),
        ):
            training, validation = way(merged)
            assert validation.ids == way(own)[1].ids
            assert validation.origins == ("",) * len(validation)
            assert training.origins.count("external") == 4


def test_the_digest_knows_the_other_set(own, tmp_path):
    other = external(tmp_path)
    said = {
        merge(own, other).digest(),
        merge(own, other, "more").digest(),
        merge(own, other.take([0, 1, 2])).digest(),
        dataclasses.replace(merge(own, other), origins=None).digest(),
        own.digest(),
    }
    assert len(said) == 5
    assert merge(own, other.take([])).digest() == own.digest()


COPIES = {
    # What is external; what is kept of it; what is said.
    "of an own photo, of another name and class": (
        {**EXTERNAL, "10/copy.png": TRAIN["2/b.png"], "2/copy.png": TRAIN["2/b.png"]},
        sorted(EXTERNAL),
        "2 photos of 'external' are copies of photos known already: not used",
    ),
    "of an earlier one": (
        {**EXTERNAL, "10/z.png": EXTERNAL["10/x.png"], "2/z.png": EXTERNAL["10/x.png"]},
        sorted({*EXTERNAL, "10/x.png"}),
        "2 photos of 'external' are copies of photos known already: not used",
    ),
    "all": (TRAIN, [], "7 photos of 'external' are copies of photos known already: not used"),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("layout", ["folders", "zip without top"])
def test_copies_are_left_out(own, tmp_path, caplog, kind, layout):
    files, kept, said = COPIES[kind]
    with caplog.at_level(logging.WARNING, "carlib"):
        merged = merge(own, external(tmp_path, files, layout))
    assert merged.ids[:7] == own.ids
    assert merged.ids[7:] == tuple(f"external/{name}" for name in kept)
    assert warnings(caplog) == [said]


def test_copies_of_test_photos_are_left_out(own, tmp_path, caplog):
    write_zip(tmp_path / "t" / "test.zip", {"1.png": EXTERNAL["10/y.png"], "2.png": b"other"})
    merged = merge(own, external(tmp_path), against=read_test(tmp_path / "t"))
    assert set(EXTERNAL) - {"10/y.png"} == {
        name.removeprefix("external/") for name in merged.ids[7:]
    }
    assert warnings(caplog) == [
        "1 photos of 'external' are copies of photos known already: not used"
    ]


def test_near_copies_and_photos_of_one_size_stay(own, tmp_path):
    content = TRAIN["2/b.png"]
    files = {"2/a.png": content + b"\0", "10/b.png": content[:-1] + bytes([content[-1] ^ 1])}
    assert len(merge(own, external(tmp_path, files))) == 7 + 2


def test_a_photo_that_cannot_be_read_is_for_the_audit(own, tmp_path):
    other = external(tmp_path)
    write_files(tmp_path / "external/train", {"2/a.png": b""})
    (tmp_path / "external/train/10/x.png").unlink()
    (tmp_path / "own/train/2/a.png").unlink()
    assert len(merge(own, other)) == 7 + 4


def test_two_external_sets(own, tmp_path):
    first = external(tmp_path)
    files = {"0/a.png": photo_file(60), "10/x.png": EXTERNAL["2/a.png"]}
    second = external(tmp_path / "b", files)
    merged = merge(merge(own, first), second, "more")
    assert merged.ids[11:] == ("more/0/a.png",), "the other is a copy of an external one"
    assert merged.origins == ("",) * 7 + ("external",) * 4 + ("more",)
    again = merge(own, merge(own, first).take([0, 7]), "more")
    assert (again.ids[7:], again.origins[7:]) == (("more/external/10/x.png",), ("more",))


# Own groups, external groups, and those of the whole.
GROUPS = {
    "neither": (None, None, None),
    "the own one": (tuple("ababccc"), None, (*"ababccc", "external/10/x.png", "external/2/a.png")),
    "the other": (None, ("g", "g"), (*sorted(TRAIN), "g", "g")),
    "both": (tuple("ababccc"), ("a", "g"), tuple("ababcccag")),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_groups(own, tmp_path, kind):
    first, second, expected = GROUPS[kind]
    files = {name: EXTERNAL[name] for name in ("10/x.png", "2/a.png")}
    own = dataclasses.replace(own, groups=first)
    other = dataclasses.replace(external(tmp_path, files), groups=second)
    assert merge(own, other).groups == expected


def test_a_class_that_is_not_the_own_ones(own, tmp_path):
    files = {**EXTERNAL, "100/b.png": photo_file(61)}
    other = external(tmp_path, files)
    message = (
        r"^the photos of 'external' have the class '100', which the own photos do not; rename "
        r"it or leave it out; did you mean '10'\? Known: 0, 2, 10$"
    )
    with pytest.raises(UsageError, match=message):
        merge(own, other)
    assert len(merge(own, other.without(["100/b.png"]))) == 7 + 4


def test_fewer_classes_in_another_order(own):
    other = Catalog(("p", "q", "r"), ("p", "q", "r"), ("10", "none", "0"), (2, 0, 2))
    assert list(labels(merge(own, other)).values())[7:] == ["0", "10", "0"]


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_names_refused(own, tmp_path, name):
    with pytest.raises(
        UsageError, match=r"^merge: name must be a text without a slash; received '"
    ):
        merge(own, external(tmp_path), name)


def test_a_name_that_makes_an_id_twice(tmp_path):
    own = Catalog(("more/a", "b"), ("a.png", "b.png"), ("x", "y"), (0, 1))
    other = Catalog(("a",), ("c.png",), ("x",), (0,))
    message = "^merge: there already is a photo 'more/a'; choose another name than 'more'$"
    with pytest.raises(UsageError, match=message):
        merge(own, other, "more")
    assert merge(own, other, "others").ids == ("more/a", "b", "others/a")


@pytest.mark.parametrize("bare", [0, 1])
def test_labels_are_needed(own, tmp_path, bare):
    pair = [own, external(tmp_path)]
    pair[bare] = dataclasses.replace(pair[bare], labels=None)
    with pytest.raises(
        UsageError, match=r"^merge needs labels, and one of these catalogs has none$"
    ):
        merge(*pair)
