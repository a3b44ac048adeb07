"""The report of a run: what stands on the page, and that nothing in a run breaks it."""

from __future__ import annotations

import base64
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reports import Page, Run, as_catalog, make_run, save_photos, worst_ids

from carlib.errors import RunError
from carlib.report import FIGURES, write_report
from carlib.report.facts import HISTORY, Score, read_facts
from carlib.spec import from_toml
from carlib.style.text import UNKNOWN

PLOTS = sorted(f"{name}.png" for name in FIGURES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    """A finished run with all there is, and its page."""
    root = tmp_path_factory.mktemp("whole")
    run = make_run(root / "run", epochs=(2, 2, 3))
    assert run.predictions is not None
    page = write_report(run.write(), as_catalog(save_photos(root / "photos", run.predictions.ids)))
    assert page == root / "run" / "report.html"
    return run, Page(page)


def pairs(run: Run) -> list[tuple[int, int, list[str]]]:
    """Return the confused pairs of a run, most photos first: true, predicted, ids by sureness."""
    assert run.predictions is not None
    found: dict[tuple[int, int], list[tuple[float, str]]] = {}
    given = run.predictions
    for name, true, row in zip(given.ids, given.labels or (), given.probabilities, strict=True):
        if row.argmax() != true:
            found.setdefault((true, int(row.argmax())), []).append((-float(row.max()), name))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(*pair, [name for _, name in sorted(photos)]) for pair, photos in ordered]


def pictured(run: Run) -> int:
    """Return how many photos stand beside the confused pairs of a run with few of them."""
    return sum(min(5, len(ids)) for _, _, ids in pairs(run))


def test_verdict_comes_first(whole: tuple[Run, Page]) -> None:
    text = whole[1].text
    # 48 of 60 right; the interval by hand: (48 + 1.92) / 63.84 -+ 0.0993
    assert "80.0% of 60 validation photos right (95% interval 68.2% to 88.2%)" in text
    assert "; best epoch 7 of 7 (phase all); 1 h 30 min in 2 sessions; done." in text
    assert text.index("done.") < text.index("Curves") < text.index("Phases")


def test_sections_of_a_whole_run(whole: tuple[Run, Page]) -> None:
    page = whole[1]
    for part in (
        "Curves",
        "Phases",
        "Classes",
        "Confused classes",
        "Worst photos",
        "Sessions",
        "Recipe",
    ):
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
    assert len(links) == 24 + pictured(whole[0]) + 2 * 4
    assert all(link.startswith("data:image/") for link in links)
    assert not page.all("script")
    assert not page.all("link")
    styles = (whole[0].root / "report.html").read_text(encoding="utf-8").split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_images_have_alt_texts_and_decode(whole: tuple[Run, Page]) -> None:
    images = whole[1].all("img")
    assert len(images) == 24 + pictured(whole[0]) + 4
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
        "upper adamw, batch 32 augment: none top 50% 79.4% of parameters 9 of 18 blocks "
        f"BatchNorm frozen 0.00167 cosine 2 of 2 {seconds // 60:.0f} min {seconds % 60:.0f} s"
    ) in page.text
    assert f"validation 10 s 14 s to start {6 / seconds:.1%} {best:.1%} epoch" in page.text


def test_recall_is_sorted_and_counted(whole: tuple[Run, Page]) -> None:
    run, page = whole
    assert run.predictions is not None
    guesses = run.predictions.probabilities.argmax(axis=1)
    labels = np.array(run.predictions.labels)
    recalls = sorted(float(np.mean(guesses[labels == number] == number)) for number in range(3))
    table = page.text[page.text.index("Mostly taken for") : page.text.index("Confused classes")]
    shares = [float(share) / 100 for share in re.findall(r"([\d.]+)% \d+ of", table)]
    assert shares == pytest.approx(recalls, abs=1e-3)
    score = Score(round(20 * recalls[0]), 20)
    assert f"{score.share:.1%} {score.right} of 20 {score.low:.0%} to {score.high:.0%} " in table
    assert len(re.findall(r"\d+ of 20 ", table)) == 3


def test_confused_pairs_come_with_their_photos(whole: tuple[Run, Page]) -> None:
    run, page = whole
    part = page.text[page.text.index("Confused classes") : page.text.index("Worst photos")]
    ends = []
    for true, guess, ids in pairs(run):
        head = f" {true} → {guess} {len(ids)} of 20 photos "
        assert head in part
        said = part[part.index(head) :]
        shown = [said.index(name) for name in ids[:5]]
        assert shown == sorted(shown)
        ends.append(part.index(head))
    assert ends == sorted(ends)
    assert len(re.findall(r"photo-\d+", part)) == pictured(run)


def test_at_most_eight_pairs_and_five_photos(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), tuple("abcdefghij"), accuracy=0.1)
    assert run.predictions is not None
    assert len(pairs(run)) > 8
    assert len(pairs(run)[0][2]) > 5
    page = Page(write_report(run.write(), as_catalog(dict.fromkeys(run.predictions.ids, "none"))))
    part = page.text[page.text.index("Confused classes") : page.text.index("Worst photos")]
    assert len(re.findall(r"of 20 photos", part)) == 8
    assert len(re.findall(r"photo-\d+", part)) == sum(
        min(5, len(ids)) for _, _, ids in pairs(run)[:8]
    )


def test_nothing_is_confused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), accuracy=1.0)
    assert run.predictions is not None
    page = Page(write_report(run.write(), as_catalog(dict.fromkeys(run.predictions.ids, "none"))))
    assert "Confused classes" not in page.text
    assert "Worst photos" in page.text
    assert not (run.root / "plots" / "confused.png").exists()


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    """A run that says all that runs say by now, its best epoch chosen by AUC."""
    run = make_run(tmp_path_factory.mktemp("newer"), epochs=(2, 2, 3))
    run.say_more()
    run.result["monitor"] = "AUC"
    return run, Page(write_report(run.write()))


@pytest.mark.parametrize(
    "words",
    [
        "head adamw, batch 32 augment: none features cached, 4 views head 1.7% of layers "
        "0.4% of parameters 0.0% of compute 0 of 18 blocks",
        "features 1 min 23 s 14 s to start",
        "upper adamw, batch 32 augment: none photos 80 px, not 96 trained 16 photos a step, "
        "2 steps an update 20% of photos clean erasing 0.25 mixup 0.2 cutmix 1 EMA 0.9995 "
        "early stop after 3 best weights restored top 50% "
        "50.0% of layers 79.4% of parameters 25.0% of compute 9 of 18 blocks",
        "of 2 early stop",
        "all adamw, batch 32 augment: none all 100.0% of layers",
        "240 training photos (120 of them from an external set), 60 validation photos, "
        "3 left out, 3 classes; best epoch by validation AUC.",
    ],
)
def test_what_newer_runs_say(words: str, newer: tuple[Run, Page]) -> None:
    assert words in newer[1].text


def test_score_line(newer: tuple[Run, Page]) -> None:
    run, page = newer
    loss = run.history[-1]["val_log_loss"]
    assert (
        "done. At the best epoch, chosen by AUC: accuracy 80.0%, macro F1 0.787, "
        f"log-loss {loss:.3g}, AUC 0.906. Look at this first"
    ) in page.text


@pytest.mark.parametrize(
    ("monitor", "drop", "line"),
    [
        ("accuracy", (), "At the best epoch: accuracy 80.0%, macro F1 0.787, log-loss"),
        ("accuracy", ("val_macro_f1",), "At the best epoch: accuracy 80.0%, log-loss"),
        ("accuracy", ("val_macro_f1", "val_log_loss"), None),
        ("macro_f1", ("val_log_loss",), ", chosen by macro_f1: accuracy 80.0%, macro F1 0.787."),
        ("loss", ("val_macro_f1", "val_log_loss"), ", chosen by loss: accuracy 80.0%, loss"),
        ("AUC", ("val_AUC", "val_macro_f1", "val_log_loss"), f"accuracy 80.0%, AUC {UNKNOWN}."),
    ],
)
def test_score_line_of_other_runs(
    monitor: str, drop: tuple[str, ...], line: str | None, tmp_path: Path
) -> None:
    run = make_run(tmp_path, (1, 1))
    run.say_more()
    run.result["monitor"] = monitor
    for row in run.history:
        for name in drop:
            del row[name]
    text = Page(write_report(run.write())).text
    if line is None:
        assert "At the best epoch" not in text
    else:
        assert line in text


@pytest.mark.parametrize("newer", [False, True])
def test_final_fit_on_everything(newer: bool, tmp_path: Path) -> None:
    run = make_run(tmp_path, (2, 2))
    if newer:
        run.say_more()
        run.result["photos"]["left_out"] = 0
    run.final_fit()
    page = Page(write_report(run.write()))
    assert (
        "Trained on all 240 photos; none were kept for validation, so no score is known; "
        "1 h 30 min in 2 sessions; done. Not on this page No photos were kept for validation, so "
        "the confusion matrix"
    ) in page.text
    assert "Look at this first" not in page.text
    assert "Best validation" not in page.text
    assert "best epoch" not in page.text
    assert "0 validation photos, 0 left out, 3 classes; the last epoch counts as" in page.text
    for part in ("Curves", "Phases", "Sessions"):
        assert f" {part} " in page.text
    written = sorted(entry.name for entry in (run.root / "plots").iterdir())
    assert written == ["curves.png", "lr.png", "phases.png", "sessions.png"]


def test_final_fit_that_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path, (2, 2), done=False)
    run.final_fit()
    del run.history[3:], run.timings[3:]
    text = Page(write_report(run.write())).text
    assert "so no score is known; 1 h 30 min in 2 sessions; stopped after 3 of 4 epochs" in text


def test_session_table(tmp_path: Path) -> None:
    """A killed one, and one that went on elsewhere with another library and recipe."""
    run = make_run(tmp_path)
    run.sessions[0].update(why="killed", seconds=900.0, saving=90.0)
    run.sessions[1].update(
        parent="000007-p0e2s0 of /in/<a>/chain with seed: 0 -> 1; phases: 'all' is new",
        where="colab, host-2",
        versions="keras 3.15.0",
        value="",
    )
    text = Page(write_report(run.write())).text
    assert "; 45 min in 2 sessions; done." in text
    part = text[text.index("Why it stopped Where") :]
    value = run.history[2]["val_accuracy"]
    assert (
        "Saves 1 2025-03-01 10:00 UTC 15 min killed 2025-03-01 11:00 UTC kaggle-batch, host-1 "
        f"Tesla T4 the start epoch 3 phase head, accuracy {value:.3g} 480 15 steps 6 90 s, 10.0% "
        "2 2025-03-01 12:00 UTC 30 min done 2025-03-01 12:30 UTC colab, host-2 Tesla T4 "
        "keras 3.13.2 -> 3.15.0 000007-p0e2s0 of /in/<a>/chain seed: 0 -> 1 phases: 'all' is new "
        "epoch 5 phase upper 480 15 steps 6 4.5 s, 0.2% "
        "all 45 min 960 30 steps 12 94 s, 3.5% Recipe"
    ) in part


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
    assert run.predictions is not None
    assert [
        f"Photo {name}: true" in image["alt"]
        for name, image in zip(
            worst_ids(run.predictions), page.all("img")[4 + pictured(run) :], strict=True
        )
    ] == [True] * 24


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
    run.sessions[1].update(stop="", why="running")
    page = Page(write_report(run.write(), as_catalog(photos)))
    share = run.history[2]["val_accuracy"]
    assert f"{share:.1%} of 60 validation photos right" in page.text
    assert "best epoch 3 of 3 (phase upper)" in page.text
    assert (
        "stopped after 3 of 5 epochs (running or killed): figures are of an unfinished run."
    ) in page.text
    assert "The run is not done, so the confusion matrix" in page.text
    assert " 30 min running or killed kaggle-batch" in page.text
    assert "Worst photos" not in page.text
    plots = sorted(entry.name for entry in (run.root / "plots").iterdir())
    assert plots == ["curves.png", "lr.png", "phases.png", "sessions.png"]


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
    assert [image["alt"][:14] for image in page.all("img")] == ["Share of layer"]


def test_a_hundred_classes(tmp_path: Path) -> None:
    classes = tuple(f"maker and model number {number}" for number in range(100))
    run = make_run(tmp_path, (1, 1), classes, tuple(map(str, range(99 * 3))))
    page = Page(write_report(run.write()))
    assert "the other 86 classes" in page.text
    assert "Recall of each class" in page.all("img")[-1]["alt"]
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
    grey = [div["aria-label"] for div in page.all("div") if div.get("role") == "img"]
    assert len(grey) >= 4
    assert {label.partition(":")[0] for label in grey} == {gone, damaged, unnamed, odd}
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
