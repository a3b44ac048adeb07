"""The local Kaggle as tests hold it: the platform, its server, and what the client must be told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from .sessions import Run
from .state import Platform
from .wire import Server


class LocalKaggle(Platform):
    """A Kaggle on this machine, for the real and unpatched client.

    Args:
        root: Folder for everything it keeps.
        runner: Called with a Run in place of really running; what it raises ends the session as
            ERROR. Defaults to a real run in a namespace.
        layout: Of /kaggle/input: "new" or "old".
        user: Whose account it is.
        session_limit: Seconds after which a session is killed.
        gpu_quota: Seconds of GPU a week.
        page_size: The most that a listing gives at once.
        refuse_self_source: Whether a kernel may not name itself as its source.
        ready_after: How often a dataset's or submission's status is asked for before it is ready.
        image: Site-packages of the image, by ``make_image``. Defaults to one made when needed.
        port: To listen on. Defaults to a free one.

    Sessions of a ``runner`` that does not return cannot be killed: they end, and the thread is
    left alone.
    """

    unset = ("no_proxy", "NO_PROXY", "KAGGLE_API_TOKEN", "KAGGLE_PROXY", "KAGGLE_KERNEL_RUN_TYPE")

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
        port: int = 0,
    ) -> None:
        super().__init__(
            root,
            runner=runner,
            layout=layout,
            user=user,
            session_limit=session_limit,
            gpu_quota=gpu_quota,
            page_size=page_size,
            refuse_self_source=refuse_self_source,
            ready_after=ready_after,
            image=image,
        )
        self._port = port

    def __enter__(self) -> LocalKaggle:
        for name in ("home", "tmp", "config"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._server = Server(self, self._port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens: the client's proxy."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the client; those in ``unset`` must not be there beside them."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": self.url,
            "KAGGLE_USERNAME": self.user,
            "KAGGLE_KEY": self.key,
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "KAGGLE_CONFIG_DIR": str(self.root / "config"),
        }
