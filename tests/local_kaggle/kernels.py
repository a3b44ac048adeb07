"""The calls on kernels: push, status, output, source, quota."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from .state import Platform
from .things import ENDED, Kernel, Refusal, Version, files_of, page, slugify, stamp

Body = dict[str, Any]
MOST_SOURCE = 1_000_000  # bytes
KEPT = (
    "language",
    "kernelType",
    "isPrivate",
    "enableGpu",
    "enableTpu",
    "enableInternet",
    "categoryIds",
    "datasetDataSources",
    "kernelDataSources",
    "competitionDataSources",
    "modelDataSources",
    "dockerImage",
    "machineShape",
)


def save_kernel(platform: Platform, request: Body) -> Body:
    """Push: what is wrong is said in ``error`` or in a list, with HTTP 200."""
    owner, _, slug = str(request.get("slug") or f"{platform.user}/").partition("/")
    title = str(request.get("newTitle") or slug)
    slug = slugify(title)
    ref = f"{owner}/{slug}"
    if owner != platform.user:
        return {"error": f"You do not have permission to push to {ref}"}
    if len(slug) < 5:
        return {"error": "The kernel's title must have at least five characters"}
    if len(str(request.get("text", "")).encode()) >= MOST_SOURCE:
        return {"error": "Kernel source must be less than 1 MB"}
    with platform.lock:
        kernel = platform.kernels.get(ref) or Kernel(ref, len(platform.kernels) + 1, title)
        number = len(kernel.versions) + 1
        version = Version(number, request, platform.root / "kernels" / ref / f"v{number}")
        quota = platform.gpu_quota
        if version.gpu and platform.gpu_used() >= quota:
            return {"error": f"Maximum weekly GPU quota of {quota / 3600:.2f} hours reached."}
        invalid = _attach(platform, kernel, version)
        kernel.versions.append(version)
        platform.kernels[ref] = kernel
        if request.get("kernelExecutionType") == "QUICK_SAVE":
            version.status = "NEW_SCRIPT"
        else:
            platform.tell(f"pushed     {ref} v{number}")
            platform.start(kernel, version)
    url = f"http://localhost/code/{ref}"
    return {"ref": f"/code/{ref}", "url": url, "versionNumber": number, "kernelId": kernel.id} | {
        name: refs for name, refs in invalid.items() if refs
    }


def _attach(platform: Platform, kernel: Kernel, version: Version) -> dict[str, list[str]]:
    """Resolve the sources as they are now, and return those refused."""
    request = version.request
    invalid: dict[str, list[str]] = {
        "invalidDatasetSources": [],
        "invalidKernelSources": [],
        "invalidCompetitionSources": [],
        "invalidModelSources": list(request.get("modelDataSources") or ()),
    }

    def mount(kind: str, ref: str, number: str, folder: Any) -> None:
        where = platform.mount_path(kind, ref)
        version.mounts[where] = folder
        version.mounted[where] = f"{kind} {ref}{number}"

    for source in request.get("datasetDataSources") or ():
        ref, pin = _split(source)
        dataset = platform.datasets.get(ref)
        ready = dataset.ready(pin) if dataset else None
        if ready is None:
            invalid["invalidDatasetSources"].append(source)
        else:
            mount("dataset", ref, f"/{ready.number}", ready.folder)
    for source in request.get("kernelDataSources") or ():
        ref, _ = _split(source)  # a pin is dropped without a word
        itself = ref == kernel.ref and platform.refuse_self_source
        known = platform.kernels.get(ref)
        complete = known.complete() if known and not itself else None
        if complete is None:
            invalid["invalidKernelSources"].append(source)
        else:
            mount("kernel", ref, f"/{complete.number}", complete.output)
    for slug in request.get("competitionDataSources") or ():
        if slug in platform.competitions:
            mount("competition", slug, "", platform.competitions[slug])
        else:
            invalid["invalidCompetitionSources"].append(slug)
    return invalid


def _split(source: str) -> tuple[str, int | None]:
    owner, slug, *pin = source.split("/")
    return f"{owner}/{slug}", int(pin[0]) if pin and pin[0].isdigit() else None


def session_status(platform: Platform, request: Body) -> Body:
    _, version = platform.version(request)
    failure = {"failureMessage": version.failure} if version.failure else {}
    return {"status": version.status, **failure}


def session_output(platform: Platform, request: Body) -> Body:
    """List the kept files, a page at a time, and the log; nothing while the session runs."""
    kernel, version = platform.version(request)
    if version.status not in ENDED:
        return {"files": []}
    names = [path.relative_to(version.working).as_posix() for path in files_of(version.working)]
    some, token = page(names, request, platform.page_size)
    base = f"http://localhost/output/{kernel.ref}/v{version.number}"
    files = [{"fileName": name, "url": f"{base}/{quote(name)}"} for name in some]
    return {"files": files, "log": served_log(version), "nextPageToken": token}


def served_log(version: Version) -> str:
    """Return the log as Kaggle serves it: a JSON list, one entry a line; "" where there is none."""
    records = [json.dumps(record) for record in version.records]
    return "[" + "\n,".join(records) + "\n]" if records else ""


def list_files(platform: Platform, request: Body) -> Body:
    _, version = platform.version(request)
    kept = files_of(version.working) if version.status in ENDED else []
    some, token = page(kept, request, platform.page_size)
    return {
        "files": [
            {
                "name": path.relative_to(version.working).as_posix(),
                "size": path.stat().st_size,
                "creationDate": stamp(path.stat().st_mtime),
            }
            for path in some
        ],
        "nextPageToken": token,
    }


def get_kernel(platform: Platform, request: Body) -> Body:
    """Return the source and the metadata of a version."""
    kernel, version = platform.version(request)
    kind = {name: version.request.get(name) for name in ("language", "kernelType")}
    slug = kernel.ref.partition("/")[2]
    return {
        "metadata": _metadata(platform, kernel, version),
        "blob": {"source": version.source, "slug": slug, **kind},
    }


def list_kernels(platform: Platform, request: Body) -> Body:
    every = [_metadata(platform, kernel, kernel.versions[-1]) for kernel in _all(platform)]
    some, token = page(every, request, platform.page_size)
    return {"kernels": some, "nextPageToken": token}


def _all(platform: Platform) -> list[Kernel]:
    with platform.lock:
        return list(platform.kernels.values())


def _metadata(platform: Platform, kernel: Kernel, version: Version) -> Body:
    return {
        "id": kernel.id,
        "ref": kernel.ref,
        "title": kernel.title,
        "author": platform.user,
        "slug": kernel.ref.partition("/")[2],
        "lastRunTime": stamp(version.started or platform.now()),
        "currentVersionNumber": len(kernel.versions),
        **{name: version.request[name] for name in KEPT if name in version.request},
    }


def delete_kernel(platform: Platform, request: Body) -> Body:
    kernel = platform.kernel(request.get("userName"), request.get("kernelSlug"))
    if any(version.status not in ENDED for version in kernel.versions):
        raise Refusal(400, f"{kernel.ref} has a session that runs")
    del platform.kernels[kernel.ref]
    return {}


def quota_statistics(platform: Platform, request: Body) -> Body:
    def quota(used: float, allowed: float) -> Body:
        return {
            "timeUsed": f"{used:.3f}s",
            "timeReserved": "0s",
            "totalTimeAllowed": f"{allowed:.0f}s",
        }

    return {
        "quotaRefreshTime": stamp(platform.week()[1]),
        "gpuQuota": quota(platform.gpu_used(), platform.gpu_quota),
        "tpuQuota": quota(0.0, 20 * 3600.0),
    }


CALLS = {
    "SaveKernel": save_kernel,
    "GetKernelSessionStatus": session_status,
    "ListKernelSessionOutput": session_output,
    "ListKernelFiles": list_files,
    "GetKernel": get_kernel,
    "ListKernels": list_kernels,
    "DeleteKernel": delete_kernel,
    "GetAcceleratorQuotaStatistics": quota_statistics,
}
