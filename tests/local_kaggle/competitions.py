"""The calls on competitions: submissions by file and by kernel, and how many are left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .datasets import start_upload, uploaded
from .state import Platform
from .things import Refusal, stamp

Body = dict[str, Any]
PER_DAY = 5


def _competition(platform: Platform, request: Body) -> str:
    slug = str(request.get("competitionName"))
    if slug not in platform.competitions:
        raise Refusal(404, f"Competition {slug} was not found")
    return slug


def start_submission(platform: Platform, request: Body) -> Body:
    _competition(platform, request)
    return start_upload(platform, request)


def _submit(platform: Platform, request: Body, path: Path, name: str, **more: Any) -> Body:
    slug = _competition(platform, request)
    if _left(platform, slug) < 1:
        raise Refusal(400, f"You have used your {PER_DAY} submissions of today")
    with platform.lock:
        ref = len(platform.submissions) + 1
        kept = platform.root / "submissions" / str(ref)
        kept.mkdir(parents=True)
        submission = {
            "ref": ref,
            "competition": slug,
            "fileName": name,
            "description": str(request.get("submissionDescription") or ""),
            "at": platform.now(),
            "polls": 0,
            "path": Path(shutil.copy(path, kept / Path(name).name)),
            **more,
        }
        platform.submissions.append(submission)
    platform.tell(f"submitted  {name} to {slug}")
    return {"message": f"Successfully submitted to {slug}", "ref": ref}


def create_submission(platform: Platform, request: Body) -> Body:
    blob = uploaded(platform, str(request.get("blobFileTokens")))
    return _submit(platform, request, blob.path, blob.name)


def create_code_submission(platform: Platform, request: Body) -> Body:
    """Submit a file of a kernel's output; only of a version that is COMPLETE."""
    kernel = platform.kernel(request.get("kernelOwner"), request.get("kernelSlug"))
    number = request.get("kernelVersion") or len(kernel.versions)
    found = [version for version in kernel.versions if version.number == number]
    if not found or found[0].status != "COMPLETE":
        raise Refusal(400, f"{kernel.ref} has no version {number} that is complete")
    name = str(request.get("fileName") or "submission.csv")
    path = found[0].working / name
    if not path.is_file():
        raise Refusal(400, f"{kernel.ref} version {number} has no output file {name}")
    return _submit(platform, request, path, name, kernel=kernel.ref, version=number)


def _told(platform: Platform, submission: Body) -> Body:
    submission["polls"] += 1
    done = submission["polls"] > platform.ready_after
    return {
        "ref": submission["ref"],
        "fileName": submission["fileName"],
        "description": submission["description"],
        "date": stamp(submission["at"]),
        "status": "COMPLETE" if done else "PENDING",
        "submittedBy": platform.user,
        "totalBytes": submission["path"].stat().st_size,
        **({"publicScore": "0.5"} if done else {}),
    }


def list_submissions(platform: Platform, request: Body) -> Body:
    slug = _competition(platform, request)
    mine = [said for said in platform.submissions if said["competition"] == slug]
    return {"submissions": [_told(platform, said) for said in reversed(mine)]}


def get_submission(platform: Platform, request: Body) -> Body:
    for submission in platform.submissions:
        if submission["ref"] == request.get("ref"):
            return _told(platform, submission)
    raise Refusal(404, f"Submission {request.get('ref')} was not found")


def _left(platform: Platform, slug: str) -> int:
    since = platform.now() - 86400
    mine = [said for said in platform.submissions if said["competition"] == slug]
    return PER_DAY - sum(said["at"] > since for said in mine)


def submission_limits(platform: Platform, request: Body) -> Body:
    slug = _competition(platform, request)
    left = _left(platform, slug)
    total = sum(said["competition"] == slug for said in platform.submissions)
    return {"numToday": PER_DAY - left, "numTotal": total, "numAllowedNow": left}


CALLS = {
    "StartSubmissionUpload": start_submission,
    "CreateSubmission": create_submission,
    "CreateCodeSubmission": create_code_submission,
    "ListSubmissions": list_submissions,
    "GetSubmission": get_submission,
    "GetSubmissionLimits": submission_limits,
}
