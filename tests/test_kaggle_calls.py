"""Pushing, uploading, pulling and submitting, by the real client against a local Kaggle."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_kaggle import Fault, LocalKaggle, wire
from pretend import NOTEBOOK, Pretend, leave, pretend_kaggle

from carlib.errors import CarlibError, DataError, RunError, UsageError
from carlib.files import only_one
from carlib.kaggle import datasets as datasets_room
from carlib.kaggle.client import Answer, Client, KaggleError
from carlib.kaggle.datasets import await_dataset, dataset_version, upload_dataset
from carlib.kaggle.kernels import (
    Quota,
    kernel_status,
    newest_version,
    push_kernel,
    read_quota,
)
from carlib.kaggle.metadata import Dataset, Kernel
from carlib.kaggle.pull import LOG, Pulled, pull_output
from carlib.kaggle.submit import submit

pytestmark = pytest.mark.once

TOKEN = "gh" + "p_" + 18 * "a7"  # in halves, so that this file holds none
COUNT = itertools.count(1)
LOST = ("500", "reset", "error-page")
CHECKPOINT = "000001-p0e1s0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKaggle]:
    """One local Kaggle for all: each test has things of its own names."""
    with pretend_kaggle(tmp_path_factory.mktemp("kaggle")) as kaggle:
        yield kaggle


@pytest.fixture(scope="module")
def client(server: LocalKaggle) -> Iterator[Client]:
    with Client(tries=4, pause=0.003, patience=1.5) as client:
        yield client


@pytest.fixture
def kaggle(server: LocalKaggle) -> Iterator[LocalKaggle]:
    server.calls.clear()
    yield server
    for fault in server.faults:
        fault.release()
    server.faults.clear()
    server.runner = lambda run: None
    server.let_go()


@pytest.fixture
def name() -> str:
    return f"alice/thing-{next(COUNT)}"


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    """A kernel's folder, ready to be pushed."""
    made = tmp_path / "push"
    made.mkdir()
    title = name.partition("/")[2].replace("-", " ")
    Kernel(name, title, "train.ipynb", "none").write(made)
    (made / "train.ipynb").write_text(json.dumps(NOTEBOOK))
    return made


@pytest.fixture
def stuff(tmp_path: Path, name: str) -> Path:
    """A dataset's folder: a file, an empty one, and a folder of files."""
    made = tmp_path / "data"
    (made / "run/chain").mkdir(parents=True)
    (made / "a.txt").write_text("one")
    (made / "run/chain/LAST").write_text("x")
    (made / "run/b.bin").write_bytes(bytes(range(256)))
    Dataset(name, name.partition("/")[2].replace("-", " ")).write(made)
    return made


def calls(kaggle: LocalKaggle, *rpcs: str) -> int:
    return sum(rpc in rpcs for rpc, _ in kaggle.calls)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Scripted:
    """Answers of one call, one after the other; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def read(self, do: str, **arguments: Any) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_push_and_the_same_again_on_purpose(
    kaggle: LocalKaggle, client: Client, folder: Path, name: str
) -> None:
    assert newest_version(client, name) == 0
    for version in (1, 2):
        pushed = push_kernel(client, folder, timeout=60.7)
        assert (pushed.kernel, pushed.version, pushed.complaint()) == (name, version, "")
        assert pushed.url.endswith(name)
        assert newest_version(client, name) == version
        kaggle.wait(name)
        assert kernel_status(client, name, version) == ("COMPLETE", "")
    assert kaggle.kernels[name].versions[-1].request["sessionTimeoutSeconds"] == 60


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("before", [0, 1])
def test_a_push_whose_answer_is_lost_is_one_push(
    kaggle: LocalKaggle,
    client: Client,
    folder: Path,
    name: str,
    kind: str,
    after: bool,
    before: int,
) -> None:
    for _ in range(before):
        push_kernel(client, folder)
    kaggle.faults.append(Fault("SaveKernel", kind, after=after))
    assert push_kernel(client, folder).version == before + 1
    assert len(kaggle.kernels[name].versions) == before + 1


def spoiled(folder: Path, key: str, value: Any) -> None:
    path = folder / "kernel-metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def leaky(folder: Path) -> None:
    path = folder / "train.ipynb"
    path.write_text(path.read_text().replace("DATA = ''", f"DATA = '{TOKEN}'"))


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda folder: spoiled(folder, "dataset_source", []), UsageError, "dataset_source"),
        (lambda folder: spoiled(folder, "title", "another title"), UsageError, "title"),
        (lambda folder: (folder / "train.ipynb").unlink(), CarlibError, "train.ipynb"),
        (leaky, CarlibError, "secrets would leave"),
    ],
)
def test_a_push_is_checked_before_anything_is_sent(
    kaggle: LocalKaggle,
    client: Client,
    folder: Path,
    spoil: Callable[[Path], None],
    kind: type[CarlibError],
    message: str,
) -> None:
    spoil(folder)
    with pytest.raises(kind, match=message) as met:
        push_kernel(client, folder)
    assert TOKEN not in str(met.value)
    assert not kaggle.calls


def test_sources_that_are_not_attached_are_told(client: Client, folder: Path, name: str) -> None:
    title = name.partition("/")[2].replace("-", " ")
    sources = {"datasets": ("alice/nothing",), "kernels": ("alice/no-kernel", name)}
    Kernel(name, title, "train.ipynb", "none", **sources).write(folder)
    pushed = push_kernel(client, folder)
    assert pushed.version == 1
    assert pushed.invalid == {"dataset": ["alice/nothing"], "kernel": ["alice/no-kernel", name]}
    assert pushed.complaint() == (
        f"Kaggle did not attach dataset alice/nothing; Kaggle did not attach kernel "
        f"alice/no-kernel, {name}"
    )


def test_a_push_that_kaggle_refuses_is_told_in_one_line(client: Client, folder: Path) -> None:
    spoiled(
        folder, "id", "bob/" + json.loads((folder / "kernel-metadata.json").read_text())["id"][6:]
    )
    with pytest.raises(KaggleError, match=r"Kaggle refused bob/.*permission") as met:
        push_kernel(client, folder)
    assert met.value.kind == "refused"


def answers(patch: pytest.MonkeyPatch, rpc: str, body: Any) -> None:
    """Let the local Kaggle answer a call with a body."""
    patch.setitem(wire.CALLS, rpc, lambda platform, request: body)


def test_an_answer_without_numbers_is_taken_as_it_is(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "SaveKernel", {"error": ""})
    pushed = push_kernel(client, folder)
    assert (pushed.version, pushed.url) == (None, "")
    answers(monkeypatch, "SaveKernel", {"error": "too\nmany"})
    with pytest.raises(KaggleError, match=r"too many$"):
        push_kernel(client, folder)


@pytest.mark.parametrize("body", [{}, {"metadata": {"currentVersionNumber": 1}}])
def test_half_an_answer_does_not_mean_that_there_is_no_kernel(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch, body: Answer
) -> None:
    answers(monkeypatch, "GetKernel", body)
    with pytest.raises(KaggleError, match=r"half an answer.*tried 4 times"):
        newest_version(client, name)


def test_the_status_of_a_kernel(
    kaggle: LocalKaggle, client: Client, folder: Path, name: str
) -> None:
    def crash(run: Any) -> None:
        raise RuntimeError("boom")

    kaggle.hold()
    kaggle.runner = crash
    push_kernel(client, folder)
    assert kernel_status(client, name) == ("QUEUED", "")
    kaggle.let_go()
    kaggle.wait(name)
    assert kernel_status(client, name) == ("ERROR", "boom")
    with pytest.raises(KaggleError, match="kaggle status: ") as met:
        kernel_status(client, name, 7)
    assert met.value.kind == "missing"
    with pytest.raises(KaggleError, match=r"does not show kernel .*not there") as met:
        kernel_status(client, "alice/nothing")
    assert met.value.kind == "refused"


@pytest.mark.parametrize("kernel", ["cars", "", "alice/cars/3", "https://www.kaggle.com/code/a/b"])
def test_what_names_no_kernel_is_not_asked_about(
    kaggle: LocalKaggle, client: Client, tmp_path: Path, kernel: str
) -> None:
    for call in (
        lambda: kernel_status(client, kernel),
        lambda: pull_output(client, kernel, tmp_path / "out"),
    ):
        with pytest.raises(UsageError, match="OWNER/SLUG"):
            call()
    assert not kaggle.calls


def test_an_error_in_the_body_of_an_answer_is_an_error(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "GetKernelSessionStatus", {"code": 403, "message": "not yours"})
    with pytest.raises(KaggleError, match=r"not yours$") as met:
        kernel_status(client, name)
    assert met.value.kind == "refused"


WEEK = {"timeUsed": "90s", "totalTimeAllowed": "108000s"}


@pytest.mark.parametrize(
    ("body", "quota"),
    [
        ({"gpuQuota": WEEK}, Quota(90.0, 108000.0)),
        # What is nothing is left out on the wire.
        ({"gpuQuota": {"totalTimeAllowed": "108000s"}}, Quota(0.0, 108000.0)),
        ({"gpuQuota": {"timeUsed": "90s"}}, None),
        ({"tpuQuota": WEEK}, None),
        ({}, None),
        (
            {"gpuQuota": WEEK, "quotaRefreshTime": "2026-11-28T00:00:00.000Z"},
            Quota(90.0, 108000.0, "2026-11-28T00:00:00"),
        ),
    ],
)
def test_the_quota_as_kaggle_tells_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, body: Answer, quota: Quota | None
) -> None:
    answers(monkeypatch, "GetAcceleratorQuotaStatistics", body)
    assert read_quota(client, "gpu") == quota


@pytest.mark.parametrize(
    ("refresh", "said"),
    [
        ("2026-11-28T00:00:00", "2026-11-28 00:00 UTC"),
        ("2026-11-28T02:00:00+02:00", "2026-11-28 00:00 UTC"),
        ("", "next week"),
    ],
)
def test_until_when_the_quota_is_used_up(refresh: str, said: str) -> None:
    assert Quota(2.0, 1.0, refresh).until() == said


def test_a_dataset_is_created_and_gets_versions(
    kaggle: LocalKaggle, client: Client, stuff: Path, name: str
) -> None:
    assert dataset_version(client, name) is None
    for version in (1, 2):
        (stuff / "a.txt").write_text(f"version {version}")
        assert upload_dataset(client, stuff, "new", poll=0.01) == version
        assert dataset_version(client, name) == ("ready", version)
        there = kaggle.datasets[name].versions[-1]
        wanted = {each: text for each, text in files_in(stuff).items() if "metadata" not in each}
        assert files_in(there.folder) == wanted
    assert kaggle.datasets[name].private
    # One that may have come through before is not sent again.
    kaggle.calls.clear()
    assert upload_dataset(client, stuff, "new", expected=2, poll=0.01) == 2
    assert not calls(kaggle, "CreateDatasetVersion", "StartBlobUpload")


@pytest.mark.parametrize(
    ("rpc", "kind", "after"),
    [
        *itertools.product(("CreateDataset", "CreateDatasetVersion"), ("reset",), (False, True)),
        *itertools.product(("CreateDataset",), ("500", "error-page"), (True,)),
    ],
)
def test_an_upload_whose_answer_is_lost_is_one_upload(
    kaggle: LocalKaggle, client: Client, stuff: Path, name: str, rpc: str, kind: str, after: bool
) -> None:
    versions = 1 + (rpc == "CreateDatasetVersion")
    for _ in range(versions - 1):
        upload_dataset(client, stuff, "first", poll=0.01)
    fault = Fault(rpc, kind, after=after)
    kaggle.faults.append(fault)
    assert upload_dataset(client, stuff, "new", poll=0.01) == versions
    assert fault.met
    assert len(kaggle.datasets[name].versions) == versions


@pytest.mark.parametrize(
    ("path", "kind"),
    [*(("a.txt", kind) for kind in ("429", "500", "503", "error-page")), ("run.zip", "500")],
)
def test_a_file_that_did_not_arrive_is_not_left_out(
    kaggle: LocalKaggle, client: Client, stuff: Path, name: str, kind: str, path: str
) -> None:
    fault = Fault("PUT", kind, path=path)
    kaggle.faults.append(fault)
    assert upload_dataset(client, stuff, "new", poll=0.01) == 1
    assert fault.met
    assert {"a.txt", "run/b.bin"} <= set(files_in(kaggle.datasets[name].versions[0].folder))


def test_an_upload_that_hangs_leaves_no_archive_behind(
    kaggle: LocalKaggle, client: Client, stuff: Path
) -> None:
    kaggle.faults.append(Fault("PUT", "timeout", path="run.zip"))
    assert upload_dataset(client, stuff, "new", poll=0.01) == 1
    left = [path.name for path in (kaggle.root / "tmp").iterdir()]
    assert all(name.startswith(".kaggle-uploads") for name in left)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "run/.env").write_text(f"KEY={TOKEN}"), "secrets would leave"),
        (lambda folder: (folder / "kaggle.json").write_text("{}"), r"secrets.*kaggle\.json"),
        (lambda folder: (folder / "dataset-metadata.json").unlink(), "dataset-metadata"),
        (lambda folder: (folder / "dataset-metadata.json").write_text("{}"), "dataset-metadata"),
    ],
)
def test_an_upload_is_checked_before_anything_is_sent(
    kaggle: LocalKaggle, client: Client, stuff: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(stuff)
    with pytest.raises(CarlibError, match=message) as met:
        upload_dataset(client, stuff, "new")
    assert TOKEN not in str(met.value)
    assert not kaggle.calls


def test_an_uploads_notes_are_looked_into(
    kaggle: LocalKaggle, client: Client, stuff: Path, tmp_path: Path
) -> None:
    with pytest.raises(CarlibError, match=r"with the notes, .*: a GitHub token") as met:
        upload_dataset(client, stuff, f"by {TOKEN}")
    assert TOKEN not in str(met.value)
    far = tmp_path / "far"  # the client follows a link
    far.mkdir()
    (far / "a.txt").write_text(TOKEN)
    (stuff / "link").symlink_to(far)
    with pytest.raises(CarlibError, match=r"link/a\.txt: a GitHub token"):
        upload_dataset(client, stuff, "new")
    assert not kaggle.calls


def test_an_upload_that_kaggle_refuses_is_told(client: Client, stuff: Path) -> None:
    Dataset("bob/some-thing", "some thing").write(stuff)
    with pytest.raises(KaggleError, match=r"Kaggle refused dataset bob/some-thing: .*permission"):
        upload_dataset(client, stuff, "new", poll=0.01)


def at(status: str, version: int) -> Answer:
    return {"status": status, "version": version}


@pytest.mark.parametrize(
    ("looks", "waits"),
    [
        ([at("ready", 2)], 1),
        # "ready" of the version before, with the new one's number.
        ([at("ready", 1), at("ready", 2), at("reprocessing", 2), at("ready", 2)], 4),
        ([at("ready", 3)], 1),
        # Of the version before too, which had failed.
        ([at("failed", 1), at("blobs_received", 2), at("ready", 2)], 3),
    ],
)
def test_a_dataset_is_waited_for_until_it_is_ready(looks: list[Answer], waits: int) -> None:
    naps: list[float] = []
    await_dataset(Scripted(*looks), "alice/photos", 2, poll=3.0, wait=naps.append)
    assert naps == [3.0] * waits


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ([at("failed", 2)], "alice/photos is failed at Kaggle; look at https"),
        ([at("deleted", 1)], "is deleted at Kaggle"),
        ([at("ready", 1)], "not ready at version 2 after 60 minutes: ready at version 1; look"),
    ],
)
def test_a_dataset_that_does_not_get_ready_is_told(looks: list[Answer], message: str) -> None:
    with pytest.raises(KaggleError, match=message):
        await_dataset(Scripted(*looks), "alice/photos", 2, poll=60.0, wait=lambda seconds: None)


def test_a_dataset_that_is_not_there_is_told(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets_room, "PATIENCE", 0.0)
    with pytest.raises(KaggleError, match="after 0 minutes: not there"):
        await_dataset(client, name, 1)


ODD = {
    "run/a name with spaces.txt": b"spaces",
    "run/[brackets] (1) {x} $^.+?.txt": b"brackets",
    "run/\u00e9t\u00e9 \u96ea.txt": b"unicode",
    "run/100% & #.txt": b"signs",
    "run/empty.txt": b"",
    "run/deep/er/and/deeper/file.bin": bytes(range(256)) * 300,
    "run/page.txt": b"<html> of its own",
    "run/page.html": b"<!DOCTYPE html><html>mine</html>",
    "submission.csv": b"Id,Category\n",
}
MANY = {f"run/many/{number:02}.bin": bytes([number]) for number in range(45)}


class Leaves:
    """A session that leaves files, and a handover that lists those under its folder."""

    def __init__(self, files: dict[str, bytes], listed: bool = True, crash: bool = False) -> None:
        self.files, self.listed, self.crash = files, listed, crash

    def __call__(self, run: Any) -> None:
        for each, content in self.files.items():
            path = Path(run.working) / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if self.files:
            run.say("\x1b[31mepoch 1\x1b[0m\nepoch 2\n")
        if self.listed:
            leave(Path(run.working), "tag", CHECKPOINT, done=True)
        if self.crash:
            raise RuntimeError("boom")


@pytest.fixture
def left(kaggle: LocalKaggle, client: Client, folder: Path, name: str) -> Callable[[Any], None]:
    """Push a session that ends as a runner does."""

    def run(runner: Any) -> None:
        kaggle.runner = runner
        push_kernel(client, folder)
        kaggle.wait(name)

    return run


@pytest.fixture
def pull(client: Client, name: str, tmp_path: Path) -> Callable[..., Pulled]:
    def pull(version: int | None = None, **options: Any) -> Pulled:
        return pull_output(client, name, tmp_path / "out", version, **options)

    return pull


def test_all_that_a_session_left_is_fetched(
    kaggle: LocalKaggle,
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    tmp_path: Path,
    name: str,
) -> None:
    left(Leaves(ODD | MANY))
    pulled = pull()
    assert pulled.handover is not None
    assert (pulled.handover.done, pulled.unproven) == (True, ())
    found = files_in(tmp_path / "out")
    assert found.pop(LOG) == b"\x1b[31mepoch 1\x1b[0m\nepoch 2\n"
    assert "epoch 2" in kaggle.kernels[name].versions[0].log
    del found["handover.json"]
    assert found == ODD | MANY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "push"]


def test_only_what_has_changed_is_fetched_again(
    kaggle: LocalKaggle, left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(MANY))
    pull()
    (tmp_path / "out/run/many/07.bin").write_bytes(b"!")
    (tmp_path / "out/run/many/08.bin").unlink()
    kaggle.calls.clear()
    pull()
    assert calls(kaggle, "GET") == 3  # the handover, and these two
    left(Leaves(MANY | {"run/many/09.bin": b"new"}))
    kaggle.calls.clear()
    pull()
    assert calls(kaggle, "GET") == 2
    assert (tmp_path / "out/run/many/09.bin").read_bytes() == b"new"
    pull(1)
    assert (tmp_path / "out/run/many/09.bin").read_bytes() == bytes([9])


@pytest.mark.parametrize("file", ["handover.json", "submission.csv", "file.bin"])
@pytest.mark.parametrize("kind", ["500", "error-page", "error-page-502"])
def test_what_comes_damaged_is_fetched_again(
    kaggle: LocalKaggle,
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    tmp_path: Path,
    kind: str,
    file: str,
) -> None:
    left(Leaves(ODD))
    fault = Fault("GET", kind, path=file, times=2)
    kaggle.faults.append(fault)
    pull()
    assert fault.met == 2
    assert ODD.items() <= files_in(tmp_path / "out").items()


def test_a_download_that_breaks_off_is_gone_on_with(
    kaggle: LocalKaggle, left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(ODD))
    fault = Fault("GET", "truncated", path="file.bin")
    kaggle.faults.append(fault)
    pull()
    assert fault.met
    assert ODD.items() <= files_in(tmp_path / "out").items()


def test_a_pull_that_fails_leaves_the_one_before(
    kaggle: LocalKaggle, left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(ODD))
    pull()
    before = files_in(tmp_path / "out")
    left(Leaves(ODD | {"run/empty.txt": b"not any more"}))
    for file, message in (
        ("empty.txt", r"1 files came damaged 4 times \(run/empty.txt \(size\)\)"),
        ("handover.json", "its handover.json came damaged 4 times"),
    ):
        kaggle.faults[:] = [Fault("GET", "error-page", path=file, times=99)]
        with pytest.raises(RunError, match=message):
            pull()
        assert files_in(tmp_path / "out") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "push"]


@pytest.mark.parametrize("leftover", ["new", "new.aside", "old"])
def test_a_pull_that_was_killed_is_in_nobodys_way(
    left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path, leftover: str
) -> None:
    left(Leaves(ODD))
    pull()
    (tmp_path / "out.aside" / leftover / "run").mkdir(parents=True)
    (tmp_path / "out.aside" / leftover / "run/half").write_text("half")
    pull()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "push"]
    assert "run/half" not in files_in(tmp_path / "out")


def test_folders_beside_the_output_are_their_owners(
    left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(ODD))
    for name in ("out.new", "out.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").write_text("precious")
    pull()
    for name in ("out.new", "out.old"):
        assert (tmp_path / name / "thesis").read_text() == "precious"


def test_what_a_killed_pull_has_put_aside_comes_back(
    kaggle: LocalKaggle, left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(ODD))
    pull()
    (tmp_path / "out.aside").mkdir()
    (tmp_path / "out").rename(tmp_path / "out.aside/old")
    kaggle.faults.append(Fault("GET", "500", times=99))
    with pytest.raises(KaggleError, match="tried 4 times"):
        pull()
    assert ODD.items() <= files_in(tmp_path / "out").items()


def test_what_was_changed_behind_the_handover_is_taken_when_asked_for(
    left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    """A later cell has changed one file and removed another."""

    def session(run: Any) -> None:
        Pretend("done")(run)
        (Path(run.working) / "run/report.html").write_text("later")
        (Path(run.working) / "run/chain/LAST").unlink()

    left(session)
    with pytest.raises(RunError, match=r"2 files came damaged 4 times .*--as-it-is"):
        pull()
    pulled = pull(as_it_is=True)
    assert pulled.unproven == ("run/chain/LAST", "run/report.html")
    assert (tmp_path / "out/run/report.html").read_text() == "later"
    assert list(pulled.checkpoints) == [CHECKPOINT]


def test_two_pulls_do_not_meet_in_one_folder(
    left: Callable[[Any], None], pull: Callable[..., Pulled], tmp_path: Path
) -> None:
    left(Leaves(ODD))
    with (
        only_one(tmp_path / "out.aside"),
        pytest.raises(CarlibError, match="another process is at work"),
    ):
        pull()


@pytest.mark.parametrize(("end", "whole"), [("killed", [CHECKPOINT]), ("damaged", [])])
def test_a_killed_sessions_files_count_by_their_own_digests(
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    tmp_path: Path,
    end: str,
    whole: list[str],
) -> None:
    left(Pretend(end))
    pulled = pull()
    assert pulled.handover is None
    assert list(pulled.checkpoints) == whole
    assert {"run/report.html", "strikes", "run/chain/LAST"} <= set(pulled.unproven)
    assert any(CHECKPOINT in path for path in pulled.unproven) == (not whole)
    found = files_in(tmp_path / "out")
    assert set(pulled.unproven) < set(found)
    assert "going on from nothing" in found[LOG].decode()


@pytest.mark.parametrize("file", ["manifest.json", "arrays.npz", "state.json"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_checkpoint_that_came_damaged_is_fetched_again(
    kaggle: LocalKaggle,
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    file: str,
    times: int,
) -> None:
    left(Pretend("killed"))
    fault = Fault("GET", "error-page", path=file, times=times)
    kaggle.faults.append(fault)
    assert list(pull().checkpoints) == [CHECKPOINT]
    assert fault.met == times


def test_a_page_that_comes_for_a_file_again_and_again_is_left_out(
    kaggle: LocalKaggle,
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    left(Leaves({"run/a.txt": b"a", "run/b.txt": b"b"}, listed=False, crash=True))
    kaggle.faults.append(Fault("GET", "error-page", path="a.txt", times=99))
    assert pull().unproven == ("run/b.txt",)
    assert set(files_in(tmp_path / "out")) == {"run/b.txt", LOG}
    assert "run/a.txt did not come, again and again: left out" in caplog.text


def test_a_name_that_leaves_the_folder_is_left_out(
    left: Callable[[Any], None],
    pull: Callable[..., Pulled],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left(Leaves({"run/a.txt": b"a"}, listed=False))
    listing = wire.CALLS["ListKernelSessionOutput"]

    def evil(platform: Any, request: Any) -> Any:
        said = listing(platform, request)
        (file,) = said["files"]
        for each in ("../evil.txt", str(tmp_path / "evil.txt"), "run/../../evil.txt"):
            said["files"].append({**file, "fileName": each})
        return said

    monkeypatch.setitem(wire.CALLS, "ListKernelSessionOutput", evil)
    assert pull().unproven == ("run/a.txt",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "push"]
    assert caplog.text.count("lies outside of its folder: left out") == 3


def test_what_is_not_there_yet_or_never_is_told(
    kaggle: LocalKaggle, client: Client, folder: Path, name: str, pull: Callable[..., Pulled]
) -> None:
    kaggle.hold()
    push_kernel(client, folder)
    with pytest.raises(RunError, match=f"{name} is QUEUED: its output is there once it has ended"):
        pull()
    kaggle.let_go()
    kaggle.wait(name)
    with pytest.raises(RunError, match=f"{name} left nothing: no files and no log"):
        pull()
    assert not (folder.parent / "out").exists()


def test_a_log_alone_is_something(left: Callable[[Any], None], pull: Callable[..., Pulled]) -> None:
    def crash(run: Any) -> None:
        raise RuntimeError("boom")

    left(crash)
    assert (pull().folder / LOG).read_text() == "RuntimeError: boom\n"


def test_a_pull_takes_the_place_of_nothing_else(
    kaggle: LocalKaggle, client: Client, name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    before = files_in(tmp_path)
    for out in (tmp_path / "file", tmp_path / "full"):
        with pytest.raises(UsageError, match=r"holds other things .* choose another --out"):
            pull_output(client, name, out)
    for out in (Path("."), Path(".."), Path("/")):
        with pytest.raises(UsageError, match="needs a folder of its own"):
            pull_output(client, name, out)
    assert files_in(tmp_path) == before
    assert not kaggle.calls


@pytest.fixture
def contest(kaggle: LocalKaggle, tmp_path: Path) -> dict[str, Any]:
    """A competition, and a submission to it."""
    slug = f"contest-{next(COUNT)}"
    kaggle.add_competition(slug, tmp_path)
    path = tmp_path / "sub.csv"
    path.write_text("Id,Category\n1,a\n")
    return {"competition": slug, "message": "first", "file": path}


def sent(kaggle: LocalKaggle, contest: dict[str, Any]) -> list[dict[str, Any]]:
    """The submissions to a competition."""
    slug = contest["competition"]
    return [each for each in kaggle.submissions if each["competition"] == slug]


def test_a_file_is_submitted_and_the_same_again_on_purpose(
    kaggle: LocalKaggle, client: Client, contest: dict[str, Any]
) -> None:
    for number in (1, 2):
        answer = submit(client, **contest)
        assert answer["message"] == f"Successfully submitted to {contest['competition']}"
        made = sent(kaggle, contest)
        assert (len(made), made[-1]["ref"]) == (number, answer["ref"])
        assert made[-1]["path"].read_text() == contest["file"].read_text()


def test_a_kernels_output_is_submitted(
    kaggle: LocalKaggle,
    client: Client,
    contest: dict[str, Any],
    left: Callable[[Any], None],
    name: str,
) -> None:
    left(Leaves(ODD))
    given = {**contest, "file": None, "kernel": name, "version": 1}
    submit(client, **given)
    (made,) = sent(kaggle, contest)
    assert (made["kernel"], made["version"], made["fileName"]) == (name, 1, "submission.csv")
    with pytest.raises(KaggleError, match=r"no output file other\.csv"):
        submit(client, **given, name="other.csv")
    with pytest.raises(KaggleError, match="no version 2"):
        submit(client, **{**given, "version": 2})


FILE_CALLS = ("StartSubmissionUpload", "CreateSubmission", "PUT")


@pytest.mark.parametrize(
    ("rpc", "kind", "after"),
    [
        *itertools.product(("CreateSubmission", "CreateCodeSubmission"), LOST, (False, True)),
        *itertools.product(("StartSubmissionUpload", "PUT", "ListSubmissions"), LOST, (False,)),
    ],
)
def test_a_submission_whose_answer_is_lost_is_one_submission(
    kaggle: LocalKaggle,
    client: Client,
    contest: dict[str, Any],
    left: Callable[[Any], None],
    name: str,
    rpc: str,
    kind: str,
    after: bool,
) -> None:
    given = dict(contest)
    if rpc == "CreateCodeSubmission":
        left(Leaves(ODD))
        given |= {"file": None, "kernel": name, "version": 1}
    fault = Fault(rpc, kind, after=after)
    kaggle.faults.append(fault)
    answer = submit(client, **given)
    assert fault.met
    assert [each["ref"] for each in sent(kaggle, contest)] == [answer["ref"]]


def test_without_submissions_left_nothing_is_sent(
    kaggle: LocalKaggle, client: Client, contest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for body in ({"numAllowedNow": 0}, {"numToday": 5}):  # nothing is left out on the wire
        answers(monkeypatch, "GetSubmissionLimits", body)
        with pytest.raises(KaggleError, match=r"no submission to contest-.* is left today"):
            submit(client, **contest)
    assert not calls(kaggle, *FILE_CALLS)


BAD: list[tuple[dict[str, Any], type[CarlibError], str]] = [
    ({"file": None}, UsageError, "either --file or --kernel"),
    ({"kernel": "alice/cars", "version": 1}, UsageError, "either --file or --kernel"),
    ({"file": None, "kernel": "alice/cars"}, UsageError, "must be 1 or more; received 0"),
    ({"file": None, "kernel": "cars", "version": 1}, UsageError, "OWNER/SLUG"),
    ({"message": " "}, UsageError, "a message is needed"),
    ({"file": Path("nowhere.csv")}, DataError, "no submission to send at nowhere.csv"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD)
def test_a_submission_is_checked_before_anything_is_sent(
    kaggle: LocalKaggle,
    client: Client,
    contest: dict[str, Any],
    change: dict[str, Any],
    kind: type[CarlibError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        submit(client, **{**contest, **change})
    assert not kaggle.calls


@pytest.mark.parametrize(
    ("file", "text", "message", "said"),
    [
        ("kaggle.json", "{}", "first", r"kaggle\.json: a Kaggle key file"),
        ("sub.csv", f"Id,Category\n1,{TOKEN}\n", "first", r"sub\.csv: a GitHub token"),
        ("sub.csv", "Id,Category\n1,a\n", TOKEN, r"with the message, .*: a GitHub token"),
    ],
)
def test_no_secret_is_submitted(
    kaggle: LocalKaggle,
    client: Client,
    contest: dict[str, Any],
    tmp_path: Path,
    file: str,
    text: str,
    message: str,
    said: str,
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(CarlibError, match=said) as met:
        submit(client, **{**contest, "file": tmp_path / file, "message": message})
    assert TOKEN not in str(met.value)
    assert not kaggle.calls


def test_a_competition_that_is_not_there_is_told(client: Client, contest: dict[str, Any]) -> None:
    with pytest.raises(KaggleError, match=re.escape("kaggle limits: Competition no was not found")):
        submit(client, **{**contest, "competition": "no"})
