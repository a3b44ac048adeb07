"""From a laptop to a finished model: the real client, real sessions, a driver that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runs
from local_kaggle import LocalKaggle, Run, refused

from carlib.checkpoints import Position
from carlib.kaggle.chain.decide import furthest, position_of
from carlib.spec import ModelSpec, Phase, Recipe, to_json, to_toml

ROOT = Path(__file__).parents[1]
# Three phases: a checkpoint at the end of each, so that a cut there has something to lose.
RECIPE = Recipe(
    "three",
    ModelSpec("tiny", 32, dropout=0.2),
    (
        Phase("head", 1, 1e-2, trains="head", batch_size=16, augment="light"),
        Phase("half", 1, 5e-3, trains=0.5, batch_size=16, augment="light"),
        Phase("all", 2, 5e-3, batchnorm="trained", batch_size=16, augment="light", ema=0.9),
    ),
)
# Kaggle mounts inputs in either of two ways: the image's versions meet one, the newest the other.
LAYOUT = "new" if sys.version_info >= (3, 12) else "old"

pytestmark = pytest.mark.skipif(bool(refused()), reason=refused() or "sessions can run")


class Limit:
    """Strikes the first two sessions once they have saved the end of their first phase."""

    def __init__(self) -> None:
        self.left = [Position(1), Position(2)]

    def __call__(self, run: Run) -> bool:
        names = [path.as_posix() for path in Path(run.working).glob("run/chain/*/manifest.json")]
        at = position_of(furthest(names))
        if not self.left or at is None or at < self.left[0]:
            return False
        self.left.pop(0)
        return True


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[LocalKaggle]:
    with LocalKaggle(tmp_path_factory.mktemp("kaggle"), layout=LAYOUT) as kaggle:
        kaggle.add_dataset("alice/photos", photos)
        kaggle.add_competition("cars", photos)
        kaggle.limit_when = Limit()
        yield kaggle


class Laptop:
    """The command line beside a local Kaggle."""

    def __init__(self, kaggle: LocalKaggle) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in kaggle.unset}
        self.environment = {**kept, **kaggle.environment}

    def start(self, *arguments: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "carlib", "kaggle", *map(str, arguments), "--json"]
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: Any) -> dict[str, Any]:
        child = self.start(*arguments)
        out, error = child.communicate(timeout=300)
        assert child.returncode == 0, error
        return dict(json.loads(out))


def test_from_a_laptop_to_a_finished_model(
    kaggle: LocalKaggle, photos: Path, tmp_path: Path
) -> None:
    laptop = Laptop(kaggle)
    recipe = tmp_path / "three.toml"
    recipe.write_text(to_toml(RECIPE), encoding="utf-8")

    package = ("package", "--out", tmp_path / "package", "--upload", "--poll", "0.2s", "--no-lite")
    first = laptop.run(*package)
    assert (first["id"], first["version"]) == ("alice/carlib-package", 1)
    second = laptop.run(*package, "--recipe", recipe)
    assert (second["version"], "recipe.toml" in second["files"]) == (2, True)

    chain = (
        *("chain", "--out", tmp_path / "chain", "--kernel", "alice/cars-three"),
        *("--dataset", "alice/photos", "--no-internet", "--poll", "0.3s", "--cancelled", "go-on"),
    )
    driver = laptop.start(*chain)
    _wait_for(kaggle, "alice/cars-three-a")
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    ending = laptop.run(*chain)
    assert (ending["verdict"], ending["turns"]) == ("done", 3)

    # Two sessions were ended by their limit; what they had saved went on by the dataset.
    versions = [
        version
        for ref in ("alice/cars-three-a", "alice/cars-three-b")
        if ref in kaggle.kernels
        for version in kaggle.kernels[ref].versions
    ]
    statuses = [version.status for version in versions]
    assert sorted(statuses) == ["CANCEL_ACKNOWLEDGED", "CANCEL_ACKNOWLEDGED", "COMPLETE"]
    assert len(kaggle.datasets["alice/cars-three-chain"].versions) == 2
    assert all(version.gpu and not version.request.get("enableInternet") for version in versions)

    # Bit for bit the run that was never cut, nor ever at Kaggle.
    run = Path(ending["output"]) / "run"
    uncut = runs.call(runs.train, runs.Run(photos, tmp_path / "uncut", to_json(RECIPE)))
    assert runs.call(runs.final, run) == uncut["final"]

    last = versions[statuses.index("COMPLETE")]
    (kernel,) = (ref for ref, each in kaggle.kernels.items() if last in each.versions)
    assert laptop.run("status", kernel)["status"] == "COMPLETE"
    pulled = laptop.run("pull", kernel, "--out", tmp_path / "pulled")
    assert (pulled["done"], pulled["unproven"]) == (True, [])
    assert runs.call(runs.final, tmp_path / "pulled/run") == uncut["final"]

    laptop.run(
        *("submit", "cars", "--message", "from here"),
        *("--file", tmp_path / "pulled/submission.csv"),
    )
    laptop.run(
        *("submit", "cars", "--message", "from there"),
        *("--kernel", kernel, "--version", last.number),
    )
    assert len(kaggle.submissions) == 2


def _wait_for(kaggle: LocalKaggle, kernel: str) -> None:
    """Until its first session runs."""
    until = time.monotonic() + 120
    while kernel not in kaggle.kernels or kaggle.kernels[kernel].versions[0].status == "QUEUED":
        assert time.monotonic() < until
        time.sleep(0.05)
