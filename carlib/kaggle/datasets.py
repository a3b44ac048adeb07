"""Datasets at Kaggle: created or given a version, and waited for until a kernel may name it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from carlib.kaggle.client import Answer, Asker, KaggleError
from carlib.kaggle.metadata import DATASET_FILE, check_dataset
from carlib.kaggle.secrets import refuse_secret_text, refuse_secrets
from carlib.progress import progress

_NOT_THERE = ("missing", "refused")
PATIENCE = 3600.0  # seconds that Kaggle may take to unpack a dataset


def upload_dataset(
    asker: Asker,
    folder: Path,
    notes: str,
    *,
    public: bool = False,
    expected: int | None = None,
    poll: float = 5.0,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Create the dataset of a folder, or add a version to it, and wait until that is mounted.

    A push that names a dataset whose newest version is not ready is told "not valid dataset
    sources", or gets the version before; so both are waited for: ready, and the number.

    Args:
        asker: The client.
        folder: Holds dataset-metadata.json and the files; its folders travel as zips, which
            Kaggle unpacks.
        notes: What is new in this version.
        public: Whether a new dataset is; an old one stays as it is. Defaults to False.
        expected: The number that this version will have, where an upload of it may have come
            through before: then nothing is sent again. None for the next.
        poll: Seconds between two looks.
        wait: Sleeps. Defaults to time.sleep.

    Returns:
        The version that is ready.

    Raises:
        UsageError: A rule of the metadata is broken.
        CarlibError: Something looks like a secret.
        KaggleError: Kaggle refused, could not be reached, or did not get ready.
    """
    check_dataset(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    refuse_secrets([folder])
    refuse_secret_text("the notes", notes)
    dataset = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))["id"]
    now = dataset_version(asker, dataset)
    target = expected or (now[1] if now else 0) + 1

    def done() -> Answer | None:
        found = dataset_version(asker, dataset)
        return {"error": ""} if found and found[1] >= target else None

    size = sum(path.stat().st_size for path in files)
    if now and now[1] >= target:
        answer = {"error": ""}
    elif now is None:
        answer = asker.once("dataset_create", done, size=size, folder=str(folder), public=public)
    else:
        answer = asker.once("dataset_version", done, size=size, folder=str(folder), notes=notes)
    # The client itself asks again after a lost answer, and may be told that the slug is taken.
    if answer["error"] and done() is None:
        raise KaggleError(f"Kaggle refused dataset {dataset}: {answer['error']}", "refused")
    await_dataset(asker, dataset, target, poll=poll, wait=wait)
    return target


def dataset_version(asker: Asker, dataset: str) -> tuple[str, int] | None:
    """Return a dataset's status and version, or None where there is no such dataset."""
    try:
        said = asker.read("dataset_status", dataset=dataset)
    except KaggleError as error:
        if error.kind in _NOT_THERE:
            return None
        raise
    return str(said["status"]), int(said["version"] or 0)


def await_dataset(
    asker: Asker,
    dataset: str,
    version: int,
    *,
    poll: float = 5.0,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a dataset is ready at a version, or a later one, at two looks in a row.

    Status and version come by two calls: between them, "ready" of the version before may meet the
    number of the new one.

    Raises:
        KaggleError: It failed, or took longer than an hour.
    """
    waited, before = 0.0, None
    with progress(desc=f"{dataset} {version} unpacks", unit=" looks") as bar:
        while True:
            found = dataset_version(asker, dataset)
            if found and found[0] == "ready" and found[1] >= version and found == before:
                return
            # Likewise "failed": it may be the version before that did.
            if found and found[0] in ("failed", "deleted") and found == before:
                raise KaggleError(
                    f"dataset {dataset} is {found[0]} at Kaggle; look at "
                    f"https://www.kaggle.com/datasets/{dataset}",
                    "refused",
                )
            before = found
            if waited >= PATIENCE:
                said = f"{found[0]} at version {found[1]}" if found else "not there"
                raise KaggleError(
                    f"dataset {dataset} is not ready at version {version} after "
                    f"{waited / 60:.0f} minutes: {said}; look at "
                    f"https://www.kaggle.com/datasets/{dataset}",
                    "lost",
                )
            bar.update()
            wait(poll)
            waited += poll
