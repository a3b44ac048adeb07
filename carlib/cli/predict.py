"""``carlib predict``: test photos to a checked CSV."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import add_workers, command, named, show


def add(commands: Any) -> None:
    """Add the command ``predict``."""
    predict = command(commands, "predict", _run, "predict test photos into a checked CSV")
    predict.add_argument("--run", required=True, dest="run_folder", metavar="RUN")
    predict.add_argument(
        "--data", type=named, required=True, metavar="DIR", help="test_upload/ or test/"
    )
    predict.add_argument("--out", type=named, required=True, metavar="FILE.csv")
    add_workers(predict)


def _run(given: argparse.Namespace) -> int:
    from carlib.catalog import read_test
    from carlib.loader import Workers
    from carlib.submission import find_sample_submission, write_submission

    photos = read_test(given.data)
    sample = find_sample_submission(given.data)
    workers = Workers.parse(given.workers) if given.workers else None

    from carlib.predict import predict_photos

    predictions = predict_photos(given.run_folder, photos, workers=workers)
    out = write_submission(predictions, given.out, sample)
    checked = f"checked against {sample}" if sample else "no sample submission to check against"
    show(
        given,
        {"submission": str(out), "photos": len(photos), "sample": sample and str(sample)},
        f"{out}: {len(photos)} photos, {checked}",
    )
    return 0
