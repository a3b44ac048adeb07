"""The command line: exit codes, one-line errors, nothing half-written, JSON."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import cv2
import numpy as np
import pytest
from chains import flip
from lineages import MIDDLE, NEWEST, START, build

from carlib.checkpoints import find_checkpoint
from carlib.cli import main
from carlib.models import BACKBONES
from carlib.runfolder import SESSIONS, read_table, write_table

TINY = ["--recipe", "tiny-check"]


def carlib(*arguments, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "carlib", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def refused(capsys, code, *arguments):
    """Return the one line that the command ends with."""
    assert main([str(argument) for argument in arguments]) == code
    shown = capsys.readouterr()
    assert not shown.out
    (line,) = shown.err.splitlines()
    assert line.startswith("carlib: ")
    return line


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A run trained by the command: cut once, and gone on with in a process of its own."""
    run = tmp_path_factory.mktemp("cli") / "run"
    train = ["train", "--data", str(photos), *TINY, "--out", str(run)]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main([*train, "--stop-after", "2", "--json"]) == 75
    said = json.loads(shown.getvalue())
    assert (said["done"], said["why"]) == (False, "stop-after")
    done = carlib(*train, "--workers", "processes:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: validation accuracy ")
    return run


def test_train_is_cut_and_goes_on(trained):
    assert [row["why"] for row in read_table(trained / "sessions.csv")] == ["stop-after", "done"]
    page = (trained / "report.html").read_text()
    assert "stop-after" in page


def test_a_cut_says_how_to_go_on(photos, tmp_path, capsys):
    train = ["train", "--data", str(photos), *TINY, "--out", str(tmp_path / "run")]
    assert main([*train, "--stop-after", "1"]) == 75
    assert capsys.readouterr().out == (
        "stopped by stop-after; everything is saved: run the same command again to go on\n"
    )


def test_predict_writes_a_checked_submission(trained, photos, tmp_path, capsys):
    out = tmp_path / "submission.csv"
    predict = ["predict", "--run", str(trained), "--data", str(photos), "--out", str(out)]
    assert main([*predict, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["photos"] == 12
    rows, wanted = (
        list(csv.reader(path.read_text().splitlines()))
        for path in (out, photos / "sample-submission.csv")
    )
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows] == [row[0] for row in wanted]
    assert {row[1] for row in rows[1:]} <= {"0", "1", "2"}


def test_a_sample_submission_with_unknown_ids_is_refused(trained, photos, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    with (data / "sample-submission.csv").open("a") as file:
        file.write("strange.jpg,0\n")
    out = tmp_path / "submission.csv"
    line = refused(capsys, 1, "predict", "--run", trained, "--data", data, "--out", out)
    assert "asks for 1 photos that were not predicted, the first 'strange.jpg'" in line
    assert not out.exists()


def test_chain_log_tells_the_sessions_and_the_checkpoints(trained, tmp_path, capsys):
    shutil.copytree(trained / "chain", tmp_path / "copied")
    for path in (trained, tmp_path / "copied"):
        assert main(["chain", "log", "--run", str(path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 120
        text = "\n".join(lines)
        assert ": recipe tiny-check\n2 sessions, " in text
        first, second = (
            next(line for line in lines if line.startswith(f"session {n}: ")) for n in (1, 2)
        )
        assert first.endswith(" s, stop-after")
        assert second.endswith(" s, done")
        assert "\n    from the start\n    to epoch 2 (phase all), val_accuracy 0." in text
        assert re.search(r"\n    from 00000\d-p1e1s0\n    to epoch 3 \(phase all\), val_acc", text)
        assert re.search(r"\n    \d+ saves held it up for [\d.]+ s \([\d.]+%\); so far ", text)
        assert text.count("versions: carlib ") == 1
        assert len(re.findall(r"\n  0000\d\d-p\d\S+ +session \d, [\w-]+, ", text)) == len(
            list((trained / "chain").glob("0*"))
        )


def test_chain_log_as_json(trained, capsys):
    assert main(["chain", "log", "--run", str(trained), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["recipe"], said["monitor"]) == ("tiny-check", "accuracy")
    assert [each["why"] for each in said["sessions"]] == ["stop-after", "done"]
    newest = said["checkpoints"][-1]
    assert newest["path"] == str(trained / "chain" / newest["name"])
    assert newest["position"] == {"phase": 2, "epoch": 0, "step": 0}
    assert (newest["session"], newest["why"], newest["damage"]) == (2, "phase", "")
    assert said["best"]["checkpoint"] in {each["name"] for each in said["checkpoints"]}


def test_chain_log_of_a_branch_and_of_damage(tmp_path, capsys):
    run = build(tmp_path / "run")
    rows = read_table(run.sessions)
    rows[1]["parent"] += " with phases.007.epochs: 3 -> 9"
    rows[1]["versions"] = "carlib 0.1.0 keras 3.15.0"
    write_table(run.sessions, rows, SESSIONS)
    (run.chain / START / "manifest.json").unlink()
    assert main(["chain", "log", "--run", str(run.root)]) == 0
    text = capsys.readouterr().out
    assert (
        f"""
session 2: 2025-03-02 10:00 UTC, 1 min 30 s, running or killed
    from {MIDDLE} of /in/a/chain
    with another recipe: phases.007.epochs: 3 -> 9
    to epoch 2 (phase 007), val_AUC 0.5000; 4 steps, 64 photos
    2 saves held it up for 0.9 s (1.0%); so far 3 min 0 s, 128 photos
    on kaggle-batch, host-7; Tesla T4
    other versions: keras 3.13.2 -> 3.15.0

3 checkpoints there
  {START}     DAMAGED: has no manifest.json: it was copied in part, or its removal was cut short
"""
        in text
    )
    assert main(["chain", "log", "--run", str(run.root), "--json"]) == 0
    damaged = json.loads(capsys.readouterr().out)["checkpoints"][0]
    assert damaged["damage"].startswith("has no manifest.json")


@pytest.mark.parametrize(
    ("harmed", "code", "last"),
    [
        ([], 0, f"a run goes on from {NEWEST}"),
        ([NEWEST], 1, f"a run goes on from {MIDDLE}"),
        ([START, MIDDLE, NEWEST], 1, "no run can go on from here: fetch the chain again, or"),
    ],
)
def test_chain_verify(tmp_path, capsys, harmed, code, last):
    run = build(tmp_path / "run")
    for name in harmed:
        flip(run.chain / name / "arrays.npz")
    assert main(["chain", "verify", "--run", str(run.root)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("DAMAGED ")] == harmed
    assert sum(line.startswith("whole ") for line in lines) == 5 - len(harmed)
    assert lines[-1].startswith(last)
    assert main(["chain", "verify", "--run", str(run.root), "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["whole"] == (code == 0)
    assert [each["name"] for each in said["things"] if not each["whole"]] == harmed
    assert said["resumes"] == (last.split()[-1] if "goes on" in last else "")


def test_chain_verify_before_the_first_checkpoint(tmp_path, capsys):
    (tmp_path / "chain").mkdir()
    assert main(["chain", "verify", "--run", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "there is no checkpoint yet: a run begins anew\n"


@pytest.mark.parametrize("kind", ["log", "verify"])
def test_chain_of_nothing(tmp_path, capsys, kind):
    line = refused(capsys, 1, "chain", kind, "--run", tmp_path)
    assert line.endswith("give a run folder, its chain folder or one checkpoint")


def test_sample_and_its_zip_are_the_same_catalog(tmp_path, capsys):
    folder, zipped = tmp_path / "a", tmp_path / "b"
    few = ["--classes", "2", "--per-class", "3", "--test-per-class", "1"]
    assert main(["sample", str(folder), *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"] == 6
    assert main(["sample", str(zipped), *few, "--zip"]) == 0
    from carlib.catalog import read_catalog

    assert read_catalog(folder).digest() == read_catalog(zipped).digest()


@pytest.mark.parametrize(
    ("preset", "options", "share"),
    [
        ("none", [], 1),
        ("light", [], 0),
        ("medium", ["--clean-share", 0.3], 0.3),
        ("heavy", ["--mixup", 0.4, "--cutmix", 1, "--clean-share", 0.1], 0.1),
        ("cars", ["--erasing", 1], 0),
        ("scratch", [], 0.225),
        ("scratch-Perspective+InvertImg", [], 0.405),
        ("light-RandomResizedCrop", ["--erasing", 0.5], 0.125),
    ],
)
def test_augment_draws_a_grid(photos, tmp_path, capsys, preset, options, share):
    out = tmp_path / "grid.png"
    arguments = ["augment", preset, "--data", photos, "--out", out, "--size", 64, "--photos", 3]
    arguments = [str(argument) for argument in arguments + options]
    assert main([*arguments, "--json"]) == 0
    assert cv2.imread(str(out)).shape == (3 * 64, 6 * 64, 3)
    said = json.loads(capsys.readouterr().out)
    assert said["clean_share"] == pytest.approx(share)
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert f"{preset}: {said['description']} Clean share {share:g}\n" in text


def test_augment_explains_its_presets(capsys):
    from carlib.augment import PRESETS, TRANSFORMS

    with pytest.raises(SystemExit) as stop:
        main(["augment", "--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, preset in PRESETS.items():
        assert f" {name} {preset.description}" in words
    assert f"transforms: {', '.join(TRANSFORMS)}" in words
    assert "or one changed, as light+ToGray-HorizontalFlip" in words


def test_models_lists_every_backbone(capsys):
    assert main(["models"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    lines = lines[: lines.index("")]
    assert [line.split()[0] for line in lines] == list(BACKBONES)
    assert "none, imagenet, noisy-student E" in lines[list(BACKBONES).index("efficientnet-b3")]
    lite0 = "efficientnet-lite0   224                   0.41    3,413,024        55.1   75.1  none"
    assert lines[list(BACKBONES).index("efficientnet-lite0")].startswith(lite0)
    for words in ("px", "billion multiply-adds", "parameters", "MB a photo", "top-1"):
        at = head.index(words) + len(words)
        assert lines[-1][at - 1] != " ", words  # right-aligned under its word
        assert lines[-1][at] == " ", words
    assert main(["models", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["models"]
    assert {each["name"]: each["size"] for each in said}["efficientnet-b7"] == 600


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("demo", "sample", "train", "predict", "chain", "models", "augment"):
        assert command in text


# --- Bad input: a folder made of the good one and one change, and what is said of it.


def empty_class(data):
    (data / "train/9").mkdir()
    (data / "train.csv").unlink()


def one_class(data):
    shutil.rmtree(data / "train/1")
    shutil.rmtree(data / "train/2")
    (data / "train.csv").unlink()


def row_without_photo(data):
    with (data / "train.csv").open("a") as file:
        file.write("gone.jpg,1\n")


def climbing_zip(data):
    shutil.rmtree(data / "train")
    (data / "train.csv").unlink()
    with zipfile.ZipFile(data / "train.zip", "w") as archive:
        archive.writestr("../evil.jpg", b"x")


def no_training(data):
    shutil.rmtree(data / "train")
    (data / "train.csv").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (empty_class, "class folder '9' under train has no photos; add some"),
        (one_class, "has 1 class of training photos; a classifier needs two or more"),
        (row_without_photo, "train.csv row 62: there is no photo 'gone.jpg'"),
        (climbing_zip, "holds the member '../evil.jpg', which points outside the archive"),
        (no_training, "has no training photos; expected train/<class>/*.jpg"),
    ],
)
def test_bad_data_is_refused(photos, tmp_path, capsys, change, said):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    change(data)
    assert said in refused(capsys, 1, "train", "--data", data, *TINY, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (1, ["--data", "nowhere"], "no such folder: nowhere; give the folder that holds"),
        (2, ["--recipe", "lite0-quik"], "unknown recipe 'lite0-quik'; did you mean 'lite0-quick'?"),
        (2, ["--recipe", "mine.toml"], "cannot read the recipe file mine.toml"),
        (2, ["--set", "sed=1"], "unknown key 'sed'; did you mean 'seed'?"),
        (2, ["--set", "model.backbone=tinny"], "unknown backbone 'tinny'; did you mean 'tiny'?"),
        (2, ["--set", "phases.all.augment=lihgt"], "unknown preset 'lihgt'; did you mean 'light'?"),
        (2, ["--set", "phases.hed.lr=1"], "unknown phase 'hed'; did you mean 'head'?"),
        (2, ["--set", "seed"], "a setting is KEY=VALUE; received 'seed'"),
        (2, ["--limit", "soon"], "a length of time is like 11h30m, 45m or 90s; received 'soon'"),
        (2, ["--workers", "robots"], "workers are threads or processes; received 'robots'"),
        (2, ["--stop-after", "0"], "stop_after must be at least 1; received 0"),
        (1, ["--exclude", "nowhere.txt"], "cannot read the list of exclusions nowhere.txt"),
        (1, ["--resume", "nowhere"], "there is no whole checkpoint under nowhere"),
        (
            1,
            ["--epochs-from", "nowhere"],
            "nowhere/result.json is not there: is nowhere a finished",
        ),
        (1, ["--external", "nowhere"], "no such folder: nowhere; give the folder that holds"),
        (1, ["--groups", "nowhere.csv"], "cannot read nowhere.csv"),
    ],
)
def test_bad_arguments_are_refused(photos, tmp_path, capsys, code, arguments, said):
    given = ["train", "--data", photos, *TINY, "--out", tmp_path / "run", *arguments]
    assert said in refused(capsys, code, *given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--data", "--out"])
def test_an_empty_path_is_not_the_current_folder(photos, tmp_path, capsys, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--data", str(photos), *TINY, "--out", "run", option, ""])
    assert stop.value.code == 2
    assert "received an empty text" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["augment", "hevy", "--out", "x.png"], "unknown preset 'hevy'"),
        (2, ["augment", "light", "--out", "x.png", "--size", "0"], "--size must be 16 to 2048"),
        (2, ["augment", "light", "--out", "x.png", "--photos", "0"], "--photos must be 1 to 1000"),
        (2, ["augment", "light", "--out", "x.png", "--seed", "-1"], "--seed must be 0 to"),
        (
            2,
            ["augment", "scratch", "--out", "x.png", "--clean-share", "0.1"],
            "clean_share = 0.1 is less than preset 'scratch' leaves clean by itself, 0.225",
        ),
        (2, ["augment", "light", "--out", "x.png", "--mixup", "-1"], "mixup must be a number from"),
        (1, ["predict", "--run", "nowhere", "--out", "x.csv"], "model.keras is not there"),
    ],
)
def test_other_commands_refuse(photos, tmp_path, capsys, monkeypatch, code, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, code, *arguments, "--data", photos)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "d", "--classes", "11"],
        ["sample", "d", "--per-class", "1"],
    ],
)
def test_sample_refuses(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert "choose" in refused(capsys, 2, *arguments)
    assert not list(tmp_path.iterdir())


def test_bad_photos_are_left_out_of_training_and_never_of_a_submission(
    photos, tmp_path, capsys, monkeypatch
):
    """Corrupt, zero bytes, huge, and a page in place of a photo."""
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "submission.csv"
    shutil.copytree(photos, data)
    good = sorted((data / "train/0").iterdir())
    huge = cv2.imencode(".png", np.zeros((300, 500, 3), np.uint8))[1].tobytes()
    spoilt = {
        "truncated": good[0].read_bytes()[: good[0].stat().st_size // 2],
        "empty": b"",
        "page": b"<html>404</html>",
        # The header says 50000 x 30000; only 500 x 300 px are there.
        "huge": huge[:16] + b"\x00\x00\xc3\x50\x00\x00\x75\x30" + huge[24:],
    }
    tests = sorted((data / "test_upload").iterdir())
    for path, test, content in zip(good, tests, spoilt.values(), strict=False):
        path.write_bytes(content)
        test.write_bytes(content)
    train = ["train", "--data", str(data), *TINY, "--out", str(run)]
    assert main([*train, "--set", "phases.*.epochs=1"]) == 0
    left = read_table(run / "left-out.csv")
    assert {row["id"] for row in left} == {path.name for path in good[: len(spoilt)]}
    assert "4 photos cannot be read" in capsys.readouterr().err
    assert main(["predict", "--run", str(run), "--data", str(data), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + len(tests)


def test_excluded_photos_do_not_train(photos, tmp_path):
    names = [path.name for path in sorted((photos / "train/0").iterdir())[:5]]
    listed = tmp_path / "exclude.txt"
    listed.write_text("# wrong photos\n" + "\n".join(names) + "\n")
    run = tmp_path / "run"
    given = ["train", "--data", photos, *TINY, "--out", run, "--stop-after", 1]
    assert main([str(each) for each in given] + ["--exclude", str(listed)]) == 75
    said = json.loads((run / "result.json").read_text())
    assert said["photos"]["training"] + said["photos"]["validation"] == 55


def test_an_external_set_trains_and_groups_stay_together(photos, tmp_path, caplog):
    """Of its six photos one is a training photo's copy, one a test photo's; one is excluded."""
    own, tests = (sorted((photos / each).iterdir()) for each in ("train/0", "test_upload"))
    external = tmp_path / "external"
    for label in "12":
        (external / "train" / label).mkdir(parents=True)
        for name in "ab":
            image = np.full((9, 13, 3), (ord(name), int(label), 99), np.uint8)
            cv2.imwrite(str(external / "train" / label / f"{name}.png"), image)
    shutil.copy(own[0], external / "train/1/copy.jpg")
    shutil.copy(tests[0], external / "train/2/copy.jpg")
    (tmp_path / "exclude.txt").write_text("external/1/a.png\n")
    names = [path.name for label in "012" for path in sorted((photos / "train" / label).iterdir())]
    # Fives of a class, twelve groups: a fifth of a class's twenty photos is nearest to one of them.
    rows = [f"{name},{number // 5}" for number, name in enumerate(names)]
    (tmp_path / "groups.csv").write_text("\n".join(["Id,Group", *rows]))
    run = tmp_path / "run"
    given = ["train", "--data", photos, *TINY, "--out", run, "--stop-after", 1]
    given += ["--external", external, "--exclude", tmp_path / "exclude.txt"]
    given += ["--groups", tmp_path / "groups.csv"]
    assert main([str(each) for each in given]) == 75
    assert "2 photos of 'external' are copies of photos known already: not used" in caplog.messages
    said = json.loads((run / "result.json").read_text())["photos"]
    assert (said["training"], said["validation"]) == (45 + 3, 15)


def test_the_final_fit_trains_on_all_photos_for_the_epochs_of_a_run(
    trained, photos, tmp_path, capsys
):
    given = ["train", "--data", photos, *TINY, "--out", tmp_path / "final"]
    given += ["--epochs-from", trained, "--set", "phases.*.epochs=9"]  # the run's count, not these
    assert main(list(map(str, given))) == 0
    assert capsys.readouterr().out.startswith("done: trained on all photos; see ")
    result = json.loads((tmp_path / "final/result.json").read_text())
    earlier = json.loads((trained / "result.json").read_text())
    assert result["photos"]["training"] == 60
    assert sum(phase["epochs"] for phase in result["phases"]) == earlier["best"]["epoch"]
    assert (result["best"]["value"], result["validation_accuracy"]) == (None, None)
    given = ["predict", "--run", tmp_path / "final", "--data", photos, "--out", tmp_path / "a.csv"]
    assert main(list(map(str, given))) == 0


def test_an_external_set_of_other_classes_is_refused(photos, tmp_path, capsys):
    external = tmp_path / "external"
    shutil.copytree(photos / "train", external / "train")
    (external / "train/2").rename(external / "train/20")
    given = ["train", "--data", photos, *TINY, "--out", tmp_path / "run", "--external", external]
    line = refused(capsys, 2, *given)
    assert "have the class '20', which the own photos do not; rename it or leave it out" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.once
def test_a_run_killed_at_once_goes_on_from_its_last_save(photos, tmp_path, capsys):
    """kill -9 as soon as a checkpoint is there."""
    run = tmp_path / "run"
    train = ["train", "--data", str(photos), *TINY, "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "carlib", *train, "--set", "phases.all.epochs=2000"],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        inside = "0*-p1e[1-9]*[0-9]/manifest.json"  # not one that is being written
        while not list((run / "chain").glob(inside)) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = find_checkpoint(run / "chain")
    assert before.position.epoch >= 1
    assert main([*train, "--set", "phases.all.epochs=2000", "--stop-after", "1"]) == 75
    assert f"resuming from {before.name}" in capsys.readouterr().err
    rows = read_table(run / "sessions.csv")
    assert [row["why"] for row in rows] == ["killed", "stop-after"]


@pytest.mark.once
def test_the_demo(tmp_path, capsys):
    """The whole job: drawn photos, a cut, a resume, predictions, over 0.8 on the test photos."""
    done = carlib("demo", "--out", tmp_path / "demo", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["accuracy"] > 0.8
    line = refused(capsys, 2, "demo", "--out", tmp_path / "demo")
    assert "holds a finished demo; remove it, or choose another --out" in line
    run = tmp_path / "demo/run"
    assert [row["why"] for row in read_table(run / "sessions.csv")] == ["stop-after", "done"]
    assert (tmp_path / "demo/submission.csv").is_file()
    assert (run / "report.html").stat().st_size > 100_000
