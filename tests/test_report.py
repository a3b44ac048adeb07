"""The report of a run: what stands on the page, and that nothing in a run breaks it."""

from __future__ import annotations

import base64
import io
import math
import re
import subprocess
import sys
import warnings as ignored
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carlib.catalog import Catalog
from carlib.errors import RunError
from carlib.report import write_report
from carlib.report.facts import HISTORY, Score, hours_between, read_facts, warnings
from carlib.runfolder import LEFT_OUT, SESSIONS, TIMINGS, RunFolder, write_json, write_table
from carlib.spec import ModelSpec, Phase, Recipe, from_toml, to_json
from carlib.submission import Predictions

with ignored.catch_warnings():
    # matplotlib 3.10 calls by old names what pyparsing 3.3 has renamed.
    ignored.simplefilter("ignore", DeprecationWarning)
    import matplotlib.style

    from carlib.report import plots

PLOTS = ("confusion.png", "curves.png", "lr.png", "worst.png")


@dataclass
class Run:
    """A run in the making: its tables can be changed before they are written."""

    root: Path
    recipe: Recipe
    result: dict[str, Any]
    history: list[dict[str, Any]]
    timings: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    predictions: Predictions | None
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> Path:
        folder = RunFolder(self.root)
        write_table(folder.history, self.history, HISTORY)
        write_table(folder.timings, self.timings, TIMINGS)
        write_table(folder.sessions, self.sessions, SESSIONS)
        if self.left_out:
            write_table(folder.left_out, self.left_out, LEFT_OUT)
        write_json(folder.result, self.result)
        folder.recipe.write_text(to_json(self.recipe), encoding="utf-8")
        if self.predictions is not None:
            self.predictions.save(folder.predictions("validation"))
        return self.root

    def last(self, **values: float) -> None:
        self.history[-1].update(values)

    def all_epochs(self, **values: float) -> None:
        for row in self.history:
            row.update(values)


def make_run(
    root: Path,
    epochs: tuple[int, ...] = (3, 2),
    classes: tuple[str, ...] = ("0", "1", "2"),
    ids: tuple[str, ...] = (),
    accuracy: float = 0.8,
    done: bool = True,
    seed: int = 0,
) -> Run:
    """Return a run of ``len(epochs)`` phases in two sessions that ended at ``accuracy``."""
    names = ("head", "upper", "all")
    count = len(classes)
    ids = ids or tuple(f"photo-{number:04d}.jpg" for number in range(20 * count))
    phases = tuple(
        Phase(names[at], length, 1e-2 / 6**at, trains=("head", 0.5, "all")[at], schedule="cosine")
        for at, length in enumerate(epochs)
    )
    recipe = Recipe("lite0-quick", ModelSpec("lite0", 96), phases, description="a quick one")
    predictions = make_predictions(ids, classes, accuracy, seed)
    total = sum(epochs)
    history, timings = [], []
    random = np.random.default_rng([seed, 1])
    for phase in phases:
        for step in range(1, phase.epochs + 1):
            epoch = len(history) + 1
            reached = accuracy * (1 - 0.8 * math.exp(-4 * epoch / total)) / (1 - 0.8 * math.exp(-4))
            reached -= abs(random.normal(0, 0.012)) if epoch < total else 0
            history.append(
                {
                    "phase": phase.name,
                    "epoch": epoch,
                    "lr": phase.lr * 0.5 * (1 + math.cos(math.pi * step / (phase.epochs + 0.3))),
                    "loss": 2.4 * (1 - reached) ** 1.1,
                    "accuracy": min(0.99, reached + 0.01 * epoch / total * 4),
                    "val_loss": 2.3 * (1 - reached) + random.normal(0, 0.02),
                    "val_accuracy": predictions.accuracy() if epoch == total else reached,
                }
            )
            timings.append(
                {
                    "phase": phase.name,
                    "epoch": epoch,
                    "session": 1 + (epoch > (total + 1) // 2),
                    "seconds": 60.0 + random.normal(0, 2) + 90 * (phase.name == "all"),
                    "wait": 3.0,
                    "validation_seconds": 5.0,
                    "photos": 480,
                }
            )
    session = {"device": "Tesla T4", "photos": 480, "steps": 15, "versions": "keras 3.13.2"}
    sessions = [
        {
            "session": 1,
            "start": "2025-03-01T10:00:00+00:00",
            "stop": "2025-03-01T11:00:00+00:00",
            "why": "clock",
            **session,
        },
        {
            "session": 2,
            "start": "2025-03-01T12:00:00+00:00",
            "stop": "2025-03-01T12:30:00+00:00",
            "why": "done",
            **session,
        },
    ]
    result = {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "catalog_digest": "ab" * 32,
        "done": done,
        "monitor": "accuracy",
        "best": {
            "phase": phases[-1].name,
            "epoch": total,
            "value": history[-1]["val_accuracy"],
        },
        "classes": list(classes),
        "photos": {"training": 4 * len(ids), "validation": len(ids), "left_out": 0},
        "phases": [
            {
                **{
                    key: getattr(phase, key)
                    for key in (
                        "name",
                        "epochs",
                        "lr",
                        "schedule",
                        "warmup",
                        "optimizer",
                        "weight_decay",
                        "batch_size",
                        "augment",
                        "trains",
                        "batchnorm",
                    )
                },
                "parameters": 3_400_000,
                "trainable_parameters": (12_810, 2_700_000, 3_380_000)[at],
                "blocks": 18,
                "trainable_blocks": (0, 9, 18)[at],
                "start_seconds": 14.2,
            }
            for at, phase in enumerate(phases)
        ],
        "versions": {"carlib": "0.1.0", "keras": "3.13.2", "python": "3.12.3"},
    }
    return Run(root, recipe, result, history, timings, sessions, predictions)


def make_predictions(
    ids: tuple[str, ...], classes: tuple[str, ...], accuracy: float, seed: int
) -> Predictions:
    """Return predictions right for ``accuracy`` of the photos; classes take turns."""
    random = np.random.default_rng([seed, 2])
    count = len(classes)
    labels = np.arange(len(ids)) % count
    sure = random.beta(4, 1.5, len(ids)) * (1 - 1.2 / count) + 1.1 / count
    wrong = random.permutation(len(ids)) >= round(accuracy * len(ids))
    aimed = np.where(
        wrong, (labels + random.choice([1, 1, 1, 2, count - 1], len(ids))) % count, labels
    )
    rows = random.dirichlet(np.full(count, 0.8), len(ids)) * (1 - sure[:, None])
    rows[np.arange(len(ids)), aimed] += np.maximum(sure, 0.52)
    rows /= rows.sum(axis=1, keepdims=True)
    return Predictions(ids, classes, rows.astype(np.float32), "a test", tuple(labels.tolist()))


class Page(HTMLParser):
    """A page taken apart: its text, images, links, the texts of the grid; fails on open tags."""

    VOID = frozenset(("meta", "img", "source", "br", "link", "hr", "input"))

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.grid: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if "ol" in self.open:
                self.grid.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+([;,.])", r"\1", " ".join(" ".join(self.words).split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def as_catalog(photos: dict[str, str]) -> Catalog:
    return Catalog(tuple(photos), tuple(photos.values()))


def save_photos(folder: Path, ids: tuple[str, ...]) -> dict[str, str]:
    """Write small photos, every second one upright, and return their paths by id."""
    folder.mkdir(parents=True)
    photos = {}
    for number, name in enumerate(ids):
        shape = (30, 47, 3) if number % 2 else (61, 40, 3)
        pixels = np.full(shape, (200, 40, number % 256), np.uint8)
        photos[name] = str(folder / f"{number}.png")
        Image.fromarray(pixels).save(photos[name])
    return photos


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    """A finished run with all there is, and its page."""
    root = tmp_path_factory.mktemp("whole")
    run = make_run(root / "run", epochs=(2, 2, 3))
    assert run.predictions is not None
    page = write_report(run.write(), as_catalog(save_photos(root / "photos", run.predictions.ids)))
    assert page == root / "run" / "report.html"
    return run, Page(page)


def worst_ids(predictions: Predictions, count: int = 24) -> list[str]:
    loss = -np.log(predictions.probabilities[np.arange(len(predictions.ids)), predictions.labels])
    return [predictions.ids[place] for place in np.argsort(-loss, kind="stable")[:count]]


def test_verdict_comes_first(whole: tuple[Run, Page]) -> None:
    text = whole[1].text
    # 48 of 60 right; the interval by hand: (48 + 1.92) / 63.84 -+ 0.0993
    assert "80.0% of 60 validation photos right (95% interval 68.2% to 88.2%)" in text
    assert "; best epoch 7 of 7 (phase all); 1 h 30 min in 2 sessions; done." in text
    assert text.index("done.") < text.index("Curves") < text.index("Phases")


def test_sections_of_a_whole_run(whole: tuple[Run, Page]) -> None:
    page = whole[1]
    for part in ("Curves", "Phases", "Classes", "Worst photos", "Sessions", "Recipe"):
        assert f" {part} " in page.text
    for part in ("Look at this first", "Not on this page", "Photos left out"):
        assert part not in page.text


def test_page_is_self_contained(whole: tuple[Run, Page]) -> None:
    page = whole[1]
    links = [
        attributes[key]
        for _, attributes in page.tags
        for key in ("src", "srcset", "href", "action", "data")
        if key in attributes
    ]
    assert len(links) == 24 + 2 * 3
    assert all(link.startswith("data:image/") for link in links)
    assert not page.all("script")
    assert not page.all("link")
    styles = (whole[0].root / "report.html").read_text(encoding="utf-8").split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_images_have_alt_texts_and_decode(whole: tuple[Run, Page]) -> None:
    images = whole[1].all("img")
    assert len(images) == 24 + 3
    for image in images:
        assert len(image["alt"]) > 10
        content = base64.b64decode(image["src"].partition(",")[2], validate=True)
        with Image.open(io.BytesIO(content)) as photo:
            photo.load()


def test_grid_holds_the_worst_photos_in_order(whole: tuple[Run, Page]) -> None:
    run, page = whole
    assert run.predictions is not None
    wanted = worst_ids(run.predictions)
    assert [word for word in page.grid if word in run.predictions.ids] == wanted
    place = run.predictions.ids.index(wanted[0])
    row = run.predictions.probabilities[place]
    true, guess = run.predictions.labels[place], int(row.argmax())
    assert page.grid[page.grid.index(wanted[0]) - 4 :][:3:2] == [
        f"{true} → {guess}",
        f"{row[true]:.1%} → {row[guess]:.1%}",
    ]


def test_plots_are_written_whole(whole: tuple[Run, Page]) -> None:
    folder = whole[0].root / "plots"
    assert sorted(entry.name for entry in folder.iterdir()) == list(PLOTS)
    for name in PLOTS:
        with Image.open(folder / name) as figure:
            assert figure.size[0] > 1000
            assert len(np.unique(np.asarray(figure.convert("L")))) > 20  # more than an empty frame


def test_phase_table(whole: tuple[Run, Page]) -> None:
    run, page = whole
    best = max(row["val_accuracy"] for row in run.history[2:4])
    seconds = sum(row["seconds"] for row in run.timings[2:4])
    assert (
        "upper adamw, batch 32 augment: none top 50%, 79.4% of parameters 9 of 18 blocks "
        f"BatchNorm frozen 0.00167 cosine 2 of 2 {seconds // 60:.0f} min {seconds % 60:.0f} s"
    ) in page.text
    assert f"14 s to start {6 / seconds:.1%} {best:.1%} epoch" in page.text


def test_recall_is_sorted_and_counted(whole: tuple[Run, Page]) -> None:
    run, page = whole
    assert run.predictions is not None
    guesses = run.predictions.probabilities.argmax(axis=1)
    labels = np.array(run.predictions.labels)
    recalls = sorted(float(np.mean(guesses[labels == number] == number)) for number in range(3))
    table = page.text[page.text.index("Mostly taken for") : page.text.index("Worst photos")]
    assert [float(share) / 100 for share in re.findall(r"([\d.]+)%", table)] == pytest.approx(
        recalls, abs=1e-3
    )
    assert len(re.findall(r"\d+ of 20 ", table)) == 3


def test_recipe_reads_back_from_the_page(whole: tuple[Run, Page]) -> None:
    run, page = whole
    toml = next(word for word in page.words if word.startswith("name = "))
    assert from_toml(toml) == run.recipe
    assert run.recipe.digest() in page.text
    assert "carlib 0.1.0, keras 3.13.2, python 3.12.3" in page.text


def test_data_is_escaped(tmp_path: Path) -> None:
    classes = ("<script>alert(1)</script>", "$x^2$ & 'co'", "三")
    ids = tuple(f"""{number}" onerror="alert(1)' <em>.jpg""" for number in range(30))
    run = make_run(tmp_path / "run", (1, 1), classes, ids, accuracy=0.5)
    run.result["recipe"] = "</title><script>alert(2)</script>"
    run.sessions[0]["device"] = "<img src=x>"
    run.left_out = [{"id": "<i>", "path": "/a&b", "reason": "</td>"}]
    run.result["versions"] = {"<u>": "<s>"}
    page = Page(write_report(run.write(), as_catalog(save_photos(tmp_path / "photos", ids))))
    assert not [tag for tag, _ in page.tags if tag in ("script", "em", "s", "u")]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "<img src=x>" in page.text
    assert "are numbers there: #2 is 三." in page.text
    assert all(name in page.text for name in classes)
    assert set(page.grid) >= set(worst_ids(run.predictions))  # type: ignore[arg-type]
    assert [
        f"Photo {name}: true" in image["alt"]
        for name, image in zip(
            worst_ids(run.predictions),
            page.all("img")[3:],
            strict=True,  # type: ignore[arg-type]
        )
    ] == [True] * 24


@pytest.mark.parametrize(
    ("right", "photos", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_interval(right: int, photos: int, low: float, high: float) -> None:
    score = Score(right, photos)
    assert (score.low, score.high) == pytest.approx((low, high), abs=6e-5)
    assert score.low <= score.share <= score.high


@pytest.mark.parametrize(
    ("start", "stop", "hours"),
    [
        ("2025-03-01T10:00:00", "2025-03-01T10:15:00", 0.25),
        ("2025-03-01T10:00:00+00:00", "2025-03-01T10:00:00-02:00", 2.0),
        ("1000.5", "4600.5", 1.0),
        ("2025-03-01T10:00:00+00:00", "2025-03-01T10:15:00", None),
        ("2025-03-01T10:00:00", "", None),
        ("", "", None),
    ],
)
def test_hours_between(start: str, stop: str, hours: float | None) -> None:
    assert hours_between(start, stop) == hours


def nothing(run: Run) -> None:
    """Leave the run as it is."""


def at_accuracy(value: float) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.predictions = None
        run.last(accuracy=value, val_accuracy=value)

    return change


def with_waiting(seconds: float) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        for row in run.timings:
            row.update(seconds=100.0, wait=seconds)

    return change


# 60 validation photos of 3 classes: chance is 1/3, two standard errors above it 0.4551.
WARNINGS: list[tuple[str, Callable[[Run], None], str | None]] = [
    ("NaN or infinite", nothing, None),
    ("NaN or infinite", lambda run: run.history[2].update(loss=math.nan), "first loss in epoch 3"),
    ("NaN or infinite", lambda run: run.history[1].update(val_loss=math.inf), "first val_loss in"),
    ("NaN or infinite", lambda run: run.history[0].update(lr=""), "first lr in epoch 1:"),
    ("at chance", nothing, None),
    ("at chance", at_accuracy(0.46), None),
    ("at chance", at_accuracy(0.45), "45.0% at the best epoch, where guessing among 3 classes"),
    ("at chance", at_accuracy(0.1), "gives 33.3% and up to 45.5% by luck"),
    ("at chance", at_accuracy(math.nan), None),
    ("far above", nothing, None),
    ("far above", lambda run: run.last(accuracy=0.95, val_accuracy=0.71), None),
    ("far above", lambda run: run.last(accuracy=0.95, val_accuracy=0.69), "95.0% against 69.0%"),
    ("far above", lambda run: run.last(accuracy=0.95, val_accuracy=0.69), "is pessimistic"),
    ("far above", lambda run: run.history[0].update(accuracy=0.99, val_accuracy=0.2), None),
    ("far above", lambda run: run.last(val_accuracy=math.nan), None),
    ("waiting for photos", with_waiting(20.0), None),
    ("waiting for photos", with_waiting(21.0), "21% of the training time"),
    ("waiting for photos", lambda run: run.timings.clear(), None),
    ("left out", nothing, None),
    ("left out", lambda run: run.result["photos"].update(left_out=1), "1 photo was left out"),
    (
        "left out",
        lambda run: run.left_out.extend({"id": i, "path": "p", "reason": "r"} for i in "ab"),
        "2 photos were left out",
    ),
    ("another checkpoint", nothing, None),
    ("another checkpoint", lambda run: run.last(val_accuracy=0.8 + 1 / 60), None),
    ("another checkpoint", lambda run: run.last(val_accuracy=0.7), "(80.0%) do not belong to"),
    ("another checkpoint", lambda run: run.last(val_accuracy=math.nan), None),
]


@pytest.mark.parametrize(("topic", "change", "sentence"), WARNINGS)
def test_warnings(
    topic: str, change: Callable[[Run], None], sentence: str | None, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    change(run)
    said = [text for text in warnings(read_facts(run.write())) if topic in text]
    if sentence is None:
        assert said == []
    else:
        assert len(said) == 1
        assert sentence in said[0]


def drop(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content) and None


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (drop("result.json"), r"result\.json is not there: is .* a finished carlib run\?"),
        (drop("history.csv"), r"history\.csv is not there: train the run"),
        (put("result.json", b"{"), r"result\.json cannot be read"),
        (put("result.json", b"[1]"), r"result\.json lacks recipe, classes, photos, phases"),
        (put("result.json", b'{"recipe": "r", "classes": 3}'), r"lacks classes, photos, phases"),
        (put("history.csv", b""), r"history\.csv cannot be read as CSV"),
        (put("history.csv", b"phase,epoch\nhead,1\n"), r"history\.csv lacks the columns lr, loss"),
        (put("history.csv", b"phase\nhead\na,b,c\n"), r"history\.csv cannot be read as CSV"),
        (put("timings.csv", b"phase,\xff\xfe\n"), r"timings\.csv cannot be read as CSV"),
        (put("sessions.csv", b"session\n1\n"), r"sessions\.csv lacks the columns start, stop"),
    ],
)
def test_broken_folder(harm: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    root = make_run(tmp_path).write()
    harm(root)
    with pytest.raises(RunError, match=message):
        write_report(root)
    assert not (root / "report.html").exists()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (drop("predictions/validation.npz"), "There are no validation predictions, so the"),
        (put("predictions/validation.npz", b"PK\x03\x04 damaged"), "predictions cannot be read"),
        (put("predictions/validation.npz", b""), "predictions cannot be read"),
        (drop("recipe.json"), "The recipe is left out: recipe.json is not there."),
        (put("recipe.json", b'{"name": "r"}'), "key 'model' is missing"),
        (drop("timings.csv"), "timings.csv is not there, so times are not known"),
        (drop("sessions.csv"), "sessions.csv is not there, so sessions are not known"),
    ],
)
def test_what_is_missing_is_said(
    harm: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    root = make_run(tmp_path).write()
    harm(root)
    (said,) = read_facts(root).missing
    assert sentence in said


def test_predictions_without_labels_are_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.predictions is not None
    run.predictions = replace(run.predictions, labels=None)
    facts = read_facts(run.write())
    assert facts.predictions is None
    assert facts.missing == ["The validation predictions have no labels, so they are left out."]


def test_stopped_run_without_predictions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (2, 3), done=False)
    assert run.predictions is not None
    photos = dict.fromkeys(run.predictions.ids, "nowhere.jpg")
    (run.root / "plots").mkdir(parents=True)
    (run.root / "plots" / "worst.png").write_bytes(b"of an earlier report")
    run.predictions = None
    del run.history[3:], run.timings[3:]
    run.result["best"] = {"phase": "upper", "epoch": 3, "value": run.history[2]["val_accuracy"]}
    run.sessions[1].update(stop="", why="")
    page = Page(write_report(run.write(), as_catalog(photos)))
    share = run.history[2]["val_accuracy"]
    assert f"{share:.1%} of 60 validation photos right" in page.text
    assert "best epoch 3 of 3 (phase upper)" in page.text
    assert "stopped after 3 of 5 epochs: figures are of an unfinished run." in page.text
    assert "The run is not done, so the confusion matrix" in page.text
    assert "not recorded: killed, or still running" in page.text
    assert "Worst photos" not in page.text
    plots = sorted(entry.name for entry in (run.root / "plots").iterdir())
    assert plots == ["curves.png", "lr.png"]


def test_run_of_one_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, (1,))
    del run.sessions[1:]
    page = Page(write_report(run.write()))
    assert "best epoch 1 of 1 (phase head); 1 h 0 min in 1 session; done." in page.text
    assert "Left out: the report was written without the paths" in page.text
    assert page.grid == []


def test_run_of_no_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, done=False)
    run.history.clear()
    run.timings.clear()
    run.predictions = None
    run.result["best"] = None
    page = Page(write_report(run.write()))
    assert "Validation accuracy not known; 1 h 30 min in 2 sessions; stopped after 0" in page.text
    assert "No epoch is finished yet, so there are no curves." in page.text
    assert page.all("img") == []


def test_a_hundred_classes(tmp_path: Path) -> None:
    classes = tuple(f"maker and model number {number}" for number in range(100))
    run = make_run(tmp_path, (1, 1), classes, tuple(map(str, range(99 * 3))))
    page = Page(write_report(run.write()))
    assert "the other 86 classes" in page.text
    assert all(page.words.count(name) >= 1 for name in classes)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    run = make_run(tmp_path, (1, 2))
    run.all_epochs(**dict.fromkeys(HISTORY[2:], value))
    run.predictions = None
    run.result["best"] = {"phase": "head", "epoch": 1, "value": value}
    run.timings[0].update(seconds=value, wait=value)
    page = Page(write_report(run.write()))
    assert "Validation accuracy not known; best epoch 1 of 3" in page.text
    assert "first lr in epoch 1" in page.text
    assert not re.search(r"\b(nan|inf)%", page.text)


def test_unreadable_photos_become_grey_tiles(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,))
    assert run.predictions is not None
    photos = save_photos(tmp_path / "photos", run.predictions.ids)
    gone, damaged, unnamed, odd = worst_ids(run.predictions)[:4]
    photos[gone] = str(tmp_path / "nowhere.jpg")
    Path(photos[damaged]).write_bytes(b"\xff\xd8 no photo")
    del photos[unnamed]
    photos[odd] = "a\0b"
    page = Page(write_report(run.write(), as_catalog(photos)))
    assert page.grid.count("cannot be read") == 3
    assert page.grid.count("no path given") == 1
    assert len([image for image in page.all("img") if "jpeg" in image["src"][:20]]) == 20
    assert set(page.grid) >= {gone, damaged, unnamed, odd}


def test_long_lists_are_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path, (1,))
    run.left_out = [
        {"id": f"{number:03d}", "path": f"/p/{number}", "reason": "truncated"}
        for number in range(60)
    ]
    page = Page(write_report(run.write()))
    assert "60 in all, the first 50 here." in page.text
    assert "049" in page.words  # an id of digits stays as it is
    assert "050" not in page.words


def test_names_made_of_digits_stay_texts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for row in (*run.history, *run.timings):
        row["phase"] = "007"
    facts = read_facts(run.write())
    assert set(facts.history["phase"]) == {"007"}
    assert facts.session_starts() == [("1", 1), ("2", 4)]


@pytest.mark.parametrize(
    ("monitor", "epoch"), [("accuracy", 4), ("loss", 2)], ids=["accuracy", "loss"]
)
def test_best_epoch_without_one_in_the_result(monitor: str, epoch: int, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.result.update(best=None, monitor=monitor)
    for row, accuracy, loss in zip(
        run.history, (0.1, 0.5, 0.6, 0.7, math.nan), (2, 0.3, 1, 1, math.inf), strict=True
    ):
        row.update(val_accuracy=accuracy, val_loss=loss)
    best = read_facts(run.write()).best()
    assert best is not None
    assert best.epoch == epoch


def course(count: int, bands: tuple[tuple[str, int, int], ...], **columns: Any) -> plots.Course:
    """Return a course with straight curves where ``columns`` gives none."""
    lines = {name: np.linspace(0.1, 0.9, count) for name in HISTORY[2:]}
    return plots.Course(
        {"epoch": np.arange(1, count + 1), **lines, **columns},
        [plots.Band(*band) for band in bands],
        (("1", 1), ("2", 3)),
        count,
    )


def test_curves_show_phases_sessions_and_the_best_epoch() -> None:
    figure = plots.curves(course(6, (("head", 1, 2), ("all $x$", 3, 6))))
    upper, lower = figure.axes
    assert [text.get_text() for text in upper.texts] == ["head", "all $x$"]
    assert [text.get_text() for text in lower.texts] == ["session 1", "session 2"]
    legend = upper.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "training",
        "validation",
        "best epoch, 6",
    ]
    assert upper.get_xlim() == (0.5, 6.5)


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([1e-3] * 3, "linear"),
        ([9e-3, 5e-3, 1e-3], "linear"),
        ([1e-2, 5e-3, 1e-3], "log"),
        ([1e-2, 1e-4, 0.0], "log"),
        ([1e-2, math.nan, 1e-4], "log"),
        ([0.0, 0.0, 0.0], "linear"),
        ([math.nan, math.inf, math.nan], "linear"),
    ],
)
def test_scale_of_the_learning_rate(rates: list[float], scale: str) -> None:
    figure = plots.lr(course(3, (("all", 1, 3),), lr=np.array(rates)))
    assert figure.axes[0].get_yscale() == scale
    assert plots.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("classes", "labels", "numbers"), [(3, 3, True), (20, 20, True), (100, 25, False)]
)
def test_confusion_thins_out(classes: int, labels: int, numbers: bool) -> None:
    counts = np.diag(np.arange(classes)) + np.eye(classes, k=1, dtype=int)
    axes = plots.confusion(counts, [f"c{number}" for number in range(classes)]).axes[0]
    assert len(axes.get_xticklabels()) == len(axes.get_yticklabels()) == labels
    written = [int(text.get_text()) for text in axes.texts]
    assert sorted(written) == (sorted(counts[counts > 0].tolist()) if numbers else [])


def test_confusion_names_what_the_font_cannot_draw() -> None:
    axes = plots.confusion(
        np.eye(3, dtype=int), ["Жук", "甲虫", "a name far too long for a side"]
    ).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Жук",
        "#1",
        "a name f…a side",
    ]


def test_figures_ignore_and_keep_the_notebooks_style() -> None:
    def drawn() -> list[bytes]:
        photo = np.full((30, 40, 3), 99, np.uint8)
        figures = (
            plots.curves(course(4, (("head", 1, 2), ("all", 3, 4)))),
            plots.lr(course(4, (("all", 1, 4),))),
            plots.confusion(np.array([[3, 1], [0, 4]]), ["a", "b"]),
            plots.worst([plots.Tile("a → b", photo), plots.Tile("b → a", None)]),
        )
        return [plots.png(figure) for figure in figures]

    plain = drawn()
    odd = {
        "font.size": 19.0,
        "axes.grid": True,
        "axes.spines.top": True,
        "lines.linewidth": 7.0,
        "lines.marker": "s",
        "figure.dpi": 31.0,
        "savefig.bbox": "tight",
        "savefig.transparent": True,
        "xtick.direction": "in",
        "axes.titleweight": "bold",
        "image.cmap": "hot",
    }
    with matplotlib.style.context(["dark_background", odd]):
        before = dict(matplotlib.rcParams)
        assert drawn() == plain
        assert dict(matplotlib.rcParams) == before


def test_no_pyplot_and_nothing_heavy_at_import(tmp_path: Path) -> None:
    root = make_run(tmp_path, (1,)).write()
    script = (
        "import sys, carlib.report\n"
        "heavy = {'matplotlib', 'pandas', 'jinja2', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        f"carlib.report.write_report({str(root)!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
