"""The metadata files: held to their table, and every rule of Kaggle's checked before a push."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

from carlib.errors import UsageError
from carlib.kaggle import rules
from carlib.kaggle.metadata import (
    ACCELERATORS,
    ALIASES,
    COMMITTED,
    DATASET,
    DATASET_FILE,
    KERNEL,
    KERNEL_FILE,
    Dataset,
    Kernel,
    accelerator_named,
    check_dataset,
    check_kernel,
    read_dataset,
    read_kernel,
    slug_of,
)

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
FILES = {"kaggle": KERNEL_FILE, "kaggle/dataset": DATASET_FILE}


def notebook(*cells, name="python3"):
    metadata = {"kernelspec": {"name": name, "display_name": "Python 3"}} if name else {}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def code(source="1", *outputs):
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}}


def put(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
def kernel(tmp_path):
    """A folder with a kernel that breaks no rule."""
    put(tmp_path / "train.ipynb", notebook(code()))
    Kernel("alice/carlib-train", "carlib train", "train.ipynb").write(tmp_path)
    return tmp_path


@pytest.fixture
def dataset(tmp_path):
    """A folder with a dataset that breaks no rule."""
    Dataset("alice/carlib-package", "carlib package").write(tmp_path)
    return tmp_path


def change(path, **changes):
    """Write a metadata file anew; None takes a key away."""
    said = json.loads(path.read_text(encoding="utf-8")) | changes
    put(path, {key: value for key, value in said.items() if value is not None})


def refusal(check, folder):
    with pytest.raises(UsageError) as caught:
        check(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("where", COMMITTED)
def test_the_committed_files_are_the_tables(where, tmp_path):
    made = COMMITTED[where].write(tmp_path)
    assert made.name == FILES[where]
    assert made.read_bytes() == (ROOT / where / FILES[where]).read_bytes()


def test_of_the_committed_files_only_the_owner_is_to_be_filled_in(tmp_path):
    got = "got the placeholder"
    assert refusal(check_kernel, ROOT / "kaggle").split(": ", 1)[1].split("; ") == [
        *("put your Kaggle name into id", f"{got} 'your-kaggle-name/carlib-train'"),
        *("put your Kaggle name into dataset_sources", f"{got} {DATASET.id!r}"),
    ]
    assert refusal(check_dataset, ROOT / "kaggle/dataset").split(": ", 1)[1].split("; ") == [
        *("put your Kaggle name into id", f"{got} {DATASET.id!r}"),
    ]
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "kaggle").mkdir()
    KERNEL.owned_by("alice").write(tmp_path / "kaggle")
    DATASET.owned_by("alice").write(tmp_path / "kaggle")
    check_kernel(tmp_path / "kaggle")
    check_dataset(tmp_path / "kaggle")
    mine = read_dataset(tmp_path / "kaggle")["id"]
    assert read_kernel(tmp_path / "kaggle")["dataset_sources"] == [mine] == ["alice/carlib-package"]


def test_another_owners_things_stay_his():
    kernel = dataclasses.replace(KERNEL, datasets=("bob/photos",), kernels=("bob/carlib-run",))
    mine = kernel.owned_by("alice")
    assert (mine.id, mine.datasets, mine.kernels) == (
        *("alice/carlib-train", ("bob/photos",), ("bob/carlib-run",)),
    )


def test_whole_metadata_passes(kernel, dataset):
    check_kernel(kernel)
    check_dataset(dataset)
    everything = Kernel(
        "alice/carlib-train",
        "carlib train",
        "train.ipynb",
        accelerator="tpu",
        internet=False,
        private=False,
        datasets=("alice/carlib-package", "a_b/photos"),
        competitions=("digit-recognizer",),
        kernels=("alice/carlib-train-b",),
        models=("google/efficientnet/keras/b0/2",),
        keywords=("gpu",),
        pinning="original",
    )
    everything.write(kernel)
    check_kernel(kernel)
    said = read_kernel(kernel)
    assert said == everything.as_metadata()
    assert list(said)[:4] == ["id", "title", "code_file", "language"]
    assert (said["enable_gpu"], said["enable_tpu"]) == (False, True)
    full = Dataset(
        *("alice/carlib-package", "carlib package", "carlib and the wheels it needs"),
        description="Grüße",
        keywords=("gpu",),
    )
    full.write(dataset)
    check_dataset(dataset)
    assert read_dataset(dataset) == full.as_metadata()
    assert (dataset / DATASET_FILE).read_bytes().isascii()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset_source": []}, "unknown key 'dataset_source'; did you mean 'dataset_sources'?"),
        ({"enable_gpu": "true"}, 'enable_gpu must be true or false, without quotes; got "true"'),
        ({"is_private": 1}, "is_private must be true or false, without quotes; got 1"),
        ({"title": 12345}, "title must be a text; got 12345"),
        ({"id_no": True}, "id_no must be a whole number; got true"),
        ({"keywords": "gpu"}, 'keywords must be a list of texts; got "gpu"'),
        ({"dataset_sources": [""]}, 'dataset_sources must be a list of texts; got [""]'),
        ({"kernel_sources": [3]}, "kernel_sources must be a list of texts; got [3]"),
        ({"id": None}, "id is missing"),
        ({"title": ""}, "title is missing"),
        ({"code_file": None}, "code_file is missing"),
        ({"language": None}, "language is missing"),
        ({"kernel_type": None}, "kernel_type is missing"),
        ({"language": "pyhton"}, "language 'pyhton' is not allowed; did you mean 'python'?"),
        ({"kernel_type": "book"}, "kernel_type 'book' is not allowed"),
        ({"docker_image_pinning_type": "newest"}, "'newest' is not allowed. Known: original, late"),
        ({"id": "carlib-train"}, "id must be owner/slug, without a version; got 'carlib-train'"),
        ({"id": "alice/carlib-train/2"}, "without a version; got 'alice/carlib-train/2'"),
        ({"id": "al ice/carlib-train"}, "the owner 'al ice' of id is no Kaggle name"),
        ({"id": "alice/carlib_train"}, "the slug 'carlib_train' of id may hold a-z, 0-9 and"),
        ({"id": "alice/car", "title": "car car"}, "slug of id must have 5 to 50 characters; got"),
        ({"title": "cars", "id": "alice/cars"}, "title must have 5 to 50 characters; got 4 in 'ca"),
        ({"title": 51 * "c"}, "title must have 5 to 50 characters; got 51"),
        ({"title": "carlib, trained"}, "Kaggle makes 'carlib-trained' of title 'carlib, trained'"),
        ({"id": "your-kaggle-name/carlib-train"}, "put your Kaggle name into id; got the placeh"),
        ({"kernel_sources": ["your-kaggle-name/carlib-run"]}, "your Kaggle name into kernel_sour"),
        (
            {"kernel_sources": ["bob/carlib-run/3"]},
            "'bob/carlib-run/3' is silently dropped: the la",
        ),
        ({"kernel_sources": ["bob/run"]}, "the slug of 'bob/run' must have 5 characters or more"),
        ({"kernel_sources": ["carlib-run"]}, "kernel_sources: 'carlib-run' must be owner/slug"),
        ({"dataset_sources": ["bob/photos/3"]}, "not known to be kept: the latest version may be "),
        ({"dataset_sources": ["bob/pho tos"]}, "dataset_sources: 'bob/pho tos' must be owner/slug"),
        ({"dataset_sources": ["a/b/c/d"]}, "dataset_sources: 'a/b/c/d' must be owner/slug"),
        ({"competition_sources": ["c/digits"]}, "'c/digits' must be a competition's slug"),
        ({"model_sources": ["google/bit/keras/m"]}, "must be owner/model/framework/variation/ver"),
        ({"model_sources": ["google/bit/keras/m/v1"]}, "'google/bit/keras/m/v1' must be owner/mo"),
        ({"model_sources": ["google//keras/m/1"]}, "'google//keras/m/1' must be owner/mo"),
        ({"enable_gpu": False}, "'NvidiaTeslaT4' needs enable_gpu true, and no other; got enable_"),
        ({"machine_shape": "TpuV5E8"}, "needs enable_tpu true, and no other; got enable_gpu true"),
        ({"enable_tpu": True}, "enable_gpu and enable_tpu are both true; one of them is allowed"),
        ({"code_file": "nothing.ipynb"}, "code_file 'nothing.ipynb' is not there"),
        ({"kernel_type": "script"}, "'train.ipynb' is a notebook; kernel_type says 'script'"),
    ],
)
def test_a_kernels_broken_rule(kernel, changes, match):
    change(kernel / KERNEL_FILE, **changes)
    said = refusal(check_kernel, kernel)
    assert match in said
    assert said.startswith(f"{kernel / KERNEL_FILE}: ")


def test_all_broken_rules_are_told_at_once(kernel):
    change(kernel / KERNEL_FILE, titel="x", is_private="yes", title="carlib", code_file="gone.py")
    said = refusal(check_kernel, kernel)
    for part in ("'titel'", "is_private must be", "makes 'carlib' of title", "'gone.py' is not"):
        assert part in said


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"subtitel": ""}, "unknown key 'subtitel'; did you mean 'subtitle'?"),
        ({"isPrivate": "true"}, 'isPrivate must be true or false, without quotes; got "true"'),
        ({"licenses": ["MIT"]}, 'licenses must be a list of objects; got ["MIT"]'),
        ({"id": None}, "id is missing"),
        ({"title": None}, "title is missing"),
        ({"licenses": []}, "licenses is missing"),
        ({"licenses": [{"name": "MIT"}, {"name": "other"}]}, "licenses must hold exactly one; got"),
        ({"licenses": [{"name": "Apache-2"}]}, "unknown license 'Apache-2'; did you mean 'apache"),
        ({"licenses": [{"title": "MIT"}]}, "unknown license None"),
        ({"id": "alice/cars1"}, "the slug of id must have 6 to 50 characters; got 'cars1'"),
        ({"id": "alice/" + 51 * "c"}, "the slug of id must have 6 to 50 characters"),
        ({"id": "your-kaggle-name/carlib-package"}, "put your Kaggle name into id"),
        ({"title": "cars1"}, "title must have 6 to 50 characters; got 5 in 'cars1'"),
        ({"subtitle": "too short"}, "subtitle must have 20 to 80 characters; got 9"),
        ({"subtitle": 81 * "c"}, "subtitle must have 20 to 80 characters; got 81"),
        ({"resources": [{"path": "gone.csv"}]}, "resources: 'gone.csv' is not in "),
        ({"resources": [{"name": "a"}]}, "resources: '' is not in "),
        (
            {"resources": 2 * [{"path": DATASET_FILE}]},
            f"resources: '{DATASET_FILE}' is named twice",
        ),
    ],
)
def test_a_datasets_broken_rule(dataset, changes, match):
    change(dataset / DATASET_FILE, **changes)
    said = refusal(check_dataset, dataset)
    assert match in said
    assert said.startswith(f"{dataset / DATASET_FILE}: ")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "must hold a JSON object; got list"),
        ("{'id': 1}", "cannot read .*Expecting property name"),
        (None, "cannot read .*: No such file or directory"),
    ],
)
@pytest.mark.parametrize(
    ("check", "name"), [(check_kernel, KERNEL_FILE), (check_dataset, DATASET_FILE)]
)
def test_no_metadata(tmp_path, check, name, content, match):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=match):
        check(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("print(1)", "cannot read .*train.ipynb: Expecting value"),
        (b'"\xff"', "cannot read .*train.ipynb: 'utf-8' codec"),
        ('{"metadata": {}}', "train.ipynb is no notebook: it has no list of cells"),
        ("[]", "train.ipynb is no notebook"),
        ('{"cells": [1]}', "train.ipynb is no notebook"),
        (json.dumps(notebook(name=None)), "has no metadata.kernelspec.name, and dies on Kaggle"),
        (json.dumps(notebook(name="")), "has no metadata.kernelspec.name"),
        ('{"cells": [], "metadata": null}', "has no metadata.kernelspec.name"),
    ],
)
def test_a_notebook_that_would_not_run(kernel, content, match):
    content = content.encode() if isinstance(content, str) else content
    (kernel / "train.ipynb").write_bytes(content)
    with pytest.raises(UsageError, match=match):
        check_kernel(kernel)


def test_the_source_is_measured_as_it_is_sent(kernel):
    """Outputs stay behind; a letter beyond ASCII travels as six bytes."""
    room = rules.MOST - len(json.dumps(notebook(code(""))))
    picture = {"output_type": "display_data", "data": {"image/png": rules.MOST * "A"}}
    put(kernel / "train.ipynb", notebook(code((room - 1) * ["b"], picture)))
    check_kernel(kernel)
    for source in (room * "b", (room // 6 + 1) * "ü"):
        put(kernel / "train.ipynb", notebook(code(source)))
        assert f"as it is sent; Kaggle takes less than {rules.MOST:,}" in refusal(
            check_kernel, kernel
        )


def test_a_script_is_measured_too(kernel):
    change(kernel / KERNEL_FILE, code_file="train.py", kernel_type="script")
    (kernel / "train.py").write_text((rules.MOST - 1) * "#")
    check_kernel(kernel)
    (kernel / "train.py").write_text(rules.MOST * "#")
    with pytest.raises(UsageError, match="1,000,000 bytes as it is sent; Kaggle takes less"):
        check_kernel(kernel)
    change(kernel / KERNEL_FILE, kernel_type="notebook")
    with pytest.raises(UsageError, match=r"'train\.py' is a script; kernel_type says 'notebook'"):
        check_kernel(kernel)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"machine_shape": "NvidiaTeslaP100"}, "NvidiaTeslaP100 is retired; Kaggle runs NvidiaTes"),
        ({"machine_shape": "NvidiaTelsaT4"}, "'NvidiaTelsaT4' is not known here, and what Kaggle"),
        ({"machine_shape": None}, "machine_shape is missing; Kaggle chooses the accelerator"),
    ],
)
def test_what_kaggle_would_run_instead_is_said(kernel, caplog, changes, match):
    change(kernel / KERNEL_FILE, **changes)
    with caplog.at_level(logging.WARNING, "carlib"):
        check_kernel(kernel)
    assert match in caplog.text


def test_of_a_sound_kernel_nothing_is_said(kernel, caplog):
    check_kernel(kernel)
    Kernel("alice/carlib-train", "carlib train", "train.ipynb", "none").write(kernel)
    check_kernel(kernel)
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "kind"), [*ALIASES.items(), *((name, name) for name in ACCELERATORS)]
)
def test_accelerators_have_their_names(name, kind):
    for spelled in (name, name.lower(), name.upper()):
        assert accelerator_named(spelled).name == kind
    made = Kernel("alice/carlib-train", "carlib train", "a.ipynb", accelerator=name)
    said = made.as_metadata()
    assert made.accelerator == said["machine_shape"] == kind
    assert [said["enable_gpu"], said["enable_tpu"]] == [
        ACCELERATORS[kind].kind == each for each in ("gpu", "tpu")
    ]


def test_an_unknown_accelerator():
    with pytest.raises(UsageError, match="unknown accelerator 'NvidiaTesla4'; did you mean 'Nvid"):
        accelerator_named("NvidiaTesla4")
    with pytest.raises(UsageError, match=r"unknown accelerator 'abacus'\. Known: none, CPU, GPU"):
        Kernel("alice/carlib-train", "carlib train", "a.ipynb", "abacus")


def test_the_clients_retired_accelerators_are_ours():
    """Read from its source: importing it asks for credentials."""
    spec = importlib.util.find_spec("kaggle")
    source = Path(spec.submodule_search_locations[0]) / "api/kaggle_api_extended.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_RETIRED_ACCELERATORS":
            retired = set(ast.literal_eval(node.value))
    ours = {name.lower() for name, each in ACCELERATORS.items() if each.replacement}
    assert ours == retired
    assert all(each.replacement in (*ACCELERATORS, "a CPU", "") for each in ACCELERATORS.values())
    assert {each.hours for each in ACCELERATORS.values() if each.kind == "tpu"} == {9}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Kernel("alice/x", "carlib train", "a.ipynb"), "kernel alice/x: the slug of id"),
        (lambda: dataclasses.replace(KERNEL, kernels=("a/carlib-b/2",)), "is silently dropped"),
        (lambda: dataclasses.replace(KERNEL, pinning="newest"), "pinning_type 'newest' is not"),
        (lambda: Dataset("alice/cars", "carlib package"), "dataset alice/cars: the slug of id"),
        (lambda: dataclasses.replace(DATASET, subtitle="short"), "subtitle must have 20 to 80"),
        (lambda: dataclasses.replace(DATASET, license="mine"), "unknown license 'mine'"),
    ],
)
def test_the_nouns_refuse_nonsense(make, match):
    with pytest.raises(UsageError, match=match):
        make()


@pytest.mark.parametrize(
    ("title", "slug"),
    [("carlib train", "carlib-train"), ("Größe & Form, 2", "grosse-form-2"), ("a_b  c", "a-b-c")],
)
def test_slugs_are_the_clients(title, slug):
    assert slug_of(title) == slug


def test_without_the_client_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "slugify", None)
    with pytest.raises(UsageError, match=r"not installed; run: pip install 'carlib\[kaggle\]'"):
        slug_of("carlib train")
