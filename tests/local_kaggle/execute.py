"""Run a notebook or a script from top to bottom, as Kaggle's batch sessions do.

    python execute.py notebook|script SOURCE EXECUTED LOG

Everything written goes to LOG at once, a line of JSON for each piece. Ends with 1 on an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Log:
    """A file of JSON lines: stream, seconds since the start, text."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the process
        self.start = time.monotonic()

    def say(self, stream: str, text: str) -> None:
        record = {"stream_name": stream, "time": time.monotonic() - self.start, "data": text}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()


def run_notebook(source: str, executed: str, log: Log) -> int:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class Client(NotebookClient):
        """Says to the log what cells write, while they write it."""

        def output(self, outs: Any, msg: Any, display_id: Any, cell_index: Any) -> Any:
            if msg["msg_type"] == "stream":
                log.say(msg["content"]["name"], msg["content"]["text"])
            return super().output(outs, msg, display_id, cell_index)

    notebook = nbformat.reads(Path(source).read_text(encoding="utf-8"), 4)
    client = Client(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": "/kaggle/working"}},
    )
    code = 0
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError) as error:
        log.say("stderr", f"{error}\n")
        code = 1
    nbformat.write(notebook, executed)
    return code


def run_script(source: str, log: Log) -> int:
    with subprocess.Popen(
        [sys.executable, "-u", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            log.say("stdout", line)
    return 1 if process.returncode else 0


def main(kind: str, source: str, executed: str, log_file: str) -> int:
    log = Log(log_file)
    return run_notebook(source, executed, log) if kind == "notebook" else run_script(source, log)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
