"""``carlib kaggle``: exit codes, one line for a failure, JSON, and what needs no client."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_kaggle import Fault, LocalKaggle, wire
from pretend import NOTEBOOK, Pretend, pretend_kaggle, write_notebook

import carlib
from carlib.cli import main
from carlib.kaggle import client as room
from carlib.kaggle import package
from carlib.kaggle.metadata import Kernel

pytestmark = pytest.mark.once

COUNT = itertools.count(1)
WHEEL = f"carlib-{carlib.__version__}-py3-none-any.whl"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKaggle]:
    with pretend_kaggle(tmp_path_factory.mktemp("kaggle")) as kaggle:
        yield kaggle


@pytest.fixture
def kaggle(server: LocalKaggle, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKaggle]:
    init = room.Client.__init__
    monkeypatch.setattr(
        room.Client,
        "__init__",
        lambda self, **given: init(self, tries=2, pause=0.01, **given),
    )
    server.calls.clear()
    yield server
    server.faults.clear()
    server.runner = lambda run: None


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: its exit code, and what it printed."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        code = main(["kaggle", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Return the one line that a command ends with."""

    def refused(code: int, *arguments: Any) -> str:
        ended, out, err = run(*arguments)
        assert (ended, out) == (code, "")
        (line,) = err.splitlines()
        assert line.startswith("carlib: ")
        return line

    return refused


@pytest.fixture
def name() -> str:
    return f"alice/command-{next(COUNT)}"


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / "push"
    made.mkdir()
    write_kernel(made, name)
    (made / "train.ipynb").write_text(json.dumps(NOTEBOOK))
    return made


def write_kernel(folder: Path, name: str, **more: Any) -> None:
    title = name.partition("/")[2].replace("-", " ")
    Kernel(name, title, "train.ipynb", "none", **more).write(folder)


def test_push_status_pull(
    kaggle: LocalKaggle, run: Run, folder: Path, name: str, tmp_path: Path
) -> None:
    kaggle.runner = Pretend("done")
    code, out, _ = run("push", "--folder", folder, "--timeout", "1h")
    assert (code, out) == (0, f"pushed {name} version 1: http://localhost/code/{name}\n")
    assert kaggle.wait(name).request["sessionTimeoutSeconds"] == 3600
    assert run("status", name)[:2] == (0, "COMPLETE\n")
    code, out, _ = run("pull", name, "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith(f"{tmp_path / 'out'}: ")
    assert out.endswith(" files, each as the session left it\n")
    code, out, _ = run("pull", name, "--out", tmp_path / "out", "--version", "1", "--json")
    said = json.loads(out)
    assert (code, said["done"], said["why"], said["unproven"]) == (0, True, "done", [])
    assert said["checkpoints"] == ["000001-p0e1s0"]


def test_a_killed_sessions_output_is_called_what_it_is(
    kaggle: LocalKaggle, run: Run, folder: Path, name: str, tmp_path: Path
) -> None:
    kaggle.runner = Pretend("killed")
    code, out, _ = run("push", "--folder", folder, "--json")
    assert (code, json.loads(out)["version"]) == (0, 1)
    kaggle.wait(name)
    code, out, _ = run("status", name, "--json")
    assert json.loads(out) == {"status": "CANCEL_ACKNOWLEDGED", "message": ""}
    code, out, _ = run("pull", name, "--out", tmp_path / "out")
    assert code == 0
    assert "1 checkpoints are whole, " in out


def test_sources_that_are_not_attached_make_a_failed_push(
    kaggle: LocalKaggle, run: Run, folder: Path, name: str
) -> None:
    write_kernel(folder, name, datasets=("alice/nothing",))
    code, out, _ = run("push", "--folder", folder)
    assert code == 1
    (line,) = out.splitlines()
    assert "but Kaggle did not attach dataset alice/nothing: mend the sources" in line
    code, out, _ = run("push", "--folder", folder, "--json")
    assert (code, json.loads(out)["invalid"]) == (1, {"dataset": ["alice/nothing"]})


def test_submit(kaggle: LocalKaggle, run: Run, tmp_path: Path) -> None:
    kaggle.add_competition("cars", tmp_path)
    (tmp_path / "s.csv").write_text("Id,Category\n")
    given = ("submit", "cars", "--file", tmp_path / "s.csv", "--message", "first")
    code, out, _ = run(*given)
    ref = kaggle.submissions[-1]["ref"]
    assert (code, out) == (0, f"Successfully submitted to cars ({ref})\n")
    code, out, _ = run(*given, "--json")
    assert (code, json.loads(out)["ref"]) == (0, ref + 1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages without pip: one small wheel."""

    def make(source: Any, others: Any, folder: Path) -> list[Path]:
        with zipfile.ZipFile(folder / WHEEL, "w") as archive:
            archive.writestr("carlib/__init__.py", "x = 1\n")
        return [folder / WHEEL]

    monkeypatch.setattr(package, "make_wheels", make)


@pytest.mark.usefixtures("quick")
def test_package_and_upload(kaggle: LocalKaggle, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "package"
    code, shown, _ = run("package", "--out", out)
    assert code == 0
    assert "; --upload sends it to Kaggle" in shown
    assert not kaggle.calls
    for version in (1, 2):
        code, shown, _ = run("package", "--out", out, "--upload", "--poll", "0.01s", "--json")
        said = json.loads(shown)
        assert (code, said["id"], said["version"]) == (0, "alice/carlib-package", version)
        assert said["files"] == [WHEEL, "dataset-metadata.json"]
    code, shown, _ = run(
        *("package", "--out", out, "--upload", "--poll", "0.01s", "--id", "alice/others"),
        *("--notes", "mine", "--public", "--no-lite"),
    )
    assert (code, shown.endswith("ready at Kaggle as version 1\n")) == (0, True)
    assert not kaggle.datasets["alice/others"].private


@pytest.mark.usefixtures("quick", "kaggle")
def test_a_package_that_cannot_be_built_leaves_no_client_behind(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = room.Client._start
    monkeypatch.setattr(
        room.Client, "_start", lambda self: started.append(start(self)) or started[-1]
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    line = refused(2, "package", "--out", tmp_path / "full", "--upload")
    assert "holds other things than a package" in line
    assert [child.returncode is None for child in started] == [False]


@pytest.fixture
def chain(tmp_path: Path, name: str) -> tuple[Any, ...]:
    """A chain's command, its sessions on no accelerator."""
    notebook = write_notebook(tmp_path)
    return (
        *("chain", "--out", tmp_path / "out", "--kernel", name, "--notebook", notebook),
        *("--package", "none", "--accelerator", "none", "--cancelled", "go-on", "--poll", "0.02s"),
    )


def test_a_chain_and_its_exit_codes(
    kaggle: LocalKaggle, run: Run, chain: tuple[Any, ...], tmp_path: Path
) -> None:
    kaggle.runner = pretend = Pretend("clock", "crash", "done")
    settings = ["seed=1", "phases.*.epochs=2"]
    given = (*chain, "--recipe", "tiny-check", "--set", *settings, "--parameter", "DATA=cars")
    code, out, _ = run(*given, "--sessions", "1", "--json")
    assert (code, json.loads(out)["verdict"]) == (1, "enough")
    code, out, err = run(*given)
    assert code == 1
    (line,) = out.splitlines()
    assert line.startswith("failed: session 2: RuntimeError: RunError: boom; it got to ")
    assert "--again" in line
    assert "session-2.log" in err
    assert run(*given)[:2] == (1, out)
    code, out, _ = run(*given, "--again")
    assert code == 0
    assert out.startswith("done: done after 1.50 h in all, validation accuracy 0.7500; see ")
    code, out, _ = run(*given, "--json")
    assert (code, json.loads(out)["output"]) == (0, str(tmp_path / "out/output"))
    assert (tmp_path / "out/output/kernel.log").is_file()
    for each in pretend.given:
        given = each["RECIPE"], each["SETTINGS"], each["DATA"]
        assert given == ("tiny-check", settings, "cars")


@pytest.mark.parametrize("option", ["--parameter", "--set", "--recipe"])
def test_a_secret_in_a_parameter_is_neither_shown_nor_kept(
    kaggle: LocalKaggle,
    refused: Callable[..., str],
    chain: tuple[Any, ...],
    tmp_path: Path,
    option: str,
) -> None:
    token = "gh" + "p_" + 18 * "a7"
    for value in (token, f"DATA={token}", f"{token}=1"):
        line = refused(1, *chain, option, value)
        assert f"with {option}" in line
        assert token not in line
    assert not (tmp_path / "out").exists()
    assert not kaggle.calls


def test_out_of_quota_can_be_gone_on_from(
    kaggle: LocalKaggle, run: Run, chain: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"gpuQuota": {"timeUsed": "108000s", "totalTimeAllowed": "108000s"}}
    monkeypatch.setitem(wire.CALLS, "GetAcceleratorQuotaStatistics", lambda platform, request: body)
    code, out, _ = run(*chain, "--accelerator", "T4")
    assert code == 75
    assert out.startswith("out-of-quota: out of GPU quota until next week (30.0 of 30.0 h used)")


def test_a_chain_is_driven_by_one_at_a_time(
    kaggle: LocalKaggle, refused: Callable[..., str], chain: tuple[Any, ...], tmp_path: Path
) -> None:
    from carlib.files import only_one

    with only_one(tmp_path / "out"):
        assert "another process is at work" in refused(1, *chain)
    assert not kaggle.calls
    assert not (tmp_path / "out").exists()


def test_a_kaggle_that_stays_away_is_one_line_more_than_the_warnings(
    kaggle: LocalKaggle, run: Run, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    kaggle.faults.append(Fault("GetKernelSessionStatus", "500", times=99))
    code, out, err = run("status", name)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "tried 2 times: look at https://www.kaggle.com" in err
    assert len(caplog.records) == 1


RECIPE = Path(__file__).parents[1] / "docs/recipe.toml"
WRONG = [
    (("status", "cars"), "OWNER/SLUG"),
    (("pull", "alice/cars", "--out", "."), "needs a folder of its own"),
    (("push", "--timeout", "soon"), "a length of time is like"),
    (("submit", "cars", "--message", "m"), "either --file or --kernel"),
    (("submit", "cars", "--message", "m", "--kernel", "alice/cars"), "must be 1 or more"),
    (("package", "--out", "p", "--poll", "0s"), "--poll must be above 0 seconds"),
    (("package", "--out", "p", "--id", "cars"), "cars"),
    (("chain", "--out", "o", "--kernel", "cars"), "OWNER/SLUG"),
    (("chain", "--out", "o", "--kernel", "alice/cars1", "--poll", "0s"), "--poll must be above 0"),
    (("chain", "--out", "o", "--kernel", "alice/cars1", "--relay", "selfish"), "'self'"),
    (
        ("chain", "--out", "o", "--kernel", "alice/cars1", "--limit", "2h", "--timeout", "1h"),
        "below",
    ),
    (("chain", "--out", "o", "--kernel", "alice/cars1", "--parameter", "DATA"), "NAME=VALUE"),
    (("chain", "--out", "o", "--kernel", "alice/cars1", "--recipe", "lite0-quik"), "lite0-quick"),
    (("chain", "--out", "o", "--kernel", "alice/cars1", "--sessions", "0"), "at least 1"),
    (
        (
            *("chain", "--out", "o", "--kernel", "alice/cars1"),
            *("--recipe", "tiny-check", "--set", "sed=1"),
        ),
        "did you mean 'seed'",
    ),
    (
        ("chain", "--out", "o", "--kernel", "alice/cars1", "--recipe", str(RECIPE)),
        "put it into the package",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_usage_is_one_line_and_changes_nothing(
    kaggle: LocalKaggle,
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(2, *arguments)
    assert not kaggle.calls
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [(), ("pull", "alice/cars"), ("pull", "alice/cars", "--out", ""), ("fly",)]
)
def test_what_argparse_refuses(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as met:
        run(*arguments)
    assert met.value.code == 2


NEEDING = [
    ("push",),
    ("status", "alice/cars"),
    ("pull", "alice/cars", "--out", "o"),
    ("submit", "cars", "--message", "m", "--file", "f"),
    ("package", "--out", "p", "--upload"),
    ("chain", "--out", "o", "--kernel", "alice/cars1"),
]


@pytest.mark.parametrize(
    ("version", "said"), [("", "none"), ("2.0.2", "2.0.2"), ("2.1rc1", "2.1rc1"), ("2", "2")]
)
@pytest.mark.parametrize("arguments", NEEDING, ids=lambda arguments: arguments[0])
def test_without_a_client_it_says_what_to_install(
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    version: str,
    said: str,
) -> None:
    def find(name: str) -> str:
        if not version:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", find)
    monkeypatch.chdir(tmp_path)
    line = refused(2, *arguments)
    assert f"received {said}: pip install '.[kaggle]'" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["2.2", "2.2.5", "2.3b1", "3.0.0"])
def test_a_client_of_any_later_version_is_good(
    kaggle: LocalKaggle, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert "does not show kernel" in refused(1, "status", "alice/nothing")


def test_without_credentials_it_says_where_to_get_them(
    kaggle: LocalKaggle,
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for each in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(each)
    for each in ("HOME", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(each, str(tmp_path))
    assert "make a token at https://www.kaggle.com/settings/api" in refused(1, "status", "a/carsy")


@pytest.mark.parametrize("relay", ["alternate", "self", "dataset"])
def test_a_dry_run_needs_nothing_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: str
) -> None:
    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    monkeypatch.setattr(room.Client, "_start", lambda self: pytest.fail("asked"))
    write_notebook(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = ("chain", "--out", "o", "--kernel", "alice/carsy", "--notebook", "train.ipynb")
    code, out, err = run(*given, "--relay", relay, "--dry-run", "--dataset", "alice/photos")
    assert code == 0
    assert "pushed" not in err
    lines = out.splitlines()
    assert all(line.startswith(("would call: ", "    ")) for line in lines)
    assert sum(line.startswith("would call: push ") for line in lines) == 2
    assert any("alice/carlib-package" in line for line in lines)
    assert any("alice/photos" in line for line in lines)
    code, out, _ = run(*given, "--relay", relay, "--dry-run", "--json")
    assert (code, list(json.loads(out))) == (0, ["calls"])
    assert [path.name for path in tmp_path.iterdir()] == ["train.ipynb"]


def test_the_notebook_is_found_beside_carlib(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("chain", "--out", "o", "--kernel", "alice/carsy", "--dry-run")
    assert code == 0
    assert "01-train.ipynb" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_wrong_parameters_is_one_line(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("chain", "--out", "o", "--kernel", "alice/carsy", "--dry-run")
    assert "did you mean 'DATA'" in refused(2, *given, "--parameter", "DATAA=cars")
    assert "there is no notebook x" in refused(1, *given, "--notebook", "x")
