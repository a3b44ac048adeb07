"""The client and its child process: every failure, every end, and nothing done twice."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3
from local_kaggle import Fault, LocalKaggle
from pretend import pretend_kaggle

from carlib.errors import CarlibError
from carlib.files import only_one
from carlib.kaggle import client as room
from carlib.kaggle.client import LONGEST_PAUSE, Answer, Client, KaggleError
from carlib.kaggle.worker import failure, told

GOOD = '{"answer": {"n": 1}, "printed": ""}'
QUOTA = "GetAcceleratorQuotaStatistics"


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKaggle]:
    with pretend_kaggle(tmp_path_factory.mktemp("kaggle")) as kaggle:
        yield kaggle


@pytest.fixture(scope="module")
def real(kaggle: LocalKaggle) -> Iterator[Client]:
    with Client(tries=4, pause=0.01, patience=1.5) as client:
        yield client


class Child:
    """A child that does what a shell script says, in place of the one with the client."""

    def __init__(self, folder: Path) -> None:
        self.path, self.heard = folder / "child", folder / "heard"

    def does(self, script: str) -> None:
        """Let the next child read a question, then run a script."""
        self.begins(f"echo ready\nread line\necho >> {self.heard}\n{script}")

    def begins(self, script: str) -> None:
        """Let the next child run a script from its very start."""
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)

    def says(self, *replies: str) -> None:
        """Let the next child answer one question after the other."""
        self.does(
            "\nread line\n".join(f"echo '{reply}'; echo >> {self.heard}" for reply in replies)
        )

    def asked(self) -> int:
        return len(self.heard.read_text().splitlines())


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    child = Child(tmp_path)
    monkeypatch.setattr(sys, "executable", str(child.path))
    return child


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is slept, and not."""
    naps: list[float] = []
    monkeypatch.setattr(room, "time", SimpleNamespace(sleep=naps.append, time=time.time))
    return naps


def failed(kind: str, message: str = "no", after: str = "", printed: str = "") -> str:
    said = {"kind": kind, "message": message, "after": after}
    return json.dumps({"failure": said, "printed": printed})


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pid_of(client: Client) -> int:
    assert client._child is not None
    return client._child.pid


def answered(status: int, body: bytes = b"", after: str = "") -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response._content = status, body
    if after:
        response.headers["Retry-After"] = after
    return requests.HTTPError(f"{status} for url: http://localhost/x", response=response)


FAILURES: list[tuple[BaseException, str]] = [
    (answered(400), "refused"),
    (answered(401), "credentials"),
    (answered(403), "refused"),
    (answered(404), "missing"),
    (answered(408), "lost"),
    (answered(429, after="7"), "busy"),
    (answered(500), "down"),
    (answered(503), "down"),
    # An error in the body of an answer that went well.
    (answered(200, b'{"code": 403, "message": "denied"}'), "refused"),
    (answered(200, b'{"code": 404}'), "missing"),
    (answered(200, b'{"code": 429}'), "busy"),
    (answered(200, b'{"code": 500}'), "down"),
    (answered(200, b"<html>"), "down"),
    (answered(200, b"[]"), "down"),
    (requests.ConnectionError("reset"), "lost"),
    (requests.Timeout(), "lost"),
    (urllib3.exceptions.ProtocolError("cut"), "lost"),
    (ConnectionResetError(errno.ECONNRESET, "reset"), "lost"),
    (json.JSONDecodeError("half", "", 0), "lost"),
    (ValueError("Downloaded file size (1) does not match expected size (2)"), "lost"),
    # What asking again does not change.
    (OSError(errno.ENOSPC, "No space left on device"), "refused"),
    (PermissionError(errno.EACCES, "denied"), "refused"),
    (FileNotFoundError(errno.ENOENT, "no such file"), "refused"),
    (ValueError("Invalid folder: x"), "refused"),
    (AttributeError(), "refused"),
    (SystemExit(1), "credentials"),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES, ids=lambda each: repr(each)[:60])
def test_each_failure_has_its_kind(error: BaseException, kind: str) -> None:
    said = failure(error)
    assert said["kind"] == kind
    assert said["message"]
    assert said["after"] == ("7" if str(error).startswith("429") else "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\t c ", "a b c"),
        (
            "for url: https://api/v1/kernels.Kernels/Get",
            "for url: https://api/v1/kernels.Kernels/Get",
        ),
        ("https://storage/a.zip?X-Goog-Signature=SECRET&x=SECRET)", "https://storage/a.zip...)"),
        ("with url: /upload?upload_id=SECRET (Caused by x)", "with url: /upload... (Caused by x)"),
        (
            f"https://content/kf/12/eyJ{'SECRET' * 9}/run/a.npz",
            "https://content/kf/12/.../run/a.npz",
        ),
        ("is it there? nobody knows", "is it there? nobody knows"),
    ],
)
def test_no_key_is_told(text: str, shown: str) -> None:
    assert told(text) == shown
    assert failure(ValueError(text))["message"] == shown


@pytest.mark.parametrize(
    "kind", ["429", "500", "503", "reset", "timeout", "truncated", "error-page", "error-page-502"]
)
def test_a_fault_of_the_server_is_met_and_got_over(
    kaggle: LocalKaggle, real: Client, kind: str
) -> None:
    real.read("whoami")
    fault = Fault(QUOTA, kind)
    kaggle.faults.append(fault)
    assert real.read("quota")["gpu"]["total"] == kaggle.gpu_quota
    assert fault.met == 1
    fault.release()
    kaggle.faults.clear()


def test_without_credentials_it_says_where_to_get_them(
    kaggle: LocalKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    for name in ("HOME", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with (
        Client() as client,
        pytest.raises(KaggleError, match=r"settings/api .*access_token") as met,
    ):
        client.read("quota")
    assert met.value.kind == "credentials"
    assert "\n" not in str(met.value)


@pytest.mark.parametrize("kind", ["missing", "refused", "credentials"])
def test_a_plain_no_is_told_at_once(child: Child, kind: str) -> None:
    child.says(failed(kind, "never", printed="why"), GOOD)
    with Client() as client, pytest.raises(KaggleError, match="kaggle push: never") as met:
        client.once("push", lambda: pytest.fail("asked"))
    assert met.value.kind == kind
    assert ("(why)" in str(met.value)) == (kind != "credentials")


@pytest.mark.parametrize("kind", ["busy", "down", "lost"])
def test_what_may_pass_is_asked_again_until_it_is_enough(
    child: Child, naps: list[float], kind: str
) -> None:
    child.says(*[failed(kind)] * 7, GOOD)
    with Client(pause=10.0) as client:
        with pytest.raises(KaggleError, match=r"kaggle quota: no; tried 7 times: look at") as met:
            client.read("quota")
        assert met.value.kind == kind
        assert client.read("quota") == {"n": 1}
    for nap, pause in zip(naps, [10, 20, 40, *[LONGEST_PAUSE] * 3], strict=True):
        assert 0.8 * pause <= nap <= 1.2 * pause


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("90", 90, 90),
        ("0", 0.8, 1.2),
        ("in 1000 s", 900, 1000),
        (formatdate(1000, usegmt=True), 0.8, 1.2),
        ("soon", 0.8, 1.2),
        ("", 0.8, 1.2),
    ],
)
def test_no_pause_is_shorter_than_kaggle_asks(
    child: Child, naps: list[float], after: str, least: float, most: float
) -> None:
    if after == "in 1000 s":
        after = formatdate(time.time() + 1000, usegmt=True)
    child.says(failed("busy", after=after), GOOD)
    with Client(pause=1.0) as client:
        client.read("quota")
    (nap,) = naps
    assert least <= nap <= most


@pytest.mark.parametrize("script", ["exit", "printf '{\"answer\": {'", "exec >&-; sleep 0.05"])
def test_a_child_that_dies_in_mid_call_is_replaced(child: Child, script: str) -> None:
    child.does(script)
    with Client(tries=3, pause=0.001) as client:
        with pytest.raises(KaggleError, match="the client's process ended; tried 3 times"):
            client.read("quota")
        assert child.asked() == 3
        child.says(GOOD)
        assert client.read("quota") == {"n": 1}


def test_a_child_that_dies_between_two_calls_is_replaced(child: Child) -> None:
    child.says(GOOD)
    with Client(tries=2, pause=0.001) as client:
        assert client.read("quota") == {"n": 1}
        assert client._child is not None
        client._child.wait()
        assert client.read("quota") == {"n": 1}


def test_one_that_hangs_is_ended_and_told_of(child: Child) -> None:
    child.does("exec sleep 60")
    with Client(tries=1, patience=0.1) as client:
        with pytest.raises(KaggleError, match="kaggle quota: no answer for 0 s; tried 1") as met:
            client.read("quota")
        assert met.value.kind == "lost"
        assert client._child is None


def test_a_slow_start_is_no_slow_answer(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    child.begins(f"sleep 0.4; echo ready; read line; echo '{GOOD}'")
    with Client(tries=1, patience=0.2) as client:
        assert client.read("quota") == {"n": 1}
    monkeypatch.setattr(room, "START", 0.1)
    with Client(tries=1) as client, pytest.raises(KaggleError, match="no answer"):
        client.read("quota")


def test_files_that_go_on_coming_are_waited_for(child: Child, tmp_path: Path) -> None:
    folder = tmp_path / "into"
    folder.mkdir()
    child.does(
        f"for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo x >> {folder}/file; done; echo '{GOOD}'"
    )
    with Client(tries=1, patience=0.5) as client:
        assert client.read("output", folder=str(folder)) == {"n": 1}
        client.close()
        with pytest.raises(KaggleError, match="no answer"):
            client.read("push", folder=str(folder))


def test_an_interrupted_calls_answer_does_not_meet_the_next_question(child: Child) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    child.does(f"sleep 0.3; echo '{GOOD}'")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Client() as client:
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            with pytest.raises(KeyboardInterrupt):
                client.once("push", lambda: pytest.fail("asked"))
            child.says(GOOD.replace("1", "2"))
            assert client.read("quota") == {"n": 2}
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["busy", "down", "lost"])
@pytest.mark.parametrize("shown", [1, 3, 99])
def test_what_may_have_happened_is_looked_for_and_not_repeated(
    child: Child, kind: str, shown: int
) -> None:
    looks: list[int] = []

    def done() -> Answer | None:
        looks.append(1)
        return {"n": 3} if len(looks) == shown else None

    child.says(failed(kind), GOOD)
    with Client(pause=0.001) as client:
        answer = client.once("push", done)
    if kind == "busy":  # nothing was done, says Kaggle
        assert (answer, looks) == ({"n": 1}, [])
    elif shown <= room.LOOKS:
        assert (answer, len(looks)) == ({"n": 3}, shown)
        assert child.asked() == 2
    else:
        assert (answer, len(looks)) == ({"n": 1}, room.LOOKS)


def test_the_last_try_is_looked_for_too(child: Child) -> None:
    child.says(failed("lost"))
    with Client(tries=1, pause=0.001) as client:
        assert client.once("push", lambda: {"n": 4}) == {"n": 4}
        child.says(failed("lost"))
        with pytest.raises(KaggleError, match="tried 1 times"):
            client.once("push", lambda: None)


def test_closing_leaves_no_process_behind(real: Client) -> None:
    real.read("whoami")
    pid = pid_of(real)
    assert not gone(pid)
    real.close()
    assert gone(pid)
    real.close()


def test_one_that_does_not_listen_is_ended_all_the_same(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ENDS", 0.05)
    child.does("trap '' TERM; exec sleep 60")
    client = Client(tries=1, patience=0.2)
    pid = client._start().pid
    with pytest.raises(KaggleError, match="no answer"):
        client.read("quota")
    assert gone(pid)


PARENT = """
import sys
from carlib.files import only_one
from carlib.kaggle.client import Client
with only_one(sys.argv[1]) as lock, Client(keep=(lock,), patience=float(sys.argv[2])) as client:
    client.read("quota")
"""


@pytest.mark.parametrize("comes_through", [True, False])
def test_nobody_takes_over_before_a_dead_parents_last_call_has_ended(
    kaggle: LocalKaggle, tmp_path: Path, comes_through: bool
) -> None:
    fault = Fault(QUOTA, "timeout")
    kaggle.faults.append(fault)
    patience = "60" if comes_through else "1.5"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), patience])
    wait_for(lambda: fault.met)
    parent.kill()
    parent.wait()
    with pytest.raises(CarlibError, match="another process is at work"), only_one(tmp_path):
        pass
    if comes_through:
        fault.release()
    wait_for(lambda: free(tmp_path))
    fault.release()
    kaggle.faults.clear()


def wait_for(what: Callable[[], Any]) -> None:
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to that")


def free(folder: Path) -> bool:
    with contextlib.suppress(CarlibError), only_one(folder):
        return True
    return False
