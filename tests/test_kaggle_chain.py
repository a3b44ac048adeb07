"""The chain driver against a local Kaggle, by the real client: every end, fault and kill."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_kaggle import Fault, LocalKaggle
from pretend import Pretend, pretend_kaggle, write_notebook

from carlib.errors import RunError, UsageError
from carlib.kaggle.chain import Ending, Plan, Rehearsal, Turn, drive_chain, open_diary
from carlib.kaggle.client import Answer, Client, KaggleError

pytestmark = pytest.mark.once

FIRST, SECOND, THIRD = "000001-p0e1s0", "000002-p0e2s0", "000003-p0e3s0"
GPU = {"accelerator": "T4"}


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKaggle]:
    """One local Kaggle for all: each test has kernels of its own names."""
    with pretend_kaggle(tmp_path_factory.mktemp("kaggle")) as kaggle:
        yield kaggle


@pytest.fixture(scope="module")
def client(kaggle: LocalKaggle) -> Iterator[Client]:
    with Client(tries=4, pause=0.01, patience=2.0) as client:
        yield client


class Chain:
    """One chain under test."""

    count = itertools.count(1)

    def __init__(self, kaggle: LocalKaggle, client: Any, folder: Path) -> None:
        self.kaggle, self.client, self.folder = kaggle, client, folder
        self.name = f"alice/cars-{next(self.count)}"
        self.notebook = write_notebook(folder)
        self.plan: dict[str, Any] = {}
        self.parameters = {"RECIPE": "tiny", "DATA": "cars"}
        self.outage = 0.0

    def drive(self, pretend: Pretend | None = None, **plan: Any) -> Ending:
        """Drive it; the sessions end as ``pretend`` says, the plan stays from call to call."""
        again, sessions = plan.pop("again", False), plan.pop("sessions", 6)
        if pretend:
            self.pretend = self.kaggle.runner = pretend
        defaults = {"accelerator": "none", "cancelled": "go-on"}
        self.plan = {**defaults, **self.plan, **plan}
        return drive_chain(
            self.client, self.diary(), again=again, sessions=sessions, poll=0.02, outage=self.outage
        )

    def diary(self) -> Any:
        plan = Plan(self.name, str(self.notebook), dict(self.parameters), **self.plan)
        return open_diary(self.folder / "out", plan)

    def versions(self) -> list[Any]:
        """All that was pushed of it."""
        kernels = [self.name, f"{self.name}-a", f"{self.name}-b"]
        found = [self.kaggle.kernels[name] for name in kernels if name in self.kaggle.kernels]
        return [version for kernel in found for version in kernel.versions]


@pytest.fixture
def chain(kaggle: LocalKaggle, client: Client, tmp_path: Path) -> Iterator[Chain]:
    yield Chain(kaggle, client, tmp_path)
    for fault in kaggle.faults:
        fault.release()
    kaggle.faults.clear()
    kaggle.refuse_self_source = True


@pytest.mark.parametrize("relay", ["alternate", "self", "dataset"])
def test_a_run_goes_through_its_sessions_whatever_the_relay(chain: Chain, relay: str) -> None:
    chain.kaggle.refuse_self_source = relay != "self"
    ending = chain.drive(Pretend("clock", "clock", "done"), relay=relay)
    assert ending.verdict == "done"
    assert ending.line == "done after 1.50 h in all, validation accuracy 0.7500"
    assert chain.pretend.begun == ["", FIRST, SECOND]
    kernels = ["-a", "-b", "-a"] if relay == "alternate" else [""] * 3
    assert [turn.kernel for turn in chain.diary().turns] == [chain.name + end for end in kernels]
    # What the last session left is here, whole; done is done.
    assert ending.output == chain.folder / "out/output"
    assert (ending.output / "run/report.html").read_text() == "report 3"
    assert chain.drive().verdict == "done"
    assert len(chain.versions()) == 3


def test_what_a_session_is_given(chain: Chain) -> None:
    chain.kaggle.add_dataset("alice/photos", chain.folder)
    chain.drive(
        Pretend("clock", "done"), limit=3600.0, datasets=("alice/photos",), internet=False, **GPU
    )
    first, second = chain.versions()
    tags = [turn.tag for turn in chain.diary().turns]
    assert [given["PUSH"] for given in chain.pretend.given] == tags
    assert [given["RESUME"] for given in chain.pretend.given] == ["auto", "must"]
    assert {given["LIMIT"] for given in chain.pretend.given} == {"3600s"}
    assert {given["DATA"] for given in chain.pretend.given} == {"cars"}
    for version in (first, second):
        assert version.request["sessionTimeoutSeconds"] == 3600 + 900
        assert version.request["machineShape"] == "NvidiaTeslaT4"
        assert not version.request.get("enableInternet")
        assert version.request["datasetDataSources"] == ["alice/photos"]
    assert second.request["kernelDataSources"] == [f"{chain.name}-a"]


@pytest.mark.parametrize("relay", ["alternate", "dataset"])
@pytest.mark.parametrize(
    ("ends", "begun"),
    [
        (("killed", "done"), ["", FIRST]),
        (("clock", "killed", "killed", "done"), ["", FIRST, SECOND, THIRD]),
        # The killed session's newest checkpoint is cut short, and it wrote no other.
        (("clock", "damaged", "done"), ["", FIRST, FIRST]),
        (("damaged", "done"), ["", ""]),
    ],
)
def test_a_killed_session_is_not_lost(
    chain: Chain, relay: str, ends: tuple[str, ...], begun: list[str]
) -> None:
    assert chain.drive(Pretend(*ends), relay=relay).verdict == "done"
    assert chain.pretend.begun == begun


STOPS = {
    "crash": ("failed", r"RunError: boom; it got to 000002-p0e2s0", [SECOND]),
    "empty": ("failed", r"the very first cell", [FIRST]),
    "memory": ("out-of-memory", r"out of memory; it got to .*batch_size", [SECOND]),
    "still": ("stuck", r"no further than 000001-p0e1s0: a longer --limit", [FIRST]),
    "silent": ("failed", r"left no handover.json", [SECOND]),
}


@pytest.mark.parametrize("end", STOPS)
def test_what_fails_is_not_pushed_again_until_somebody_says_so(
    chain: Chain, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, line, then = STOPS[end]
    ending = chain.drive(Pretend("clock", end, "done"))
    assert ending.verdict == verdict
    assert re.search(line, ending.line)
    assert "--again" in ending.line
    log = chain.folder / "out/logs/session-2.log"
    assert f"going on from {FIRST}" in log.read_text()
    assert str(log) in capsys.readouterr().err
    assert chain.drive() == ending
    assert len(chain.versions()) == 2
    assert chain.drive(again=True).verdict == "done"
    assert chain.pretend.begun == ["", FIRST, *then]


def test_a_session_that_a_person_cancels_is_the_last(chain: Chain) -> None:
    ending = chain.drive(Pretend("clock", "killed", "done"), cancelled="auto")
    assert ending.verdict == "stopped"
    assert "cancelled after 0.00 h; it got to 000002-p0e2s0" in ending.line
    assert chain.drive(again=True).verdict == "done"
    assert chain.pretend.begun == ["", FIRST, SECOND]


def test_sessions_are_counted(chain: Chain) -> None:
    ending = chain.drive(Pretend("clock"), sessions=2)
    assert (ending.verdict, ending.turns) == ("enough", 2)
    assert chain.drive(sessions=3).turns == 3


def test_a_source_that_is_not_attached_costs_one_short_session(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    """Kaggle does not let the kernel name itself: the chain goes by the dataset from there."""
    ending = chain.drive(Pretend("clock", "clock", "clock", "done"), relay="self")
    assert ending.verdict == "done"
    assert f"Kaggle did not attach kernel {chain.name}" in caplog.text
    assert chain.pretend.begun == ["", "", FIRST, "", SECOND]
    tried = [turn.line for turn in chain.diary().turns if "did not attach" in turn.line]
    assert len(tried) == 2
    assert all(line.endswith(f"goes through {chain.name}-chain") for line in tried)


def test_a_run_to_go_on_with_that_is_not_there_is_not_begun_anew(chain: Chain) -> None:
    ending = chain.drive(Pretend("clock", "done"), kernels=("alice/not-there",))
    assert ending.verdict == "failed"
    assert "Kaggle did not attach kernel alice/not-there (" in ending.line
    assert chain.pretend.begun == [""]
    assert chain.pretend.given[0]["RESUME"] == "must"


@pytest.mark.parametrize("end", ["foreign", "garbled"])
def test_a_handover_that_does_not_count_ends_the_session_all_the_same(
    chain: Chain, end: str
) -> None:
    ending = chain.drive(Pretend("clock", end, "done"))
    said = {"foreign": "the output of another push", "garbled": "came damaged 4 times"}[end]
    assert (ending.verdict, said in ending.line) == ("failed", True)
    assert chain.drive(again=True).verdict == "done"
    # Another's output counts for nothing; one's own checkpoints for what they are.
    assert chain.pretend.begun == ["", FIRST, {"foreign": FIRST, "garbled": SECOND}[end]]


def test_what_is_wrong_with_a_plan_may_be_mended_until_something_has_come_of_it(
    chain: Chain,
) -> None:
    assert chain.drive(Pretend("empty", "clock", "done"), sessions=1).verdict == "failed"
    chain.parameters["DATA"] = "photos2"
    chain.drive(again=True, sessions=2)
    assert chain.pretend.given[1]["DATA"] == "photos2"
    chain.parameters["DATA"] = "photos3"
    with pytest.raises(UsageError, match="another chain"):
        chain.drive()


def test_a_folder_of_ones_own_is_left_alone(chain: Chain) -> None:
    mine = chain.folder / "out/push/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"other things than a chain \(push\).*folder of its own"):
        chain.drive(Pretend("done"))
    assert mine.read_text() == "mine"
    assert not chain.versions()


def test_a_driver_that_comes_back_to_another_notebook_pushes_once(
    kaggle: LocalKaggle, client: Client, tmp_path: Path
) -> None:
    """Killed between the push and its note, its push/ gone, the notebook edited: the tag tells."""
    chain = Chain(kaggle, Mortal(client, 2, True), tmp_path)
    with pytest.raises(Killed):
        chain.drive(Pretend("clock", "done"))
    assert len(chain.versions()) == 1
    shutil.rmtree(tmp_path / "out/push")
    chain.notebook.write_text(chain.notebook.read_text().replace("LIMIT = ''", "LIMIT = '9h'"))
    chain.client = client
    assert chain.drive().verdict == "done"
    assert len(chain.versions()) == 2


def test_a_kernel_with_a_past_is_not_gone_on_with_in_silence(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    assert chain.drive(Pretend("done")).verdict == "done"
    shutil.rmtree(chain.folder / "out")
    chain.drive(Pretend("done"))
    assert re.search(rf"has 1 versions already.*--source {chain.name}-a", caplog.text)


def test_out_of_quota_pushes_nothing(chain: Chain) -> None:
    used = chain.kaggle.gpu_quota
    chain.kaggle.gpu_quota = 600.0
    try:
        ending = chain.drive(Pretend("done"), **GPU)
        assert ending.verdict == "out-of-quota"
        assert "out of GPU quota until 20" in ending.line
        assert not chain.versions()
        chain.kaggle.gpu_quota = 3600.0 + chain.kaggle.gpu_used()
        assert chain.drive().verdict == "done"
        (version,) = chain.versions()
        assert 3500 < version.request["sessionTimeoutSeconds"] <= 3600
        assert 2600 < int(chain.pretend.given[0]["LIMIT"].rstrip("s")) <= 2700
    finally:
        chain.kaggle.gpu_quota = used


def test_a_quota_that_kaggle_does_not_tell_stops_nothing(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    chain.kaggle.faults.append(Fault("GetAcceleratorQuotaStatistics", "500", times=99))
    assert chain.drive(Pretend("done"), **GPU).verdict == "done"
    assert "the quota is not known" in caplog.text


def test_another_chain_is_not_driven_in_this_ones_place(chain: Chain) -> None:
    chain.drive(Pretend("clock"), sessions=1)
    chain.plan["relay"] = "dataset"
    with pytest.raises(UsageError, match=r"relay: 'alternate' -> 'dataset'.*another --out"):
        chain.drive()
    chain.plan["relay"] = "alternate"
    path = chain.folder / "out/chain.json"
    for text, message in (
        ("{", "cannot be read"),
        ("{}", "not the diary of a chain"),
        (path.read_text().replace('"format": 1', '"format": 9'), "has format 9"),
        ('{"format": 1, "plan": "", "turns": []}', "not the diary of a chain"),
        (re.sub('"running": "[^"]*"', '"running": 7', path.read_text()), "running is 7"),
        (re.sub('"watched": [^,]*', '"watched": "z"', path.read_text()), "watched is 'z'"),
    ):
        path.write_text(text)
        with pytest.raises(RunError, match=message):
            chain.drive()


BAD_PLANS = [
    ({"kernel": "cars"}, "OWNER/SLUG"),
    ({"kernel": "alice/c"}, "5 to 50 characters"),
    ({"relay": "selfish"}, "did you mean 'self'"),
    ({"cancelled": "goon"}, "did you mean 'go-on'"),
    ({"accelerator": "T5"}, "unknown accelerator"),
    ({"limit": 0.0}, "limit must be above 0"),
    ({"limit": 60.0, "timeout": 60.0}, "must lie below the timeout"),
    ({"limit": 12.5 * 3600}, "at most 12 h, when Kaggle ends a session on NvidiaTeslaT4"),
    ({"limit": 11.5 * 3600, "accelerator": "TPU"}, "at most 9 h"),
    ({"timeout": 13 * 3600.0, "accelerator": "none"}, "at most 12 h.* on a CPU"),
    ({"parameters": {"RUN": "/tmp/run"}}, "a folder below Kaggle's working folder"),
    ({"parameters": {"RUN": "../run"}}, "a folder below Kaggle's working folder"),
    ({"datasets": ("photos",)}, "photos"),
    ({"kernels": ("alice/cars-a/3",)}, "dropped"),
]


@pytest.mark.parametrize(("change", "message"), BAD_PLANS)
def test_a_plan_refuses_nonsense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(**{"kernel": "alice/carsy", "notebook": "train.ipynb", **change})


# Faults: where, and whether the server had done it all the same.
READS = (
    "GetKernel",
    "GetKernelSessionStatus",
    "ListKernelSessionOutput",
    "GetDatasetStatus",
    "GetDataset",
    "StartBlobUpload",
    "GET",
)
EFFECTS = ("SaveKernel", "PUT", "CreateDataset", "CreateDatasetVersion")
KINDS = ("429", "500", "reset", "error-page", "truncated")


@pytest.mark.parametrize(
    ("calls", "kind", "nth", "after"),
    [
        *((READS + EFFECTS, kind, 1, False) for kind in KINDS),
        *((READS + EFFECTS, kind, 2, False) for kind in ("500", "truncated")),
        *((EFFECTS, kind, 1, True) for kind in ("500", "reset", "error-page")),
        (("GetKernelSessionStatus", "GET", "PUT"), "timeout", 1, False),
        (("SaveKernel", "CreateDataset"), "timeout", 1, True),
    ],
)
def test_faults_at_every_call_change_nothing(
    chain: Chain, calls: tuple[str, ...], kind: str, nth: int, after: bool
) -> None:
    """Each call meets the fault once, at its first or second time; a dataset is created once."""
    faults = [Fault(call, kind, nth=1 if "Create" in call else nth, after=after) for call in calls]
    chain.kaggle.faults.extend(faults)
    assert chain.drive(Pretend("clock", "clock", "done"), relay="dataset").verdict == "done"
    assert [fault.rpc for fault in faults if not fault.met] == []
    assert chain.pretend.begun == ["", FIRST, SECOND]
    assert len(chain.versions()) == 3
    assert (chain.folder / "out/output/run/report.html").read_text() == "report 3"


@pytest.mark.parametrize("rpc", ["SaveKernel", "GetKernelSessionStatus", "GET", "CreateDataset"])
def test_a_kaggle_that_stays_away_stops_with_one_line(chain: Chain, rpc: str) -> None:
    chain.kaggle.faults.append(Fault(rpc, "500", times=99))
    with pytest.raises(KaggleError, match=r"tried 4 times: look at .*run the same command again"):
        chain.drive(Pretend("clock", "done"), relay="dataset")
    chain.kaggle.faults.clear()
    assert chain.drive().verdict == "done"
    assert chain.pretend.begun == ["", FIRST]
    assert len(chain.versions()) == 2


def test_an_outage_while_a_session_runs_is_sat_out(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    chain.outage = 60.0
    chain.kaggle.faults.append(Fault("GetKernelSessionStatus", "500", times=10))
    assert chain.drive(Pretend("done")).verdict == "done"
    assert "the session goes on without" in caplog.text


def test_what_kaggle_refuses_is_said_and_forgotten(chain: Chain) -> None:
    chain.kaggle.gpu_quota, used = 0.0, chain.kaggle.gpu_quota
    chain.kaggle.faults.append(Fault("GetAcceleratorQuotaStatistics", "500", times=99))
    try:
        with pytest.raises(KaggleError, match=r"Kaggle refused alice/.*quota"):
            chain.drive(Pretend("done"), **GPU)
        assert not chain.versions()
        assert not chain.diary().turns
    finally:
        chain.kaggle.gpu_quota = used
    assert chain.drive().verdict == "done"


class Killed(BaseException):
    """The driver's end, which nothing may catch."""


class Mortal:
    """A client that is killed at one of its calls, before or after Kaggle has heard it."""

    def __init__(self, client: Client, at: int, after: bool) -> None:
        self.client, self.left, self.after = client, at, after

    def read(self, do: str, **arguments: Any) -> Answer:
        return self._die(lambda: self.client.read(do, **arguments))

    def once(self, do: str, done: Callable[[], Answer | None], **arguments: Any) -> Answer:
        return self._die(lambda: self.client.once(do, done, **arguments))

    def look(self, done: Callable[[], Answer | None]) -> Answer | None:
        return self.client.look(done)

    def _die(self, call: Callable[[], Answer]) -> Answer:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        try:
            return call()
        finally:
            if self.left == 0:
                raise Killed


@pytest.mark.parametrize(
    ("ends", "after"),
    [(("clock", "done"), False), (("clock", "done"), True), (("killed", "done"), True)],
)
def test_a_driver_killed_at_any_call_goes_on(
    kaggle: LocalKaggle, client: Client, tmp_path: Path, ends: tuple[str, ...], after: bool
) -> None:
    for at in itertools.count(1, 2 if "killed" in ends else 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        chain = Chain(kaggle, Mortal(client, at, after), folder)
        try:
            chain.drive(Pretend(*ends))
            assert at > 15
            return
        except Killed:
            chain.client = client
            assert chain.drive().verdict == "done"
        assert chain.pretend.begun == ["", FIRST], at
        assert len(chain.versions()) == 2, at


@pytest.mark.parametrize("relay", ["alternate", "self", "dataset"])
def test_a_rehearsal_shows_every_call(tmp_path: Path, relay: str) -> None:
    shown: list[str] = []
    plan = Plan("alice/carsy", str(write_notebook(tmp_path)), {"RECIPE": "tiny"}, relay=relay)
    diary = open_diary(tmp_path / "out", plan)
    ending = drive_chain(
        Rehearsal(shown.append, tmp_path / "kernel"), diary, wait=lambda seconds: None
    )
    assert (ending.verdict, ending.turns) == ("done", 2)
    done = [line.split()[0] for line in shown if not line.startswith(" ")]
    assert done.count("push") == 2
    assert {"quota", "source", "status", "listing", "output"} <= set(done)
    assert ("dataset_create" in done) == (relay == "dataset")
    assert "    RECIPE = 'tiny'" in shown
    assert any("machine_shape" in line for line in shown)
    assert isinstance(diary.turns[0], Turn)
