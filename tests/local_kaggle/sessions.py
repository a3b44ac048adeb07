"""A session from the queue to its end: the limit, a cancel, what is kept of it."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .things import Kernel, Version

if TYPE_CHECKING:
    from .state import Platform

POLL = 0.05  # seconds from one look at a session to the next


class Run:
    """What a runner is given: the session from inside.

    Args:
        version: The version that runs. ``working`` is its writable folder.
        image: Site-packages of the image; None where the runner needs none.

    A runner writes to the log by ``say``, or sets ``log``. ``stopped`` is set when the session is
    cut; a runner that waits should wait for it.
    """

    def __init__(self, version: Version, image: Path | None = None) -> None:
        self.version = version
        self.image = image
        self.request: dict[str, Any] = version.request
        self.source = version.source
        self.folder = version.folder
        self.working = version.working
        self.inputs = version.folder / "input"
        self.log = ""
        self._start = time.monotonic()
        self.stopped = threading.Event()
        self.failed: BaseException | None = None

    def say(self, text: str, stream: str = "stdout") -> None:
        """Append to the session's log."""
        with open(self.version.log_file, "a", encoding="utf-8") as file:
            for line in text.splitlines(keepends=True):
                passed = time.monotonic() - self._start
                record = {"stream_name": stream, "time": passed, "data": line}
                file.write(json.dumps(record) + "\n")


class Session(threading.Thread):
    """The thread that takes one version through its statuses."""

    def __init__(self, platform: Platform, kernel: Kernel, version: Version) -> None:
        super().__init__(name=f"{kernel.ref} v{version.number}", daemon=True)
        self.platform = platform
        self.kernel = kernel
        self.version = version

    def run(self) -> None:
        run = None
        try:
            if self._begin():
                run = self._prepare()
                self._end(self._follow(run))
            else:
                self._end("CANCEL_ACKNOWLEDGED")
        except Exception as error:  # of the local Kaggle itself, or of its limit_when
            if run is not None:
                run.stopped.set()
            self.version.failure = f"{type(error).__name__}: {error}"
            self._end("ERROR")

    def _begin(self) -> bool:
        """Wait in the queue; False where the session is cancelled there."""
        platform, version = self.platform, self.version
        while not platform.may_start() and not self._cancelled():
            time.sleep(POLL / 5)
        with platform.lock:
            if self._cancelled():
                return False
            version.started = platform.now()
            if version.gpu:
                platform.charge(version)
            version.status = "RUNNING"
        platform.tell(f"running    {self.name}")
        return True

    def _follow(self, run: Run) -> str:
        """Let the runner work until its end or the session's, and return how it ended."""
        work = threading.Thread(target=self._work, args=(run,), daemon=True)
        work.start()
        while work.is_alive() and not self._must_stop(run):
            work.join(POLL)
        cut = work.is_alive() or self._cancelled()
        if cut:
            run.stopped.set()
            work.join(10 if self.platform.really else POLL)
            if work.is_alive():  # it cannot be killed; nothing more of it is kept
                self.version.working = self.version.folder / "kept"
                shutil.copytree(run.working, self.version.working)
        run.say(run.log)
        if cut:
            return "CANCEL_ACKNOWLEDGED"
        if run.failed is not None:
            # A real run's log has said it.
            if not (self.platform.really and self.version.records):
                run.say(f"{type(run.failed).__name__}: {run.failed}\n", "stderr")
            self.version.failure = str(run.failed)
            return "ERROR"
        self._keep()
        return "COMPLETE"

    def _cancelled(self) -> bool:
        return self.platform.closing.is_set() or self.version.status == "CANCEL_REQUESTED"

    def _must_stop(self, run: Run) -> bool:
        asked = self.version.request.get("sessionTimeoutSeconds") or self.platform.session_limit
        limit = min(asked, self.platform.session_limit)
        started = self.version.started or 0.0
        if self._cancelled() or self.platform.now() - started > limit:
            return True
        return self.platform.limit_when is not None and self.platform.limit_when(run)

    def _prepare(self) -> Run:
        image = self.platform.python() if self.platform.really else None
        run = Run(self.version, image)
        run.working.mkdir(parents=True)
        for where, source in self.version.mounts.items():
            link = run.inputs / Path(where).relative_to("/kaggle/input")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(source, target_is_directory=True)
        run.inputs.mkdir(exist_ok=True)
        return run

    def _work(self, run: Run) -> None:
        try:
            if run.request.get("kernelType") == "notebook":
                notebook = json.loads(run.source)
                if not notebook.get("metadata", {}).get("kernelspec"):
                    raise RuntimeError("No kernel name found in notebook and no override provided.")
            self.platform.runner(run)
        except BaseException as error:
            run.failed = error

    def _keep(self) -> None:
        """Lay out what later sessions mount: the kept files, and Kaggle's own beside them."""
        version = self.version
        shutil.copytree(
            version.working, version.output, copy_function=os.link, ignore_dangling_symlinks=True
        )
        own = {
            "__results__.html": f"<html><body><pre>{version.log}</pre></body></html>",
            "__notebook__.ipynb": version.source,
            "__output__.json": json.dumps(version.records),
            "custom.css": "",
        }
        executed = version.folder / "executed.ipynb"
        for name, text in own.items():
            (version.output / name).unlink(missing_ok=True)
            (version.output / name).write_text(text, encoding="utf-8")
        if executed.is_file():
            shutil.copy(executed, version.output / "__notebook__.ipynb")

    def _end(self, status: str) -> None:
        with self.platform.lock:
            self.version.ended = self.platform.now()
            self.version.started = self.version.started or self.version.ended
            self.version.status = status
        self.platform.tell(f"{status.lower():10} {self.name}")
