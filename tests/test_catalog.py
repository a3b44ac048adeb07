"""Folders, CSVs and zips to a Catalog; bad input; groups, exclusions, digest."""

from __future__ import annotations

import dataclasses
import logging
import os

import pytest
from photos import (
    CLASSES,
    LAYOUTS,
    TABLE,
    TRAIN,
    WITH_TABLE,
    WITHOUT_TABLE,
    flat,
    photo_file,
    under,
    write_files,
    write_layout,
    write_zip,
)

from carlib.archives import read_bytes
from carlib.catalog import Catalog, find_test, read_catalog, read_exclusions, read_test
from carlib.errors import DataError, UsageError

IDS = {True: tuple(sorted(flat(TRAIN))), False: tuple(sorted(TRAIN))}  # by: is there a CSV?


def contents(catalog: Catalog) -> dict[str, bytes]:
    return {name: read_bytes(path) for name, path in zip(catalog.ids, catalog.paths, strict=True)}


def labels(catalog: Catalog) -> dict[str, str]:
    assert catalog.labels is not None
    return {
        name: catalog.classes[label]
        for name, label in zip(catalog.ids, catalog.labels, strict=True)
    }


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path, layout):
    catalog = read_catalog(write_layout(tmp_path, layout))
    table = layout in WITH_TABLE
    assert catalog.ids == IDS[table]
    assert catalog.classes == ("0", "2", "10"), "as numbers, not as texts"
    assert catalog.counts() == {name: len(CLASSES[name]) for name in catalog.classes}
    for name, content in TRAIN.items():
        key = name.split("/")[1] if table else name
        assert contents(catalog)[key] == content
        assert labels(catalog)[key] == name.split("/")[0]
    assert (catalog.groups, catalog.origins) == (None, None)


def test_a_text_path_and_a_relative_one(tmp_path, monkeypatch):
    write_layout(tmp_path, "folders")
    monkeypatch.chdir(tmp_path)
    assert read_catalog(".").ids == read_catalog(str(tmp_path)).ids == IDS[False]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("10", "9", "0"), ("0", "9", "10")),
        (("010", "9"), ("9", "010")),
        (("1", "01"), ("01", "1")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("b", "B", "a", "ä 🚗"), ("B", "a", "b", "ä 🚗")),
        (("-1", "1"), ("-1", "1")),
        (("²", "10"), ("10", "²")),
    ],
)
def test_the_order_of_classes(tmp_path, names, expected):
    write_files(tmp_path / "train", {f"{name}/a.png": photo_file(0) for name in names})
    assert read_catalog(tmp_path).classes == expected


def test_ids_without_suffix(tmp_path):
    write_layout(tmp_path, "folders + csv")
    (tmp_path / "train.csv").write_text(TABLE.replace(".png", ""))
    catalog = read_catalog(tmp_path)
    assert catalog.ids == tuple(name.removesuffix(".png") for name in IDS[True])
    assert sorted(contents(catalog).values()) == sorted(TRAIN.values())


def test_ids_that_are_paths(tmp_path):
    write_layout(tmp_path, "folders + csv")
    lines = [f"{name},{name.split('/')[0]}" for name in TRAIN]
    (tmp_path / "train.csv").write_text("\n".join(["Id,Category", *lines]))
    catalog = read_catalog(tmp_path)
    assert contents(catalog) == TRAIN
    assert catalog.digest() == read_catalog(write_layout(tmp_path / "b", "folders")).digest()


def test_the_same_file_name_in_two_classes(tmp_path):
    files = {"0/a.png": photo_file(1), "1/a.png": photo_file(2), "1/b.png": photo_file(3)}
    write_files(tmp_path / "train", files)
    catalog = read_catalog(tmp_path)
    assert contents(catalog) == files
    assert labels(catalog) == {"0/a.png": "0", "1/a.png": "1", "1/b.png": "1"}
    # A CSV's label says which of the two is meant.
    (tmp_path / "train.csv").write_text("Id,Category\na.png,0\nb.png,1\n")
    catalog = read_catalog(tmp_path)
    assert contents(catalog) == {"a.png": files["0/a.png"], "b.png": files["1/b.png"]}


def test_photos_deeper_than_their_class(tmp_path):
    files = {"0/old/a.png": photo_file(1), "0/new/a.png": photo_file(2), "1/b.png": photo_file(3)}
    catalog = read_catalog(write_files(tmp_path, under("train", files)))
    assert contents(catalog) == files
    assert catalog.counts() == {"0": 2, "1": 1}


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPG", "jpeg", "Jpeg", "png", "bmp", "webp", "gif", "tif", "tiff"]
)
def test_suffixes(tmp_path, suffix):
    names = [f"{label}/a.b.{suffix}" for label in "01"]
    write_files(tmp_path / "train", dict.fromkeys(names, photo_file(0)))
    write_files(tmp_path / "train", {"0/notes.txt": b"x", "readme.md": b"x", "1/a": b"x"})
    assert read_catalog(tmp_path).ids == tuple(names)


@pytest.mark.parametrize("layout", ["folders", "zip with top", "zip without top"])
def test_junk_is_no_photo(tmp_path, layout):
    junk = {"__MACOSX/0/a.png": b"j", "0/._a.png": b"j", "0/.DS_Store": b"j", ".x/a.png": b"j"}
    catalog = read_catalog(write_layout(tmp_path, layout, {**TRAIN, **junk}))
    assert catalog.ids == IDS[False]


def test_a_folder_goes_before_a_zip_of_its_name(tmp_path):
    write_layout(tmp_path, "folders")
    write_zip(tmp_path / "train.zip", {"x/a.png": b"x", "y/b.png": b"y"})
    assert read_catalog(tmp_path).classes == ("0", "2", "10")


def test_test_photos_are_no_training_photos(tmp_path):
    write_layout(tmp_path, "beside + csv")
    for place in ("test", "test_upload"):
        write_files(tmp_path / place, TRAIN)  # equal names: each would be ambiguous
    assert read_catalog(tmp_path).ids == IDS[True]


# ---------------------------------------------------------------- the CSV

TABLES = {
    "byte order mark": "\ufeff" + TABLE,
    "Windows line ends": TABLE.replace("\n", "\r\n"),
    "blank lines": TABLE.replace("\n", "\n\n") + "\n,\n,,\n",
    "no last line end": TABLE.rstrip("\n"),
    "quotes": '"Id","Category"\n'
    + "".join(
        f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in TABLE.split("\n")[1:-1]
    ),
    "more columns": "".join(f'{line},"x, y",3\n' for line in TABLE.split("\n")[:-1]),
    "spaces": TABLE.replace(",", " , "),
    "other header": TABLE.replace("Id,Category", "photo,model"),
    "another order": "Id,Category\n" + "\n".join(sorted(TABLE.split("\n")[1:-1])),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path, kind):
    write_layout(tmp_path, "folders + csv")
    (tmp_path / "train.csv").write_bytes(TABLES[kind].encode())
    catalog = read_catalog(tmp_path)
    assert catalog.ids == IDS[True]
    assert catalog.digest() == read_catalog(write_layout(tmp_path / "b", "folders + csv")).digest()


def test_names_with_commas_quotes_and_unicode(tmp_path):
    names = ["a, b.png", 'say "hi".png', "ü 🚗.png", "# d.png"]
    write_files(tmp_path / "train", {name: photo_file(n) for n, name in enumerate(names)})
    lines = [f'"{name.replace(chr(34), chr(34) * 2)}","model, {n}"' for n, name in enumerate(names)]
    write_files(tmp_path, {"train.csv": "Id,Category\n" + "\n".join(lines)})
    catalog = read_catalog(tmp_path)
    assert contents(catalog) == {name: photo_file(n) for n, name in enumerate(names)}
    assert labels(catalog) == {name: f"model, {n}" for n, name in enumerate(names)}


def test_photos_that_the_table_does_not_know_are_told_of(tmp_path, caplog):
    write_layout(tmp_path, "folders + csv")
    write_files(tmp_path / "train", {"0/x.png": photo_file(9), "2/y.png": photo_file(9)})
    with caplog.at_level(logging.WARNING, "carlib"):
        assert read_catalog(tmp_path).ids == IDS[True]
    assert [record.getMessage() for record in caplog.records] == [
        "2 photos under train are not in train.csv: not used"
    ]


def test_nothing_to_tell(tmp_path, caplog):
    read_catalog(write_layout(tmp_path, "folders + csv"))
    assert caplog.records == []


def test_folders_that_are_no_classes_have_no_say(tmp_path):
    files = {"batch1/a.png": photo_file(1), "batch2/b.png": photo_file(2)}
    write_files(tmp_path / "train", files)
    write_files(tmp_path, {"train.csv": "Id,Category\na.png,cat\nb.png,dog\n"})
    assert labels(read_catalog(tmp_path)) == {"a.png": "cat", "b.png": "dog"}


def table(*lines: str) -> str:
    return "\n".join(("Id,Category", *lines))


BAD_TABLES = {
    "row without a photo": (
        TABLE + "gone.png,2\n",
        r"^train\.csv row 9: there is no photo 'gone\.png' under .*; add the photo or remove",
    ),
    "twice": (TABLE + "a.png,2\n", r"^train\.csv row 9: 'a\.png' stands there twice; remove one$"),
    "one photo, two ids": (
        TABLE + "a,2\n",
        r"^train\.csv row 9: 'a' is the same photo as 'a\.png'; remove one$",
    ),
    "another class than the folder": (
        TABLE.replace("a.png,2", "a.png,10"),
        r"^photo 'a\.png' has the class '10' in train\.csv but lies in the folder '2'; correct one",
    ),
    "one column": (
        "Id\na.png\n",
        r"row 1: needs an id and a class, .*; received 'Id'$",
    ),
    "semicolons": (
        TABLE.replace(",", ";"),
        r"row 1: needs an id and a class, .*; received 'Id;Category'$",
    ),
    "no class": (
        TABLE + "a.png,\n",
        r"row 9: needs an id and a class, .*; received 'a\.png,'$",
    ),
    "no id": (
        TABLE + " ,2\n",
        r"row 9: needs an id and a class, .*; received ' ,2'$",
    ),
    "empty": ("", r"train\.csv must begin with a header row such as Id,Category and hold a row a"),
    "header only": (
        "Id,Category\n",
        r"train\.csv must begin with a header row such as Id,Category",
    ),
    "no header": (
        TABLE.partition("\n")[2],
        r"^train\.csv begins with the photo 'c\.png'; add a header row such as Id,Category$",
    ),
    "no header, no suffix": (
        TABLE.partition("\n")[2].replace(".png", ""),
        r"^train\.csv begins with the photo '\w'; add a header row such as Id,Category$",
    ),
    "no header, no suffix, byte order mark": (
        "\ufeff" + TABLE.partition("\n")[2].replace(".png", ""),
        r"^train\.csv begins with the photo '\w'; add a header row such as Id,Category$",
    ),
    "no header, no such photo": ("gone.jpg,0\n" + TABLE, r"begins with the photo 'gone\.jpg'; add"),
    "one class only": (
        table("a.png,2", "b.png,2"),
        "has 1 class of training photos; a classifier ",
    ),
    "UTF-16": (TABLE.encode("utf-16"), r"^cannot read .*train\.csv: .*utf-8"),
    "a field without end": (
        'Id,Category\n"' + "x" * 200_000,
        r"^cannot read .*train\.csv: field larger",
    ),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_bad_tables(tmp_path, kind):
    content, message = BAD_TABLES[kind]
    write_files(write_layout(tmp_path, "folders + csv"), {"train.csv": content})
    with pytest.raises(DataError, match=message) as caught:
        read_catalog(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_ambiguous_row(tmp_path):
    files = {"x/a.png": photo_file(1), "y/a.png": photo_file(2), "y/b.png": photo_file(3)}
    write_files(tmp_path / "train", files)
    write_files(tmp_path, {"train.csv": table("a.png,cat", "b.png,dog")})
    message = r"row 2: 'a\.png' may be x/a\.png or y/a\.png; write the path below train/ as the id"
    with pytest.raises(DataError, match=message):
        read_catalog(tmp_path)
    write_files(tmp_path, {"train.csv": table("y/a.png,cat", "b.png,dog")})
    assert contents(read_catalog(tmp_path))["y/a.png"] == files["y/a.png"]


# ---------------------------------------------------------------- groups

GROUPS = "Id,Group\na.png,burst 1\nd.png,burst 2\nc.png,burst 1\nf.png,burst 2\n"
GROUPED = {"a.png": "burst 1", "c.png": "burst 1", "d.png": "burst 2", "f.png": "burst 2"}
GROUP_TABLES = {
    "plain": GROUPS,
    "byte order mark": "\ufeff" + GROUPS,
    "Windows line ends": GROUPS.replace("\n", "\r\n"),
    "blank lines and spaces": GROUPS.replace("\n", "\n\n,\n").replace(",burst", " , burst"),
    "more columns": GROUPS.replace("\n", ",x,y\n"),
    "a group of one": GROUPS + "b.png,b.png\n",
}


@pytest.mark.parametrize("kind", GROUP_TABLES)
def test_groups(tmp_path, kind):
    data = write_layout(tmp_path / "data", "folders + csv")
    write_files(tmp_path, {"groups.csv": GROUP_TABLES[kind]})
    for path in (tmp_path / "groups.csv", str(tmp_path / "groups.csv")):
        catalog = read_catalog(data, path)
        assert dict(zip(catalog.ids, catalog.groups, strict=True)) == {
            name: GROUPED.get(name, name) for name in IDS[True]
        }
    assert dataclasses.replace(catalog, groups=None) == read_catalog(data)


def test_groups_by_the_ids_of_folders(tmp_path):
    data = write_layout(tmp_path / "data", "zip with top")
    write_files(tmp_path, {"g.csv": "photo,car\n2/a.png,7\n10/d.png,7\n"})
    catalog = read_catalog(data, groups=tmp_path / "g.csv")
    assert catalog.groups == tuple("7" if n in ("2/a.png", "10/d.png") else n for n in catalog.ids)


BAD_GROUPS = {
    "no such photo": (
        GROUPS + "e.pgn,burst 1\n",
        r"^g\.csv row 6: there is no training photo 'e\.pgn'; did you mean '\w\.png'\?; correct ",
    ),
    "nothing near": (
        GROUPS + "strange,burst 1\n",
        r"^g\.csv row 6: there is no training photo 'strange'; correct the id or remove the row$",
    ),
    "twice": (GROUPS + "a.png,burst 2\n", r"^g\.csv row 6: 'a\.png' stands there twice; remove"),
    "a photo's name without its row": (
        GROUPS + "g.png,b.png\n",
        r"^g\.csv has a group 'b\.png' and no row for the photo of that name; add its row, or ",
    ),
    "no header": (
        GROUPS.partition("\n")[2],
        r"^g\.csv begins with the photo 'a\.png'; add a header row such as Id,Group$",
    ),
    "no group": (
        GROUPS + "b.png,\n",
        r"^g\.csv row 6: needs an id and a group, separated by a comma; received 'b\.png,'$",
    ),
    "empty": ("", r"g\.csv must begin with a header row such as Id,Group and hold a row a photo$"),
    "header only": ("Id,Group\n", r"g\.csv must begin with a header row such as Id,Group"),
    "UTF-16": (GROUPS.encode("utf-16"), r"^cannot read .*g\.csv: .*; save it as UTF-8$"),
}


@pytest.mark.parametrize("kind", BAD_GROUPS)
def test_bad_groups(tmp_path, kind):
    content, message = BAD_GROUPS[kind]
    data = write_layout(tmp_path / "data", "folders + csv")
    write_files(tmp_path, {"g.csv": content})
    with pytest.raises(DataError, match=message) as caught:
        read_catalog(data, tmp_path / "g.csv")
    assert "\n" not in str(caught.value)


def test_no_file_of_groups(tmp_path):
    data = write_layout(tmp_path, "folders")
    with pytest.raises(DataError, match=r"^cannot read .*gone\.csv: "):
        read_catalog(data, tmp_path / "gone.csv")


# ---------------------------------------------------------------- bad folders and zips


def test_no_such_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("gone", "file"):
        for read in (read_catalog, read_test):
            with pytest.raises(
                DataError, match=f"^no such folder: .*{name}; give the folder that "
            ):
                read(tmp_path / name)


BAD_FOLDERS = {
    "nothing": ({}, "has no training photos; expected train/<class>/"),
    "photos without a layout": (under("photos", TRAIN), "has no training photos; expected train/"),
    "empty class": (
        {**under("train", TRAIN), "train/7/notes.txt": b"x"},
        r"^class folder '7' under train has no photos; add some \(\.jpg, .*\) or remove",
    ),
    "one class only": (
        {"train/a/x.png": b"x"},
        "has 1 class of training photos; a classifier needs two",
    ),
    "no photos": ({"train/readme.txt": b"x"}, "has 0 class of training photos"),
    "a photo in no class folder": (
        {**under("train", TRAIN), "train/loose.png": b"x"},
        r"train/loose\.png lies in no class folder; expected train/<class>/",
    ),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_bad_folders(tmp_path, kind):
    files, message = BAD_FOLDERS[kind]
    with pytest.raises(DataError, match=message):
        read_catalog(write_files(tmp_path, files))


def test_a_class_folder_without_anything(tmp_path):
    write_layout(tmp_path, "folders")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / ".hidden").mkdir()
    with pytest.raises(DataError, match=r"^class folder 'empty' under train has no photos"):
        read_catalog(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="file names are texts there")
def test_a_file_name_that_is_no_text(tmp_path):
    write_layout(tmp_path, "folders")
    path = os.path.join(os.fsencode(tmp_path), b"train", b"0", b"caf\xe9.png")
    with open(path, "wb") as file:
        file.write(photo_file(1))
    with pytest.raises(DataError, match=r"^the file name '0/caf\\udce9\.png' is not UTF-8; rename"):
        read_catalog(tmp_path)


@pytest.mark.parametrize(
    "name", ["../x.png", "/x.png", "0\\..\\..\\x.png", "C:\\x.png", "0/../../x.png"]
)
@pytest.mark.parametrize("place", ["train", "test_upload", "test"])
def test_a_zip_that_points_outside(tmp_path, name, place):
    write_zip(tmp_path / f"{place}.zip", {**TRAIN, name: b"x"})
    with pytest.raises(DataError, match=r"holds the member .* points outside the archive; refused"):
        (read_catalog if place == "train" else read_test)(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{place}.zip"]


@pytest.mark.parametrize("length", [0, 10, 0.5, -1])
def test_a_truncated_zip(tmp_path, length):
    archive = write_zip(tmp_path / "train.zip", TRAIN)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(length * len(content)) if length == 0.5 else length])
    with pytest.raises(
        DataError, match=r"cannot read the archive .*train\.zip: .*; fetch it again$"
    ):
        read_catalog(tmp_path)


def test_a_zip_with_a_photo_in_no_class_folder(tmp_path):
    write_zip(tmp_path / "train.zip", {**TRAIN, "loose.png": b"x"})
    with pytest.raises(DataError, match=r"train\.zip!/loose\.png lies in no class folder"):
        read_catalog(tmp_path)


# ---------------------------------------------------------------- test photos

TEST = {f"{name}.png": photo_file(number) for number, name in enumerate(["10", "9", "ü 🚗", "a"])}


@pytest.mark.parametrize("place", ["test_upload", "test"])
@pytest.mark.parametrize(
    "top", [None, "", "test", "test_upload"], ids=["folder", "flat", "top", "upload"]
)
def test_test_photos(tmp_path, place, top):
    if top is None:
        write_files(tmp_path / place, TEST)
    else:
        write_zip(tmp_path / f"{place}.zip", under(top, TEST) if top else TEST)
    catalog = read_test(tmp_path)
    assert catalog.ids == tuple(sorted(TEST))
    assert contents(catalog) == TEST
    assert (catalog.classes, catalog.labels, catalog.groups) == ((), None, None)


def test_test_upload_goes_before_test(tmp_path):
    write_files(tmp_path / "test", {"a.png": b"test"})
    write_zip(tmp_path / "test_upload.zip", {"b.png": b"upload"})
    assert read_test(tmp_path).ids == ("b.png",)


@pytest.mark.parametrize("zipped", [False, True])
def test_test_photos_in_folders(tmp_path, zipped):
    files = {"x/a.png": photo_file(1), "y/b.png": photo_file(2), "c.png": photo_file(3)}
    twins = {**files, "y/a.png": photo_file(4)}
    for folder, photos, ids in (("one", files, flat(files)), ("two", twins, twins)):
        if zipped:
            write_zip(tmp_path / folder / "test.zip", photos)
        else:
            write_files(tmp_path / folder / "test", photos)
        catalog = read_test(tmp_path / folder)
        assert catalog.ids == tuple(sorted(ids))
        assert contents(catalog) == ids


@pytest.mark.parametrize("files", [{}, {"test/readme.txt": b"x"}, {"test2/a.png": b"x"}])
def test_no_test_photos(tmp_path, files):
    with pytest.raises(
        DataError, match=r"has no test photos; expected test_upload/ or test/, or a zip"
    ):
        read_test(write_files(tmp_path, files))
    assert find_test(tmp_path) is None


def test_test_photos_are_found_where_there_are_any(tmp_path):
    write_zip(tmp_path / "test.zip", TEST)
    assert find_test(tmp_path) == read_test(tmp_path)
    (tmp_path / "test.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"^cannot read the archive .*test\.zip"):
        find_test(tmp_path)


# ---------------------------------------------------------------- digest


@pytest.mark.parametrize("layouts", [WITHOUT_TABLE, WITH_TABLE])
def test_the_digest_is_the_same_wherever_the_photos_lie(tmp_path, layouts):
    digests = {
        read_catalog(write_layout(tmp_path / mount / layout, layout)).digest()
        for layout in layouts
        for mount in ("a", "deeper/b")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_the_digest_is_the_same_in_another_order():
    catalog = Catalog(("a", "b", "c"), (__file__, __file__, __file__), ("x", "y"), (1, 0, 1))
    assert catalog.take([2, 0, 1]).digest() == catalog.digest()


CHANGES = {
    "a byte": lambda files: {**files, "2/a.png": files["2/a.png"][:-1] + b"!"},
    "a byte more": lambda files: {**files, "2/a.png": files["2/a.png"] + b"\0"},
    "a label": lambda files: {
        "10/a.png" if name == "2/a.png" else name: content for name, content in files.items()
    },
    "a name": lambda files: {
        "2/A.png" if name == "2/a.png" else name: content for name, content in files.items()
    },
    "a photo less": lambda files: {n: content for n, content in files.items() if n != "2/a.png"},
    "a photo more": lambda files: {**files, "2/z.png": photo_file(30)},
    "two photos changed places": lambda files: {
        **files,
        "2/a.png": files["2/b.png"],
        "2/b.png": files["2/a.png"],
    },
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layout", ["folders", "zip with top"])
def test_the_digest_knows_every_change(tmp_path, change, layout):
    before = read_catalog(write_layout(tmp_path / "before", layout))
    after = read_catalog(write_layout(tmp_path / "after", layout, CHANGES[change](TRAIN)))
    assert after.digest() != before.digest()


def test_the_digest_knows_labels_and_their_names():
    one = Catalog(("a", "b"), (__file__, __file__), ("x", "y"), (0, 1))
    others = [
        dataclasses.replace(one, labels=(1, 0)),
        dataclasses.replace(one, labels=None),
        dataclasses.replace(one, classes=("x", "z")),
        dataclasses.replace(one, classes=("x", "y", "z")),
    ]
    assert len({each.digest() for each in [one, *others]}) == 5


def two_files(folder) -> Catalog:
    write_files(folder, {"a": b"first", "b": b"second one"})
    paths = tuple(str(folder / name) for name in "ab")
    return Catalog(("x/a.png", "ü b.png"), paths, ("cat", "dog"), (1, 0))


def test_a_digest_is_for_ever(tmp_path):
    """Checkpoints hold it: with another one, no run goes on."""
    catalog = two_files(tmp_path)
    assert catalog.digest() == "a53c8671983f053ffad311902b541b14a210aac44933811f412d3d46ecee474a"
    bare = dataclasses.replace(catalog, classes=(), labels=None)
    assert bare.digest() == "80af06d539b8b7fc67ceb3efda8f424fd396206e1c4b26f932f5e05782a0adb6"
    own = dataclasses.replace(catalog, origins=("", ""))
    assert own.digest() == catalog.digest(), "all its own, said or not"


def test_the_digest_knows_groups_and_origins(tmp_path):
    catalog = two_files(tmp_path)
    others = [
        catalog,
        *(
            dataclasses.replace(catalog, groups=groups)
            for groups in (("g", "h"), ("h", "g"), ("g", "g"), ("", ""), ("", "more"))
        ),
        *(
            dataclasses.replace(catalog, origins=origins)
            for origins in (("", "more"), ("more", ""), ("", "others"), ("more", "more"))
        ),
        dataclasses.replace(catalog, groups=("", "more"), origins=("g", "h")),
        dataclasses.replace(catalog, groups=("g", "h"), origins=("", "more")),
    ]
    assert len({each.digest() for each in others}) == len(others) == 12
    for each in others:
        assert each.take([1, 0]).digest() == each.digest()


def test_the_digest_of_a_photo_that_is_gone(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*gone\.png: No such file"):
        Catalog(("a",), (str(tmp_path / "gone.png"),)).digest()


# ---------------------------------------------------------------- Catalog

SMALL = Catalog(
    ("a", "b", "c"), ("pa", "pb", "pc"), ("x", "y"), (1, 0, 1), ("g", "h", "g"), ("", "m", "n")
)


def test_take():
    taken = SMALL.take([2, 0])
    assert taken == Catalog(("c", "a"), ("pc", "pa"), ("x", "y"), (1, 1), ("g", "g"), ("n", ""))
    assert len(taken) == 2
    assert taken.counts() == {"x": 0, "y": 2}
    assert SMALL.take([]).ids == ()
    bare = Catalog(SMALL.ids, SMALL.paths).take([1])
    assert bare == Catalog(("b",), ("pb",))
    assert (bare.labels, bare.groups, bare.origins) == (None, None, None)


def test_without():
    assert SMALL.without(["b", "b"]) == SMALL.take([0, 2])
    assert SMALL.without([]) == SMALL
    assert len(SMALL.without("abc")) == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["d"], "^cannot exclude 'd': no such photo$"),
        (
            ["a", "photo1.png"],
            r"^cannot exclude 'photo1\.png': no such photo; did you mean 'photo10\.png'\?$",
        ),
    ],
)
def test_without_refuses(ids, message):
    catalog = Catalog(("a", "photo10.png"), ("x", "y"))
    with pytest.raises(UsageError, match=message):
        catalog.without(ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": ("pa",)}, "^Catalog: 1 paths for 3 ids$"),
        ({"labels": (0, 1)}, "^Catalog: 2 labels for 3 ids$"),
        ({"groups": ()}, "^Catalog: 0 groups for 3 ids$"),
        ({"origins": ("",)}, "^Catalog: 1 origins for 3 ids$"),
        ({"ids": ("a", "b", "a")}, "^Catalog: ids must differ; 'a' occurs twice$"),
        ({"labels": (0, 1, 2)}, "^Catalog: labels must be numbers below 2$"),
        ({"labels": (0, 1, -1)}, "^Catalog: labels must be numbers below 2$"),
        ({"classes": ()}, "^Catalog: labels must be numbers below 0$"),
    ],
)
def test_a_catalog_refuses(options, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(SMALL, **options)


# ---------------------------------------------------------------- exclusions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png\nb.png\n", ("a.png", "b.png")),
        ("\ufeffa.png\r\n\r\n  b.png  \n# why\n#c.png\n", ("a.png", "b.png")),
        ("Id,Category\na.png,3\n", ("a.png",)),
        ("id,path,reason\na.png,/x/a.png,is empty\n", ("a.png",)),  # a run's left-out.csv
        ('"a, b.png"\n"say ""hi"".png",x\n', ("a, b.png", 'say "hi".png')),
        ("0/ü 🚗.png", ("0/ü 🚗.png",)),
        ("", ()),
        ("\n,\n", ()),
    ],
)
def test_exclusions(tmp_path, text, expected):
    (tmp_path / "x.txt").write_bytes(text.encode())
    assert read_exclusions(tmp_path / "x.txt") == expected


@pytest.mark.parametrize("content", [None, b"\xff\xfea", b"x" * 200_000])
def test_bad_exclusions(tmp_path, content):
    if content:
        (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"^cannot read the list of exclusions .*x\.txt: "):
        read_exclusions(tmp_path / "x.txt")


def test_a_set_to_be_merged_may_have_one_class(tmp_path):
    files = {name: content for name, content in TRAIN.items() if name.startswith("10/")}
    data = write_files(tmp_path / "data", under("train", files))
    assert read_catalog(data, least=1).counts() == {"10": 2}
    with pytest.raises(DataError, match=r"has 1 class of training photos; a classifier needs two"):
        read_catalog(data)
