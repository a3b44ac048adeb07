"""The calls on datasets: uploads, new datasets and versions, their status."""

from __future__ import annotations

import secrets
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .state import Platform
from .things import Blob, Dataset, DatasetVersion, Refusal, files_of, page, slugify, stamp

Body = dict[str, Any]


def start_upload(platform: Platform, request: Body) -> Body:
    """Announce an upload; the file itself is then PUT to ``createUrl``."""
    token = secrets.token_hex(8)
    name = str(request.get("name") or request.get("fileName"))
    folder = platform.root / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    blob = Blob(token, name, int(request.get("contentLength") or 0), folder / token)
    platform.blobs[token] = blob
    return {"token": token, "createUrl": f"http://localhost/blob/{token}/{quote(name)}"}


def uploaded(platform: Platform, token: str) -> Blob:
    """Return an upload that has come whole.

    Raises:
        Refusal: It is unknown, or a part of it is missing.
    """
    blob = platform.blobs.get(token)
    if blob is None or not blob.path.is_file() or blob.path.stat().st_size != blob.length:
        raise Refusal(400, f"Upload {token} is not there, or not whole")
    return blob


def create_dataset(platform: Platform, request: Body) -> Body:
    slug = str(request.get("slug") or slugify(str(request.get("title", ""))))
    owner = str(request.get("ownerSlug") or platform.user)
    ref = f"{owner}/{slug}"
    if owner != platform.user:
        return {"status": "Error", "error": f"You do not have permission to create {ref}"}
    if ref in platform.datasets:
        return {"status": "Error", "error": f"The requested title {slug!r} is already in use"}
    private = bool(request.get("isPrivate"))
    return _add(platform, Dataset(ref, str(request.get("title") or slug), private), request)


def create_version(platform: Platform, request: Body) -> Body:
    return _add(platform, platform.dataset(request), request.get("body") or {})


def _add(platform: Platform, dataset: Dataset, body: Body) -> Body:
    files = body.get("files") or []
    if not files:
        return {"status": "Error", "error": "At least one file must be given"}
    blobs = [uploaded(platform, str(said.get("token"))) for said in files]
    with platform.lock:
        number = len(dataset.versions) + 1
        folder = platform.root / "datasets" / dataset.ref / f"v{number}"
        folder.mkdir(parents=True)
        for blob in blobs:
            _lay(blob, folder)
        notes = str(body.get("versionNotes") or "")
        dataset.versions.append(DatasetVersion(number, folder, notes=notes))
        platform.datasets[dataset.ref] = dataset
    platform.tell(f"dataset    {dataset.ref} v{number}")
    return {
        "status": "Ok",
        "ref": f"/{dataset.ref}",
        "url": f"http://localhost/datasets/{dataset.ref}",
    }


def _lay(blob: Blob, folder: Path) -> None:
    """Put an upload in its place; an archive is unpacked into a folder of its name."""
    path = Path(blob.name)
    if path.suffix == ".zip":
        with zipfile.ZipFile(blob.path) as archive:
            archive.extractall(folder / path.stem)
    elif path.suffix == ".tar":
        with tarfile.open(blob.path) as archive:
            archive.extractall(folder / path.stem, filter="data")
    else:
        shutil.copy(blob.path, folder / path.name)


def dataset_status(platform: Platform, request: Body) -> Body:
    """Say how far the newest version is; each time it is asked brings it on.

    At first the version before it is still the one that counts: READY, and not the one waited for.
    """
    dataset = platform.dataset(request)
    with platform.lock:
        newest = dataset.versions[-1]
        if newest.status in ("READY", "FAILED"):
            return {"status": newest.status}
        newest.polls += 1
        if newest.polls > platform.ready_after:
            newest.status = "READY"
        old = newest.polls == 1 and newest.number > 1
        return {"status": "READY" if old else newest.status}


def get_dataset(platform: Platform, request: Body) -> Body:
    dataset = platform.dataset(request)
    newest = dataset.versions[-1]
    unseen = newest.status != "READY" and newest.polls < 2 and newest.number > 1
    current = dataset.versions[-2] if unseen else newest
    return {
        "ref": dataset.ref,
        "title": dataset.title,
        "isPrivate": dataset.private,
        "url": f"http://localhost/datasets/{dataset.ref}",
        "currentVersionNumber": current.number,
        "totalBytes": sum(path.stat().st_size for path in files_of(current.folder)),
        "lastUpdated": stamp(platform.now()),
    }


def dataset_files(platform: Platform, request: Body) -> Body:
    dataset = platform.dataset(request)
    version = dataset.ready(request.get("datasetVersionNumber"))
    if version is None:
        return {"datasetFiles": [], "errorMessage": "The dataset is not ready"}
    some, token = page(files_of(version.folder), request, platform.page_size)
    return {
        "datasetFiles": [
            {
                "name": path.relative_to(version.folder).as_posix(),
                "totalBytes": path.stat().st_size,
                "creationDate": stamp(path.stat().st_mtime),
            }
            for path in some
        ],
        "nextPageToken": token,
    }


CALLS = {
    "StartBlobUpload": start_upload,
    "CreateDataset": create_dataset,
    "CreateDatasetVersion": create_version,
    "GetDatasetStatus": dataset_status,
    "GetDataset": get_dataset,
    "ListDatasetFiles": dataset_files,
}
