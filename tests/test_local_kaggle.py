"""The local Kaggle, asked by the real client: what the platform does, and what faults look like."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from local_kaggle import Fault, LocalKaggle, make_image, real, refused, state
from local_kaggle.client import Client

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
REF = "alice/photos-train"
OTHER = "alice/photos-next"
NEEDED = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
really = pytest.mark.skipif(bool(refused()), reason=refused() or "runs here")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Client(tmp_path_factory.mktemp("client")) as client:
        yield client


def notebook(*cells, metadata=NEEDED):
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def write_kernel(folder, source=None, ref=REF, **options):
    """Write a folder to push; ``options`` go over the metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "code.ipynb").write_text(notebook("1") if source is None else source)
    said = {
        "id": ref,
        "title": ref.partition("/")[2].replace("-", " ").capitalize(),
        "code_file": "code.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "enable_internet": False,
        **options,
    }
    (folder / "kernel-metadata.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def push(client, tmp_path):
    """Push by the client, and wait for the session's end unless told not to."""

    def pushing(kaggle, source=None, ref=REF, *, wait=True, timeout=None, **options):
        folder = write_kernel(tmp_path / "push", source, ref, **options)
        said = client(kaggle, "kernels_push", folder, timeout)
        assert not said.error, said
        if wait and not said.value.get("error"):
            kaggle.wait(ref)
        return said.value

    return pushing


def write_five(run):
    for number in range(4):
        (run.working / f"{number}.txt").write_text(str(number))
    (run.working / "deep er").mkdir()
    (run.working / "deep er/état.json").write_text("{}")
    run.log = "one\ntwo\n"


def wait_for_the_end(run):
    (run.working / "part.txt").write_text("part")
    assert run.stopped.wait(60)


def fail(run):
    (run.working / "part.txt").write_text("part")
    raise MemoryError("too big")


def status(client, kaggle, ref=REF):
    return client(kaggle, "kernels_status", ref).value.get("status", "QUEUED")


def pulled(client, kaggle, folder, ref=REF, **options):
    said = client(kaggle, "kernels_output", ref, folder, force=True, **options)
    assert not said.error, said
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Sessions


def test_what_is_pushed_runs_and_its_output_comes_in_pages(client, push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=write_five, page_size=2) as kaggle:
        said = push(kaggle, title="Photos: train!", machine_shape="NvidiaTeslaT4")
        assert (said["versionNumber"], said["url"].endswith(REF)) == (1, True)
        assert status(client, kaggle) == "COMPLETE"
        files = pulled(client, kaggle, tmp_path / "out")
        listed = client(kaggle, "kernels_list_files", REF).value
        assert not client(kaggle, "kernels_pull", REF, tmp_path / "pull", metadata=True).error
        log = client(kaggle, "kernels_logs", REF).value
    assert files.pop("photos-train.log") == log
    assert files == {
        **{f"{number}.txt": str(number) for number in range(4)},
        "deep er/état.json": "{}",
    }
    assert [record["data"] for record in json.loads(log)] == ["one\n", "two\n"]
    assert [rpc for rpc, _ in kaggle.calls].count("ListKernelSessionOutput") == 3 + 1
    assert ("GET", {"path": f"/output/{REF}/v1/deep er/état.json"}) in kaggle.calls
    assert [file["name"] for file in listed["files"]] == ["0.txt", "1.txt"]
    about = json.loads((tmp_path / "pull/kernel-metadata.json").read_text())
    assert about["machine_shape"] == "NvidiaTeslaT4"
    assert json.loads((tmp_path / "pull/photos-train.ipynb").read_text())["cells"]


def test_every_status_and_the_files_that_go_with_it(client, push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=wait_for_the_end) as kaggle:
        kaggle.hold()
        push(kaggle, wait=False)
        assert status(client, kaggle) == "QUEUED"
        kaggle.let_go()
        while status(client, kaggle) == "QUEUED":
            pass
        assert status(client, kaggle) == "RUNNING"
        assert pulled(client, kaggle, tmp_path / "running") == {}
        with kaggle.lock:
            kaggle.cancel(REF)
            assert kaggle.kernels[REF].versions[0].status == "CANCEL_REQUESTED"
        kaggle.wait(REF)
        assert status(client, kaggle) == "CANCEL_ACKNOWLEDGED"
        assert pulled(client, kaggle, tmp_path / "cut") == {"part.txt": "part"}
        kaggle.runner = fail
        push(kaggle)
        assert client(kaggle, "kernels_status", REF).value == {
            "status": "ERROR",
            "failureMessage": "too big",
        }
        failed = pulled(client, kaggle, tmp_path / "failed")
        assert failed["part.txt"] == "part"
        assert "MemoryError: too big" in failed["photos-train.log"]
        kaggle.runner = write_five
        push(kaggle)
        # A version of its own, by its label; without one, the latest.
        assert status(client, kaggle, f"{REF}/2") == "ERROR"
        assert "part.txt" in pulled(client, kaggle, tmp_path / "second", f"{REF}/2")
        assert status(client, kaggle) == "COMPLETE"
        assert client(kaggle, "kernels_status", f"{REF}/9").status == 404
        folder = write_kernel(tmp_path / "push")
        assert client(kaggle, "kernels_push", folder, no_run=True).value["versionNumber"] == 4
        assert status(client, kaggle) == "NEW_SCRIPT"


def test_a_cancel_in_the_queue_and_the_platform_s_end(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=wait_for_the_end) as kaggle:
        kaggle.hold()
        push(kaggle, wait=False)
        kaggle.cancel(REF)
        assert kaggle.wait(REF).status == "CANCEL_ACKNOWLEDGED"
        kaggle.let_go()
        push(kaggle, wait=False)
        with pytest.raises(TimeoutError, match=r"photos-train v2 is still (QUEUED|RUNNING)"):
            kaggle.wait(REF, timeout=0)
    assert kaggle.kernels[REF].versions[1].status == "CANCEL_ACKNOWLEDGED"


@pytest.mark.parametrize(
    ("limits", "timeout"),
    [({"session_limit": 100}, None), ({}, 100), ({"session_limit": 100}, 900)],
)
def test_a_session_over_its_limit_is_cut(client, push, tmp_path, limits, timeout):
    with LocalKaggle(tmp_path / "k", runner=wait_for_the_end, **limits) as kaggle:
        push(kaggle, wait=False, timeout=timeout)
        kaggle.advance(99)
        with pytest.raises(TimeoutError):
            kaggle.wait(REF, timeout=0.2)
        kaggle.advance(2)
        version = kaggle.wait(REF)
        assert version.status == "CANCEL_ACKNOWLEDGED"
        assert 0 < version.seconds < 200
        assert pulled(client, kaggle, tmp_path / "out") == {"part.txt": "part"}


def test_a_log_can_be_followed(client, push, tmp_path):
    def tell(run):
        run.say("first\n")
        assert run.stopped.wait(60)

    with LocalKaggle(tmp_path / "k", runner=tell) as kaggle:
        push(kaggle, wait=False)
        kaggle.limit_when = lambda run: any("logs/stream" in said["path"] for said in asked())

        def asked():
            return [request for rpc, request in kaggle.calls if rpc == "GET"]

        assert client(kaggle, "kernels_logs_cli", REF, follow=True).printed == "first\n"
        assert kaggle.wait(REF).status == "CANCEL_ACKNOWLEDGED"
        assert client(kaggle, "kernels_logs_cli", REF, follow=True).printed == "first\n"
        assert client(kaggle, "kernels_logs_cli", OTHER, follow=True).status == 0
    assert [said["path"] for said in asked()][:2] == [f"/api/v1/kernels/logs/stream/{REF}"] * 2


def test_the_limit_may_strike_at_a_chosen_point(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=wait_for_the_end) as kaggle:
        kaggle.limit_when = lambda run: (run.working / "part.txt").exists()
        push(kaggle)
        assert kaggle.kernels[REF].versions[0].status == "CANCEL_ACKNOWLEDGED"
        kaggle.limit_when = lambda run: 1 / 0
        push(kaggle)
        assert kaggle.kernels[REF].versions[1].failure == "ZeroDivisionError: division by zero"


def test_a_runner_that_does_not_stop_is_left_behind(push, tmp_path):
    go = threading.Event()

    def deaf(run):
        (run.working / "part.txt").write_text("part")
        go.wait(60)
        (run.working / "late.txt").write_text("late")

    with LocalKaggle(tmp_path / "k", runner=deaf) as kaggle:
        kaggle.limit_when = lambda run: (run.working / "part.txt").exists()
        push(kaggle)
        go.set()
        version = kaggle.kernels[REF].versions[0]
        assert version.status == "CANCEL_ACKNOWLEDGED"
        assert [path.name for path in version.working.iterdir()] == ["part.txt"]


# What is refused at the push


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"source": notebook("#" * 1_000_000)}, "less than 1 MB"),
        ({"ref": "bob/photos-train"}, "permission to push to bob/photos-train"),
        ({"title": "!?!?!?"}, "at least five characters"),
    ],
)
def test_a_push_that_is_refused_says_so_with_http_200(push, tmp_path, options, error):
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        assert error in push(kaggle, **options)["error"]
        assert kaggle.kernels == {}


def test_a_notebook_without_a_kernel_s_name_dies(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        push(kaggle, notebook("1", metadata={}))
        version = kaggle.kernels[REF].versions[0]
        assert (version.status, version.log[:39]) == (
            "ERROR",
            "RuntimeError: No kernel name found in n",
        )


def test_the_title_decides_the_slug(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        push(kaggle, title="Photos  (NEXT)", wait=False)
        assert list(kaggle.kernels) == [OTHER]


def test_the_gpu_s_week(client, push, tmp_path):
    def quota():
        (gpu, _) = json.loads(client(kaggle, "quota_view_cli", output_format="json").printed)
        return gpu["used"], gpu["remaining"], gpu["total"], gpu["refreshAt"]

    with LocalKaggle(tmp_path / "k", runner=wait_for_the_end, gpu_quota=7200) as kaggle:
        refresh = quota()[3]
        push(kaggle, enable_gpu=True, wait=False)
        while status(client, kaggle) == "QUEUED":
            pass
        kaggle.advance(3600)
        assert quota() == ("1.00h", "1.00h", "2.00h", refresh)
        kaggle.cancel(REF)
        kaggle.wait(REF)
        kaggle.runner = write_five
        push(kaggle)  # without a GPU nothing is used up
        assert quota()[0] == "1.00h"
        kaggle.spend(3600)
        kaggle.advance(3600)
        error = "Maximum weekly GPU quota of 2.00 hours reached."
        assert push(kaggle, machine_shape="NvidiaTeslaT4") == {"error": error}
        assert "error" not in push(kaggle)
        kaggle.advance(7 * 86400)
        assert "error" not in push(kaggle, enable_gpu=True)
        assert quota()[0] == "0.00h"
        assert quota()[3] > refresh


# Sources


LAYOUTS = {
    "new": ("datasets/alice/photos", f"notebooks/{OTHER}", "competitions/digits"),
    "old": ("photos", "photos-next", "digits"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sources_are_mounted_as_they_are_at_the_push(push, tmp_path, layout):
    seen = {}

    def look(run):
        seen.update(
            {
                path.relative_to(run.inputs).as_posix(): path.read_text()
                for where in LAYOUTS[layout]
                for path in (run.inputs / where).glob("*.txt")
            }
        )

    for name in ("photos", "digits"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    with LocalKaggle(tmp_path / "k", runner=write_five, layout=layout) as kaggle:
        kaggle.add_dataset("alice/photos", tmp_path / "photos")
        kaggle.add_competition("digits", tmp_path / "digits")
        push(kaggle, ref=OTHER)
        kaggle.runner = fail
        push(kaggle, ref=OTHER)
        kaggle.runner = look
        said = push(
            kaggle,
            dataset_sources=["alice/photos"],
            kernel_sources=[f"{OTHER}/2"],  # dropped: the latest COMPLETE one it is
            competition_sources=["digits"],
        )
        version = kaggle.kernels[REF].versions[0]
    assert not [name for name in said if name.startswith("invalid")]
    dataset, kernel, competition = LAYOUTS[layout]
    assert version.mounted == {
        f"/kaggle/input/{dataset}": "dataset alice/photos/1",
        f"/kaggle/input/{kernel}": f"kernel {OTHER}/1",
        f"/kaggle/input/{competition}": "competition digits",
    }
    assert seen == {
        f"{dataset}/photos.txt": "photos",
        f"{competition}/digits.txt": "digits",
        **{f"{kernel}/{number}.txt": str(number) for number in range(4)},
    }
    own = {path.name for path in version.mounts[f"/kaggle/input/{kernel}"].iterdir()}
    assert {"__results__.html", "__notebook__.ipynb", "__output__.json", "custom.css"} <= own


def test_sources_that_are_not_there_are_named_and_the_push_goes_on(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=fail) as kaggle:
        push(kaggle, ref=OTHER)
        kaggle.add_dataset("alice/fresh", tmp_path)
        kaggle.datasets["alice/fresh"].versions[0].status = "INDIVIDUAL_BLOBS_COMPRESSED"
        kaggle.add_dataset("alice/photos", tmp_path)
        wrong = {
            "dataset_sources": ["alice/nothing", "alice/fresh", "alice/photos/2"],
            "kernel_sources": [OTHER, "alice/nothing", REF],
            "competition_sources": ["nothing"],
            "model_sources": ["google/vit/keras/base/1"],
        }
        said = push(kaggle, **wrong)
        assert said["versionNumber"] == 1
        assert kaggle.kernels[REF].versions[0].mounted == {}
    assert {name: refs for name, refs in said.items() if name.startswith("invalid")} == {
        f"invalid{name.split('_')[0].capitalize()}Sources": refs for name, refs in wrong.items()
    }


@pytest.mark.parametrize("refuse", [True, False])
def test_a_kernel_that_names_itself(push, tmp_path, refuse):
    with LocalKaggle(tmp_path / "k", runner=write_five, refuse_self_source=refuse) as kaggle:
        push(kaggle)
        said = push(kaggle, kernel_sources=[REF])
        assert said.get("invalidKernelSources", []) == ([REF] if refuse else [])
        mounted = kaggle.kernels[REF].versions[1].mounted
    assert list(mounted.values()) == ([] if refuse else [f"kernel {REF}/1"])


def test_a_push_does_not_wait_for_its_source(push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        push(kaggle, ref=OTHER)
        kaggle.hold()
        push(kaggle, ref=OTHER, wait=False)
        push(kaggle, kernel_sources=[OTHER], wait=False)
        (mounted,) = kaggle.kernels[REF].versions[0].mounted.values()
    assert mounted == f"kernel {OTHER}/1"


# Datasets and submissions


def write_dataset(folder, text="one"):
    (folder / "package/inner").mkdir(parents=True, exist_ok=True)
    (folder / "package/inner/code.py").write_text(text)
    (folder / "carlib-1-py3-none-any.whl").write_bytes(b"PK")
    (folder / "empty").touch()
    (folder / "dataset-metadata.json").write_text(
        json.dumps({"id": "alice/package", "title": "Package", "licenses": [{"name": "other"}]})
    )
    return folder


def test_a_dataset_is_ready_after_a_while_and_then_has_its_number(client, tmp_path):
    folder = write_dataset(tmp_path / "package")

    def number():
        said = client(kaggle, "dataset_status", "alice/package", format="json")
        return tuple(json.loads(said.value).values())

    with LocalKaggle(tmp_path / "k", runner=write_five, ready_after=2) as kaggle:
        assert client(kaggle, "dataset_status", "alice/package").status == 403
        made = client(kaggle, "dataset_create_new", folder, dir_mode="zip").value
        assert (made["status"], made["ref"]) == ("Ok", "/alice/package")
        assert [number() for _ in range(3)] == [
            ("individual_blobs_compressed", 1),
            ("individual_blobs_compressed", 1),
            ("ready", 1),
        ]
        write_dataset(folder, "two")
        made = client(kaggle, "dataset_create_version", folder, "second", dir_mode="zip").value
        assert made["status"] == "Ok"
        assert [number() for _ in range(3)] == [
            ("ready", 1),  # still the one before
            ("individual_blobs_compressed", 2),
            ("ready", 2),
        ]
        again = client(kaggle, "dataset_create_new", folder)
        assert "already in use" in again.value["error"]
        listed = client(kaggle, "dataset_list_files", "alice/package").value
        first, second = kaggle.datasets["alice/package"].versions
    assert second.notes == "second"
    for version, text in ((first, "one"), (second, "two")):
        assert (version.folder / "package/inner/code.py").read_text() == text
        assert (version.folder / "carlib-1-py3-none-any.whl").read_bytes() == b"PK"
        assert (version.folder / "empty").read_bytes() == b""
    names = {file["name"] for file in listed["datasetFiles"]}
    assert names == {"carlib-1-py3-none-any.whl", "empty", "package/inner/code.py"}


def test_submissions_by_file_and_by_kernel(client, push, tmp_path):
    (tmp_path / "submission.csv").write_text("id,label\n")
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        kaggle.add_competition("digits", tmp_path)
        push(kaggle)
        file = tmp_path / "submission.csv"
        said = client(kaggle, "competition_submit", file, "by file", "digits")
        assert said.value == {"message": "Successfully submitted to digits", "ref": 1}
        code = ("competition_submit_code", "1.txt", "by kernel", "digits", REF)
        assert client(kaggle, *code, kernel_version=1).value["ref"] == 2
        for wrong in (
            ("competition_submit_code", "nothing.csv", "", "digits", REF, 1),
            ("competition_submit_code", "1.txt", "", "digits", REF, 2),
        ):
            assert client(kaggle, *wrong).status == 400
        assert client(kaggle, "competition_submit", file, "", "nothing").status == 404
        states = [
            [one.get("status", "PENDING") for one in said.value]
            for said in (client(kaggle, "competition_submissions", "digits") for _ in range(2))
        ]
        assert states == [["PENDING"] * 2, ["COMPLETE"] * 2]
        limits = ("competition_get_submission_limits", "digits")
        assert client(kaggle, *limits).value["numAllowedNow"] == 3
        for _ in range(3):
            client(kaggle, "competition_submit", file, "", "digits")
        assert client(kaggle, "competition_submit", file, "", "digits").status == 400
        kaggle.advance(86401)
        assert client(kaggle, *limits).value["numAllowedNow"] == 5
    assert [said["path"].read_text() for said in kaggle.submissions[:2]] == ["id,label\n", "1"]
    assert [said.get("kernel") for said in kaggle.submissions[:2]] == [None, REF]


def test_what_is_not_there(client, push, tmp_path):
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        assert "Cannot access kernel" in client(kaggle, "kernels_status", REF).error
        assert client(kaggle, "kernels_pull", REF, tmp_path).status == 403
        assert client(kaggle, "model_get", "google/vit").status == 404  # a method it has not
        push(kaggle)
        kaggle.key = "another"
        assert client(kaggle, "kernels_list").status == 401
        kaggle.key = "k"
        assert [one["ref"] for one in client(kaggle, "kernels_list").value] == [REF]
        client(kaggle, "kernels_delete", REF, no_confirm=True)
        assert kaggle.kernels == {}


# Faults: what the real client makes of each


@pytest.mark.parametrize("after", [False, True], ids=["lost", "after"])
@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("429", 429, "HTTPError: Too many requests"),
        ("500", 500, "HTTPError: "),
        ("503", 503, "HTTPError: "),
        ("reset", 0, "ProxyError: "),  # a ConnectionError: the client reaches it as a proxy
        ("timeout", 0, "ProxyError: "),
        ("truncated", 0, "ChunkedEncodingError: "),
        ("error-page", 0, "JSONDecodeError: "),
        ("error-page-502", 502, "HTTPError: 502"),
    ],
)
def test_a_push_that_meets_a_fault(client, tmp_path, kind, status, error, after):
    folder = write_kernel(tmp_path / "push")
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        fault = Fault("SaveKernel", kind, nth=2, after=after)
        kaggle.faults.append(fault)
        assert not client(kaggle, "kernels_push", folder).error
        if kind == "timeout":
            threading.Timer(0.1, fault.release).start()
        said = client(kaggle, "kernels_push", folder)
        assert said.error.startswith(error)
        assert said.status == status
        # The client itself has not tried again; only what was done first is there.
        assert len(kaggle.kernels[REF].versions) == (2 if after or kind == "truncated" else 1)
        assert not client(kaggle, "kernels_push", folder).error
    assert (fault.seen, fault.met) == (3, 1)


def test_the_close_lets_a_call_go_that_waits(client, tmp_path):
    kaggle = LocalKaggle(tmp_path / "k", runner=write_five)
    with kaggle:
        kaggle.faults.append(Fault("GetKernelSessionStatus", "timeout"))
        said = []
        asking = threading.Thread(target=lambda: said.append(client(kaggle, "kernels_status", REF)))
        asking.start()
        while not kaggle.calls:
            pass
    asking.join()
    assert said[0].error.startswith("ProxyError")


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("error-page", "", "Something went wrong"),
        ("error-page-502", "HTTPError: 502", None),
        ("500", "HTTPError: 500", None),
        ("reset", "ProxyError: ", None),
        ("truncated", "", "2222"),  # the client goes on from where it stopped
    ],
)
def test_a_file_that_meets_a_fault(client, push, tmp_path, kind, error, text):
    def write(run):
        for number in range(4):
            (run.working / f"{number}.txt").write_text(f"{number}" * 4)

    with LocalKaggle(tmp_path / "k", runner=write) as kaggle:
        push(kaggle)
        kaggle.faults.append(Fault("GET", kind, path="2.txt"))
        said = client(kaggle, "kernels_output", REF, tmp_path / "out", force=True)
        assert said.error[: len(error) or None] == error
        asked = [request["path"][-5:] for rpc, request in kaggle.calls if rpc == "GET"]
    assert (tmp_path / "out/1.txt").read_text() == "1111"
    found = tmp_path / "out/2.txt"
    assert text in found.read_text() if text else not found.exists()
    assert asked.count("2.txt") == (2 if kind == "truncated" else 1)


@pytest.mark.parametrize(
    ("rpc", "kind", "options"),
    [
        ("StartBlobUpload", "429", {"retry_after": 0}),
        ("StartBlobUpload", "429", {"retry_after": 0, "times": 2, "after": True}),
        ("PUT", "503", {"path": "*.whl"}),
        ("PUT", "503", {"path": "*.whl", "after": True}),
        ("PUT", "reset", {"path": "*.whl"}),
        ("PUT", "reset", {"path": "*.whl", "after": True}),
        ("CreateDataset", "429", {"retry_after": 0}),
    ],
)
def test_an_upload_that_meets_a_fault_is_tried_again(client, tmp_path, rpc, kind, options):
    fault = Fault(rpc, kind, **options)
    folder = write_dataset(tmp_path / "package")
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        kaggle.faults.append(fault)
        said = client(kaggle, "dataset_create_new", folder)
        assert fault.met == fault.times
        assert said.value["status"] == "Ok", said
        (version,) = kaggle.datasets["alice/package"].versions
    assert (version.folder / "carlib-1-py3-none-any.whl").read_bytes() == b"PK"


def test_a_new_version_whose_answer_is_lost_comes_twice(client, tmp_path):
    """The client tries again by itself: the trap that a driver has to see."""
    folder = write_dataset(tmp_path / "package")
    with LocalKaggle(tmp_path / "k", runner=write_five) as kaggle:
        kaggle.add_dataset("alice/package", tmp_path)
        kaggle.faults.append(Fault("CreateDatasetVersion", "429", after=True, retry_after=0))
        client(kaggle, "dataset_create_version", folder, "one")
        assert [version.number for version in kaggle.datasets["alice/package"].versions] == [
            1,
            2,
            3,
        ]


@pytest.mark.parametrize(
    ("options", "error"),
    [({"kind": "418"}, "kind must be one of"), ({"nth": 0}, "count from 1"), ({"times": 0}, "1;")],
)
def test_a_fault_refuses_nonsense(options, error):
    with pytest.raises(ValueError, match=error):
        Fault("SaveKernel", **{"kind": "500", **options})


def test_a_layout_of_no_kaggle_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layout must be one of new, old; got 'odd'"):
        LocalKaggle(tmp_path, layout="odd", runner=write_five)


# The image, and real runs


def test_the_image_has_the_packages_but_not_those_left_out(tmp_path):
    image = make_image(tmp_path, without=("pytest", "carlib"))
    names = {path.name for path in image.iterdir()}
    assert {"numpy", "keras", "nbclient", "pip", "kaggle"} <= names
    assert not names & {"pytest", "_pytest", "carlib", "__pycache__"}
    assert not [name for name in names if re.match(r"__editable__|(pytest|carlib)-[\d.]+", name)]
    assert not {"carlib", "kaggle", "efficientnet", "pytest"} & {
        path.name for path in make_image(tmp_path / "default").iterdir()
    }


def test_where_nothing_can_run_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(real, "unshare", lambda: ())
    monkeypatch.setenv(real.ROOT, str(tmp_path))
    with pytest.raises(RuntimeError, match=r"refuses namespaces .* and /kaggle does not lead to"):
        LocalKaggle(tmp_path)


def test_without_namespaces_a_plain_folder_does(push, tmp_path, monkeypatch):
    """As far as it goes without a /kaggle that leads there."""
    monkeypatch.setattr(real, "unshare", lambda: ())
    monkeypatch.setattr(state, "refused", lambda: "")
    monkeypatch.setenv(real.ROOT, str(tmp_path / "plain"))
    (tmp_path / "photos/inner").mkdir(parents=True)
    (tmp_path / "photos/inner/photo.txt").write_text("photo")
    source = "print(open('../input/photos/inner/photo.txt').read()); open('kept.txt', 'w').close()"
    with LocalKaggle(tmp_path / "k", layout="old") as kaggle:
        kaggle.add_dataset("alice/photos", tmp_path / "photos")
        for _ in range(2):
            push(kaggle, source, kernel_type="script", dataset_sources=["alice/photos"])
        kaggle.limit_when = lambda run: bool(run.version.records)
        push(kaggle, "import time; print('on', flush=True); time.sleep(600)", kernel_type="script")
    first, second, cut = kaggle.kernels[REF].versions
    for version in (first, second):
        assert (version.status, version.log) == ("COMPLETE", "photo\n")
        assert [path.name for path in version.working.iterdir()] == ["kept.txt"]
    assert (cut.status, cut.log) == ("CANCEL_ACKNOWLEDGED", "on\n")
    assert processes(str(tmp_path / "k")) == 0


LOOK = """
import importlib.util, json, os, socket
def fails(thing, *args):
    try:
        thing(*args)
    except OSError as error:
        return type(error).__name__ + str(error.errno)
with open("/proc/1/stat") as file:
    started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
with open("/proc/uptime") as file:
    age = float(file.read().split()[0]) - started
print(json.dumps({
    "cwd": os.getcwd(),
    "read": open("/kaggle/input/datasets/alice/photos/photo.txt").read(),
    "write": [fails(open, "/kaggle/input" + where, "w")
              for where in ("/x", "/datasets/x", "/datasets/alice/photos/x")],
    "network": fails(socket.create_connection, ("192.0.2.1", 9), 1),
    "lo": fails(socket.create_server, ("127.0.0.1", 0)),
    "found": [name for name in ("tensorflow", "carlib", "kaggle", "efficientnet")
              if importlib.util.find_spec(name)],
    "age": age < 60,
    "environment": [name for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_KEY", "http_proxy")
                    if name in os.environ],
}))
open("kept.txt", "w").write("kept")
"""
INSTALL = "%pip install -q --no-index --find-links /kaggle/input/datasets/alice/photos tiny-thing"


def write_wheel(folder):
    with zipfile.ZipFile(folder / "tiny_thing-1-py3-none-any.whl", "w") as wheel:
        about = "tiny_thing-1.dist-info"
        wheel.writestr("tiny_thing.py", "answer = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


@really
def test_a_real_run(push, client, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/photo.txt").write_text("photo")
    write_wheel(tmp_path / "photos")
    with LocalKaggle(tmp_path / "k") as kaggle:
        kaggle.add_dataset("alice/photos", tmp_path / "photos")
        source = notebook(LOOK, INSTALL, "import tiny_thing; print(tiny_thing.answer)")
        push(kaggle, source, dataset_sources=["alice/photos"])
        version = kaggle.kernels[REF].versions[0]
        assert version.status == "COMPLETE", version.log
        assert pulled(client, kaggle, tmp_path / "out")["kept.txt"] == "kept"
        first, *_, last = version.log.splitlines()
        executed = json.loads((version.output / "__notebook__.ipynb").read_text())
    assert json.loads(first) == {
        "cwd": "/kaggle/working",
        "read": "photo",
        "write": ["OSError30"] * 3,  # EROFS
        "network": "OSError101",  # ENETUNREACH
        "lo": None,
        "found": ["tensorflow"],
        "age": True,
        "environment": ["KAGGLE_KERNEL_RUN_TYPE"],
    }
    assert last == "42"
    assert executed["cells"][2]["outputs"][0]["text"] == ["42\n"]
    assert not (tmp_path / "photos/x").exists()
    assert not (version.folder / "machine").exists()


def processes(marker):
    """Count the processes of this machine that have ``marker`` among their arguments."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += marker in path.read_text()
        except OSError:
            continue  # it has ended
    return count


@really
def test_the_limit_leaves_no_process_behind(push, tmp_path):
    marker = f"86{os.getpid()}.25"
    code = f"""
import subprocess, time
subprocess.Popen(["sleep", "{marker}"], start_new_session=True)
print("to the log", flush=True)
time.sleep(0.2)
open("now", "w").close()
time.sleep(600)
"""
    alive = []

    def struck(run):
        if (run.working / "now").exists():
            alive.append(processes(marker))
        return bool(alive)

    with LocalKaggle(tmp_path / "k") as kaggle:
        kaggle.limit_when = struck
        push(kaggle, notebook(code))
        version = kaggle.kernels[REF].versions[0]
    assert alive[0] >= 1
    assert processes(marker) == 0
    assert processes(str(tmp_path / "k")) == 0
    assert (version.status, version.log) == ("CANCEL_ACKNOWLEDGED", "to the log\n")
    assert [path.name for path in version.working.iterdir()] == ["now"]


@really
@pytest.mark.parametrize(
    ("kind", "source", "log"),
    [
        ("notebook", notebook("1/0"), "ZeroDivisionError"),
        ("script", "print('in the log'); raise SystemExit(3)", "in the log"),
    ],
)
def test_a_real_run_that_fails(push, tmp_path, kind, source, log):
    with LocalKaggle(tmp_path / "k") as kaggle:
        push(kaggle, source, kernel_type=kind)
        version = kaggle.kernels[REF].versions[0]
    assert (version.status, version.failure) == ("ERROR", f"the {kind} ended with an error")
    assert log in version.log


@really
def test_it_can_be_played_with(tmp_path):
    """Started, asked by the real command, and ended by Ctrl-C with a session still running."""
    source = "import time; print('started', flush=True); time.sleep(600)"
    folder = write_kernel(tmp_path / "push", source, kernel_type="script")
    command = [sys.executable, "-u", "-m", "local_kaggle", "--root", str(tmp_path / "k")]
    command += ["--dataset", f"alice/photos={folder}", "--quota", "2h"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as served:
        said = []
        for line in served.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        script = "".join(said) + f"{sys.executable} -m kaggle kernels push -p {folder}\n"
        script += f"{sys.executable} -m kaggle quota\n"
        asked = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
        while "running" not in said[-1]:
            said.append(served.stdout.readline())
        served.send_signal(signal.SIGINT)
        said += served.stdout.readlines()
    assert "Kernel version 1 successfully pushed" in asked.stdout
    assert "2.00h" in asked.stdout
    told = [" ".join(line.split()[1:]) for line in said if line[0].isdigit()]
    assert told == [
        f"pushed {REF} v1",
        f"running {REF} v1",
        "ending",
        f"cancel_acknowledged {REF} v1",
    ]
    assert served.returncode == 0


@pytest.mark.parametrize("wrong", [["--quota", "2 weeks"], ["--root", "/dev/null/x"]])
def test_a_start_that_fails_is_told_in_a_line(wrong):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "-m", "local_kaggle", *wrong],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"local Kaggle: .+\n", done.stderr)
