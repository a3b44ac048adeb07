"""Submissions: a file, or the output of a kernel version, sent once."""

from __future__ import annotations

from pathlib import Path

from carlib.errors import DataError, UsageError
from carlib.kaggle.client import Answer, Asker, KaggleError
from carlib.kaggle.kernels import check_ref
from carlib.kaggle.secrets import refuse_secret_text, refuse_secrets


def submit(
    asker: Asker,
    competition: str,
    message: str,
    *,
    file: Path | None = None,
    kernel: str = "",
    version: int = 0,
    name: str = "submission.csv",
) -> Answer:
    """Submit to a competition: a file from here, or one that a kernel version left.

    Args:
        asker: The client.
        competition: Its slug.
        message: Describes the submission; also how it is found again where an answer is lost.
        file: The file; None where a kernel has it.
        kernel: "owner/slug" of a code competition's kernel.
        version: Its version, from 1.
        name: The file in the kernel's output. Defaults to "submission.csv".

    Returns:
        message and ref, as Kaggle has them.

    Raises:
        UsageError: Both a file and a kernel, or none of them; a kernel without a version.
        DataError: There is no such file.
        CarlibError: The file or the message has a secret in it.
        KaggleError: Refused, no submissions left today, or Kaggle could not be reached.
    """
    if (file is None) == (not kernel):
        raise UsageError("submit: give either --file or --kernel with --version")
    if kernel:
        check_ref(kernel)
    if kernel and version < 1:
        raise UsageError(
            f"submit: the version of {kernel} must be 1 or more; received {version}; "
            "carlib kaggle push prints it"
        )
    if not message.strip():
        raise UsageError("submit: a message is needed; it names the submission at Kaggle")
    if file is not None and not (file.is_file() and file.stat().st_size):
        raise DataError(f"there is no submission to send at {file}; write one with carlib predict")
    refuse_secret_text("the message", message)
    if file is not None:
        refuse_secrets([file])
    left = asker.read("limits", competition=competition)["left"]
    if left is not None and left < 1:
        raise KaggleError(
            f"no submission to {competition} is left today; run the same command tomorrow",
            "refused",
        )
    before = _refs(asker, competition, message)

    def done() -> Answer | None:
        new = _refs(asker, competition, message) - before
        return {"message": "submitted", "ref": max(new)} if new else None

    if file is not None:
        return asker.once(
            "submit_file",
            done,
            size=file.stat().st_size,
            competition=competition,
            file=str(file),
            message=message,
        )
    return asker.once(
        "submit_kernel",
        done,
        competition=competition,
        kernel=kernel,
        version=version,
        file=name,
        message=message,
    )


def _refs(asker: Asker, competition: str, message: str) -> set[int]:
    said = asker.read("submissions", competition=competition)["submissions"]
    return {int(each["ref"]) for each in said if each["message"] == message}
