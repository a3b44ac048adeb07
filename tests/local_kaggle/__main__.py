"""A Kaggle on this machine to play with; ``make local-kaggle`` starts it."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from carlib.errors import CarlibError
from carlib.session import seconds

from .server import LocalKaggle


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_kaggle", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("local-kaggle"), help="folder for it all")
    parser.add_argument("--port", type=int, default=0, help="to listen on; default: a free one")
    parser.add_argument("--layout", choices=("new", "old"), default="new", help="of /kaggle/input")
    parser.add_argument(
        "--dataset", action="append", default=[], metavar="OWNER/SLUG=DIR", help="publish a folder"
    )
    parser.add_argument(
        "--competition", action="append", default=[], metavar="SLUG=DIR", help="open a competition"
    )
    parser.add_argument("--session-limit", default="12h", help="of a session; default: 12h")
    parser.add_argument("--quota", default="30h", help="GPU time of a week; default: 30h")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _serve(options: argparse.Namespace) -> None:
    kaggle = LocalKaggle(
        options.root / time.strftime("%Y%m%d-%H%M%S"),
        layout=options.layout,
        session_limit=seconds(options.session_limit),
        gpu_quota=seconds(options.quota),
        port=options.port,
    )
    for said in options.dataset:
        ref, _, folder = said.partition("=")
        if not Path(folder).is_dir():
            _parser().error(f"--dataset {said}: there is no folder {folder!r}")
        kaggle.add_dataset(ref, folder)
    for said in options.competition:
        slug, _, folder = said.partition("=")
        kaggle.add_competition(slug, folder)
    kaggle.tell = _say
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell starts what it puts in the background with Ctrl-C ignored.
    signal.signal(signal.SIGINT, _interrupt)
    with kaggle:
        print("# Paste into a shell of its own; then `kaggle` in it means this one.")
        print("unset " + " ".join(kaggle.unset))
        for name, value in kaggle.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print("# Ctrl-C, or SIGTERM, ends it, and kills the sessions that run.", flush=True)
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            _say("ending")


def main() -> int:
    try:
        _serve(_parser().parse_args())
    except (CarlibError, RuntimeError, OSError) as error:
        print(f"local Kaggle: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
