"""SIGTERM and SIGINT stop a session in order: the state is saved at the next step."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from carlib.session import Session


@contextmanager
def stopping(session: Session) -> Iterator[None]:
    """Let SIGTERM and SIGINT ask the session to stop; a second one leaves at once.

    Saved state is whole at any moment, so leaving at once loses nothing of it. In a notebook or
    an interactive Python a second interrupt is a KeyboardInterrupt, since the process lives on.
    Outside the main thread signals are left alone: Python sets handlers there only.

    Args:
        session: ``asked`` is set by the first signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        session.ask(name)
        interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Not Python's own handler: it waits until TensorFlow comes back from its step.
        signal.signal(signal.SIGINT, signal.default_int_handler if interactive else signal.SIG_DFL)
        # print could meet itself in the middle of a print.
        line = f"\ncarlib: {name}: saving at the next step; once more leaves at once\n"
        os.write(2, line.encode())

    kept = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
