"""The notebooks are thin, stored without outputs, and run from top to bottom."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from photos import write_files

from carlib.handover import damaged, read_handover
from carlib.lineage import read_sessions

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TRAIN = next(path for path in NOTEBOOKS if path.name == "01-train.ipynb")
EXPLORE = next(path for path in NOTEBOOKS if path.name == "03-explore.ipynb")
# Nothing of a platform's that the tests themselves run on.
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("KAGGLE", "COLAB"))},
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain(source):
    """The Python in a cell: IPython's own lines are left out, with a pass in their place."""
    lines = source.splitlines()
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip()[:1] in "%!" else line
        for line in lines
        if line.strip()
    )


def with_parameters(path=TRAIN, **values):
    """A notebook, its parameters set as papermill and Kaggle's driver would."""
    notebook = nbformat.read(path, as_version=4)
    parameters = code_cells(notebook)[0]
    parameters.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return notebook


def shown(notebook):
    """All that stands below the cells."""
    return "".join(str(output) for cell in code_cells(notebook) for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_thin(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert 1 <= len(cells) <= 12
    assert cells[0].metadata.get("tags") == ["parameters"]
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in cells:
        assert not cell.outputs
        assert cell.execution_count is None
        longest = 8 if cell is cells[0] else 6
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= longest
        kinds = {type(node) for node in ast.walk(ast.parse(plain(cell.source)))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_parameters_are_said_and_used(path):
    """One a line, with a comment; a driver may replace any of them."""
    first, *cells = code_cells(nbformat.read(path, as_version=4))
    assert all("  # " in line for line in first.source.splitlines())
    named = {node.targets[0].id for node in ast.parse(first.source).body}
    used = {
        node.id
        for cell in cells
        for node in ast.walk(ast.parse(plain(cell.source)))
        if isinstance(node, ast.Name)
    }
    assert named == {name for name in used if name.isupper() and name != "HTML"}


def test_training_from_top_to_bottom_twice(photos, tmp_path):
    """The second time, in the same kernel, the run is there and done."""
    notebook = with_parameters(DATA=str(photos), RECIPE="tiny-check", PUSH="by hand")
    folder = {"metadata": {"path": tmp_path}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder)
    with client.setup_kernel(env=ENVIRONMENT):
        for _ in range(2):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
            rows = (tmp_path / "submission.csv").read_text().splitlines()
            assert rows[0] == "Id,Category"
            assert len(rows) == 1 + 12
            text = shown(notebook)
            assert "image/png" in text
            assert "TqdmWarning" not in text
            assert "done=True" in text
            assert '<iframe srcdoc="&lt;!doctype html' in text
            assert f"done: the model is {tmp_path}/run/best/model.keras" in text
    handover = read_handover(tmp_path / "handover.json")
    assert (handover.done, handover.why, handover.push) == (True, "done", "by hand")
    assert damaged(handover, tmp_path) == {}
    assert {"run/report.html", "run/best/model.keras", "submission.csv"} <= set(handover.files)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("handover.json", "run", "submission.csv")
    ]


def test_exploring_from_top_to_bottom(photos, tmp_path):
    """A photo that is left out, a GPU that is not here; nothing is written."""
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    broken = next((data / "train").rglob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:99])
    work = tmp_path / "work"
    work.mkdir()
    values = {"DATA": str(data), "RECIPE": "tiny-check", "GPU": "T4", "PROBE": False}
    values["SETTINGS"] = ["phases.all.augment=medium", "model.size=64"]
    folder = {"metadata": {"path": work}}
    notebook = with_parameters(EXPLORE, **values)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder)
    client.execute(env=ENVIRONMENT)
    text = shown(notebook)
    for words in (
        f"60 photos in {data}; left out: 1",
        f"Fault(id='{broken.name}'",
        "tiny-check, medium: ",
        "tiny-check on T4: 14.4 GB of memory usable",
        "neither linear nor quadratic, a staircase",
        "tiny-check on T4, a guess: 47 photos train, 12 validate",
    ):
        assert words in text, words
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 4
    assert not list(work.iterdir())


@pytest.mark.parametrize("path", [TRAIN, EXPLORE], ids=lambda path: path.name)
def test_photos_that_are_missing(path, tmp_path):
    folder = {"metadata": {"path": tmp_path}}
    notebook = with_parameters(path)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder)
    with pytest.raises(CellExecutionError) as caught:
        client.execute(env=ENVIRONMENT)
    assert caught.value.ename == "DataError"
    assert caught.value.evalue.startswith(
        "there are no photos to train on: give, as DATA, the path of a folder that holds "
    )
    assert not list(tmp_path.iterdir())


def installing():
    """The cell that looks for wheels, and the one that installs them."""
    cells = [plain(cell.source) for cell in code_cells(nbformat.read(TRAIN, as_version=4))]
    look, install = (source for source in cells if "wheels" in source)
    return look, install


def test_wheels_that_are_missing():
    """In a Python that has nothing but its standard library."""
    command = [sys.executable, "-I", "-S", "-c", "\n".join(installing())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "carlib is missing: attach the dataset (or wheels) of carlib kaggle package\n"
    )


# A root of its own, in a mount namespace: all of this machine's but /kaggle, and a new /content.
ENTER = """
set -e
root=$1 content=$2
shift 2
for entry in /*; do
    case $entry in /kaggle | /content) continue ;; esac
    if [ -L "$entry" ]; then cp -P "$entry" "$root$entry"; fi
    if [ -d "$entry" ] && [ ! -L "$entry" ]; then
        mkdir "$root$entry"
        mount --rbind "$entry" "$root$entry"
    fi
done
mkdir "$root/content"
mount --bind "$content" "$root/content"
exec chroot "$root" sh -c 'cd /content && exec "$@"' sh "$@"
"""
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""
# Colab's own module: it shows the person's Drive, which outlives the session.
DRIVE = """
import os


def mount(place):
    os.makedirs(place, exist_ok=True)
    if not os.path.lexists(f"{place}/MyDrive"):
        os.symlink(os.environ["THE_DRIVE"], f"{place}/MyDrive")
"""


class Colab:
    """Sessions in Colab, each with a new /content, and one Drive for all of them."""

    def __init__(self, folder):
        self.folder, self.sessions = folder, 0
        self.drive = folder / "drive"
        self.drive.mkdir()
        write_files(folder / "stubs/google/colab", {"__init__.py": "", "drive.py": DRIVE})

    def run(self, content, *command):
        """Run a command in a session that has ``content`` as /content."""
        self.sessions += 1
        root = self.folder / f"root{self.sessions}"
        root.mkdir()
        unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
        environment = {
            **ENVIRONMENT,
            "COLAB_RELEASE_TAG": "release-colab",
            "PYTHONPATH": str(self.folder / "stubs"),
            "THE_DRIVE": str(self.drive),
        }
        return subprocess.run(
            [*unshare, "sh", "-c", ENTER, "sh", root, content, *command],
            env=environment,
            capture_output=True,
            text=True,
        )

    def execute(self, content, **parameters):
        """Run the training notebook; return it with its outputs."""
        place = self.folder / "notebook.ipynb"
        nbformat.write(with_parameters(**parameters), place)
        done = self.run(content, sys.executable, "-c", EXECUTE, place)
        assert done.returncode == 0, done.stderr
        return nbformat.read(place, as_version=4)


@pytest.fixture
def colab(tmp_path):
    made = Colab(tmp_path)
    (tmp_path / "empty").mkdir()
    try:
        tried = made.run(tmp_path / "empty", "true")
    except FileNotFoundError:
        pytest.skip("no unshare: a /content of its own needs util-linux")
    if tried.returncode:
        pytest.skip(f"no mount namespace here: {tried.stderr.strip()}")
    return made


@pytest.mark.parametrize(
    "place", ["", "wheels", "carlib", "drive/MyDrive/carlib", "wheels/more/carlib"]
)
def test_wheels_in_colab(colab, tmp_path, place):
    """The newest one's folder, whatever it is called: one named carlib is not yet carlib."""
    folder = tmp_path / "content" / place
    names = [f"carlib-0.{number}.0-py3-none-any.whl" for number in (2, 1)]
    write_files(folder, dict.fromkeys([*names, "efficientnet-1.1.1-py3-none-any.whl"], b""))
    command = f"{installing()[0]}\nprint(missing, *wheels)"
    done = colab.run(tmp_path / "content", sys.executable, "-S", "-c", command)
    assert done.stderr == ""
    where = f"/content/{place}".rstrip("/")
    assert done.stdout.split() == ["True", *(f"{where}/{name}" for name in sorted(names))]


@pytest.mark.once
def test_two_sessions_in_colab_with_the_run_on_drive(colab, photos, tmp_path):
    parameters = {"RECIPE": "tiny-check", "RUN": "/content/drive/MyDrive/cars"}
    contents = [tmp_path / "content1", tmp_path / "content2"]
    for content in contents:
        shutil.copytree(photos, content / "pictures/of cars")

    first = shown(colab.execute(contents[0], **parameters, STOP_AFTER=2))
    assert "60 photos in /content/pictures/of cars, 12 to predict; recipe tiny-check" in first
    assert "stopped by stop-after; everything is saved: run this notebook again; it goes" in first
    cut = read_handover(colab.drive / "handover.json")
    assert (cut.done, cut.why, cut.run) == (False, "stop-after", "cars")
    assert not (colab.drive / "submission.csv").exists()

    second = shown(colab.execute(contents[1], **parameters, RESUME="must"))
    assert "done: the model is /content/drive/MyDrive/cars/best/model.keras" in second
    whole = read_handover(colab.drive / "handover.json")
    assert (whole.done, whole.recipe_digest) == (True, cut.recipe_digest)
    assert damaged(whole, colab.drive) == {}
    assert "submission.csv" in whole.files
    sessions = read_sessions(colab.drive / "cars/sessions.csv")
    assert [(each.why, each.parent) for each in sessions] == [("stop-after", ""), ("done", cut.at)]
    for content in contents:
        assert {entry.name for entry in content.iterdir()} == {"pictures", "drive"}
