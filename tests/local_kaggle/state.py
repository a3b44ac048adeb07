"""The platform itself, without its wire: clock, quota, kernels and datasets by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .faults import Fault
from .image import make_image
from .real import real_run, refused
from .sessions import Run, Session
from .things import Blob, Dataset, DatasetVersion, Kernel, Refusal, Version

WEEK = 7 * 86400.0
LAYOUTS = {
    "new": {
        "dataset": "/kaggle/input/datasets/{owner}/{slug}",
        "kernel": "/kaggle/input/notebooks/{owner}/{slug}",
        "competition": "/kaggle/input/competitions/{slug}",
    },
    "old": dict.fromkeys(("dataset", "kernel", "competition"), "/kaggle/input/{slug}"),
}


class Platform:
    """State and rules; see LocalKaggle for the arguments."""

    def __init__(
        self,
        root: Path | str,
        *,
        runner: Callable[[Run], None] | None = None,
        layout: str = "new",
        user: str = "alice",
        session_limit: float = 12 * 3600.0,
        gpu_quota: float = 30 * 3600.0,
        page_size: int = 20,
        refuse_self_source: bool = True,
        ready_after: int = 1,
        image: Path | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
        if runner is None and refused():
            raise RuntimeError(refused())
        self.root = Path(root).resolve()
        self.really = runner is None
        self.runner = runner or real_run
        self.layout = layout
        self.user = user
        self.key = "k"
        self.session_limit = session_limit
        self.gpu_quota = gpu_quota
        self.page_size = page_size
        self.refuse_self_source = refuse_self_source
        self.ready_after = ready_after
        self.image = image
        self.kernels: dict[str, Kernel] = {}
        self.datasets: dict[str, Dataset] = {}
        self.competitions: dict[str, Path] = {}
        self.submissions: list[dict[str, Any]] = []
        self.blobs: dict[str, Blob] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.limit_when: Callable[[Run], bool] | None = None
        self.tell: Callable[[str], None] = lambda line: None
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.sessions: list[Session] = []
        self._ledger: list[tuple[Version | None, float, float]] = []
        self._ahead = 0.0
        self._start = time.time()
        self._go = threading.Event()
        self._go.set()

    def now(self) -> float:
        """Seconds since 1970 on the platform's clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Put the clock forward; sessions that run now get older by it."""
        self._ahead += seconds

    def hold(self) -> None:
        """Leave sessions QUEUED from now on."""
        self._go.clear()

    def let_go(self) -> None:
        """Start the sessions that are QUEUED, and those to come."""
        self._go.set()

    def may_start(self) -> bool:
        return self._go.is_set()

    def spend(self, seconds: float) -> None:
        """Use up GPU time of this week, as a session elsewhere would."""
        self._ledger.append((None, self.now(), seconds))

    def charge(self, version: Version) -> None:
        """Let the ledger follow a GPU session."""
        self._ledger.append((version, self.now(), 0.0))

    def week(self) -> tuple[float, float]:
        """First and last moment of the quota's week; the first week starts with the platform."""
        start = self._start + (self.now() - self._start) // WEEK * WEEK
        return start, start + WEEK

    def gpu_used(self) -> float:
        """GPU seconds of this week: of each session, the part that lies in it."""
        first, last = self.week()
        used = 0.0
        for version, start, seconds in self._ledger:
            end = start + seconds
            if version is not None:
                end = self.now() if version.ended is None else version.ended
            used += max(0.0, min(end, last) - max(start, first))
        return used

    def add_dataset(self, ref: str, folder: Path | str) -> Dataset:
        """Publish a folder as the next version of a dataset, READY at once."""
        with self.lock:
            dataset = self.datasets.setdefault(ref, Dataset(ref, ref.partition("/")[2]))
            number = len(dataset.versions) + 1
            dataset.versions.append(DatasetVersion(number, Path(folder).resolve(), "READY"))
        return dataset

    def add_competition(self, slug: str, folder: Path | str) -> None:
        """Open a competition with the data in a folder."""
        self.competitions[slug] = Path(folder).resolve()

    def kernel(self, owner: str | None, slug: str | None) -> Kernel:
        """Return a kernel by its name.

        Raises:
            Refusal: There is none, or it is somebody else's; Kaggle does not say which.
        """
        try:
            return self.kernels[f"{owner}/{slug}"]
        except KeyError:
            raise Refusal(403, "Permission 'kernels.get' was denied") from None

    def version(self, request: dict[str, Any]) -> tuple[Kernel, Version]:
        """Return the version that a request asks for: by label, or the one pushed last."""
        kernel = self.kernel(request.get("userName"), request.get("kernelSlug"))
        label = request.get("versionLabel")
        if not label:
            return kernel, kernel.versions[-1]
        for version in kernel.versions:
            if label == f"v{version.number}":
                return kernel, version
        raise Refusal(404, f"Version {label} of {kernel.ref} was not found")

    def dataset(self, request: dict[str, Any]) -> Dataset:
        """Return a dataset by its name.

        Raises:
            Refusal: There is none.
        """
        try:
            return self.datasets[f"{request.get('ownerSlug')}/{request.get('datasetSlug')}"]
        except KeyError:
            raise Refusal(403, "Permission 'datasets.get' was denied") from None

    def mount_path(self, kind: str, ref: str) -> str:
        """Return where a source shows in a session.

        Args:
            kind: "dataset", "kernel" or "competition".
            ref: owner/slug, or a competition's slug.
        """
        owner, _, slug = ref.rpartition("/")
        return LAYOUTS[self.layout][kind].format(owner=owner, slug=slug)

    def start(self, kernel: Kernel, version: Version) -> None:
        """Start the session of a version, on a thread of its own."""
        session = Session(self, kernel, version)
        with self.lock:
            self.sessions.append(session)
        session.start()

    def python(self) -> Path:
        """Return the image's site-packages; made when first asked for."""
        with self.lock:
            self.image = self.image or make_image(self.root / "image")
        return self.image

    def cancel(self, ref: str) -> None:
        """Cancel the latest session of a kernel, as a person would on the site."""
        with self.lock:
            version = self.kernels[ref].versions[-1]
            if version.status in ("QUEUED", "RUNNING"):
                version.status = "CANCEL_REQUESTED"

    def wait(self, ref: str, number: int | None = None, timeout: float = 60.0) -> Version:
        """Wait until a version (None: the latest) has ended, and return it."""
        version = self.kernels[ref].versions[(number or 0) - 1]
        for session in list(self.sessions):
            if session.version is version:
                session.join(timeout)
                if session.is_alive():
                    raise TimeoutError(f"{ref} v{version.number} is still {version.status}")
        return version

    def close(self) -> None:
        """End the sessions that run, and let the calls go that wait."""
        self.closing.set()
        for fault in list(self.faults):
            fault.release()
        for session in list(self.sessions):
            session.join(30)
