"""What Kaggle wants of a kernel's and a dataset's metadata, checked before anything is sent.

Kaggle ignores a key it does not know, and drops or replaces what it does not like, without a
word. Sources: ``kernels_push``, ``dataset_create_new`` and ``dataset_create_version`` of kaggle
2.2.5, and what its server was seen to do.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from carlib.errors import UsageError, suggestion
from carlib.kaggle.accelerators import ACCELERATORS

log = logging.getLogger("carlib")

KERNEL_FILE = "kernel-metadata.json"
DATASET_FILE = "dataset-metadata.json"
PLACEHOLDER = "your-kaggle-name"  # owner in the committed files
MOST = 1_000_000  # bytes of a kernel's source as it is sent, not reached

KERNEL_KEYS: Mapping[str, type] = {
    "id": str,
    "id_no": int,
    "title": str,
    "code_file": str,
    "language": str,
    "kernel_type": str,
    "is_private": bool,
    "enable_gpu": bool,
    "enable_tpu": bool,
    "enable_internet": bool,
    "machine_shape": str,
    "dataset_sources": list,
    "competition_sources": list,
    "kernel_sources": list,
    "model_sources": list,
    "keywords": list,
    "docker_image_pinning_type": str,
    "docker_image": str,
}
DATASET_KEYS: Mapping[str, type] = {
    "id": str,
    "id_no": int,
    "title": str,
    "subtitle": str,
    "description": str,
    "isPrivate": bool,
    "licenses": list,
    "keywords": list,
    "resources": list,
    "data": list,
    "collaborators": list,
    "expectedUpdateFrequency": str,
    "userSpecifiedSources": str,
    "image": str,
}
LISTS_OF_OBJECTS = ("licenses", "resources", "data", "collaborators")
TYPE_NAMES = {
    str: "a text",
    bool: "true or false, without quotes",
    list: "a list",
    int: "a whole number",
}
CHOICES = {
    "language": ("python", "r", "rmarkdown"),
    "kernel_type": ("notebook", "script"),
    "docker_image_pinning_type": ("original", "latest"),
}
# The client knows none of them. As Kaggle's pages and its users' metadata files name them.
LICENSES = (
    *("Apache 2.0", "apache-2.0", "MIT", "GPL-2.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0", "FDL-1.3"),
    *("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"),
    *("CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0", "CDLA-Permissive-1.0"),
    *("CDLA-Sharing-1.0", "DbCL-1.0", "ODbL-1.0", "ODC-BY-1.0", "PDDL", "US-Government-Works"),
    *("EU-ODP-Legal-Notice", "copyright-authors", "other", "unknown"),
)


def check_kernel(folder: Path | str) -> None:
    """Check all that Kaggle wants of a kernel, and warn of what it would run otherwise.

    Args:
        folder: With kernel-metadata.json.

    Raises:
        UsageError: A rule is broken; the message has all that are.
    """
    path = Path(folder) / KERNEL_FILE
    said = read_kernel(folder)
    sound = _sound(said, KERNEL_KEYS)
    refuse(
        path,
        [
            *kernel_faults(said),
            *_owner_faults(sound, "dataset_sources", "kernel_sources"),
            *_slug_faults(sound),
            *_source_faults(Path(folder), sound),
        ],
    )
    _warn_of_machine(path, sound)


def check_dataset(folder: Path | str) -> None:
    """Check all that Kaggle wants of a dataset.

    Args:
        folder: With dataset-metadata.json.

    Raises:
        UsageError: A rule is broken; the message has all that are.
    """
    said = read_dataset(folder)
    sound = _sound(said, DATASET_KEYS)
    refuse(
        Path(folder) / DATASET_FILE,
        [*dataset_faults(said), *_owner_faults(sound), *_resource_faults(Path(folder), sound)],
    )


def read_kernel(folder: Path | str) -> dict[str, Any]:
    """Return what the kernel-metadata.json of a folder says, unchecked.

    Raises:
        UsageError: It is missing, or no JSON object.
    """
    return _read(Path(folder) / KERNEL_FILE)


def read_dataset(folder: Path | str) -> dict[str, Any]:
    """Return what the dataset-metadata.json of a folder says, unchecked.

    Raises:
        UsageError: It is missing, or no JSON object.
    """
    return _read(Path(folder) / DATASET_FILE)


def refuse(what: object, faults: Iterable[str]) -> None:
    """Raise one UsageError with all faults, if there are any."""
    text = "; ".join(faults)
    if text:
        raise UsageError(f"{what}: {text}")


def kernel_faults(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in a kernel's metadata, files and the owner's name aside."""
    yield from _key_faults(said, KERNEL_KEYS)
    yield from _missing_faults(said, "id", "title", "code_file", "language", "kernel_type")
    said = _sound(said, KERNEL_KEYS)
    for key, allowed in CHOICES.items():
        if said.get(key) and said[key] not in allowed:
            yield f"{key} {said[key]!r} is not allowed{suggestion(said[key], allowed)}"
    yield from _id_faults(said, 5)
    yield from _length_faults(said, "title", 5, 50)
    yield from _machine_faults(said)
    for key in ("dataset_sources", "kernel_sources"):
        for source in said.get(key, ()):
            yield from _pin_faults(key, source)
    for source in said.get("competition_sources", ()):
        if not _is_slug(source):
            yield f"competition_sources: {source!r} must be a competition's slug"
    for source in said.get("model_sources", ()):
        parts = source.split("/")
        if len(parts) != 5 or not all(parts) or not parts[4].isdecimal():
            yield f"model_sources: {source!r} must be owner/model/framework/variation/version"


def dataset_faults(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in a dataset's metadata, files and the owner's name aside."""
    yield from _key_faults(said, DATASET_KEYS)
    yield from _missing_faults(said, "id", "title", "licenses")
    said = _sound(said, DATASET_KEYS)
    yield from _id_faults(said, 6)
    yield from _length_faults(said, "title", 6, 50)
    yield from _length_faults(said, "subtitle", 20, 80)
    licenses = said.get("licenses", [])
    if len(licenses) > 1:
        yield f"licenses must hold exactly one; got {len(licenses)}"
    for license in licenses[:1]:
        name = license.get("name")
        if name not in LICENSES:
            yield f"unknown license {name!r}{suggestion(str(name), LICENSES)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"cannot read {path}: {reason}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{path} must hold a JSON object; got {type(said).__name__}")
    return said


def _key_faults(said: Mapping[str, Any], keys: Mapping[str, type]) -> Iterator[str]:
    for key, value in said.items():
        if key not in keys:
            yield f"unknown key {key!r}{suggestion(key, keys)}"
        elif not _is_sound(key, value, keys):
            kind = TYPE_NAMES[keys[key]]
            if keys[key] is list:
                kind += " of objects" if key in LISTS_OF_OBJECTS else " of texts"
            yield f"{key} must be {kind}; got {json.dumps(value)}"


def _is_sound(key: str, value: object, keys: Mapping[str, type]) -> bool:
    if isinstance(value, bool) or not isinstance(value, list):
        return type(value) is keys[key]
    inner = dict if key in LISTS_OF_OBJECTS else str
    return keys[key] is list and all(isinstance(each, inner) and each for each in value)


def _sound(said: Mapping[str, Any], keys: Mapping[str, type]) -> dict[str, Any]:
    """Return what has the right type, so that the other rules can be checked in spite of it."""
    return {
        key: value for key, value in said.items() if key in keys and _is_sound(key, value, keys)
    }


def _missing_faults(said: Mapping[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        if said.get(key, "") in ("", []):
            yield f"{key} is missing"


def _id_faults(said: Mapping[str, Any], shortest: int) -> Iterator[str]:
    whole = said.get("id")
    if not whole:
        return
    parts = whole.split("/")
    if len(parts) != 2 or not all(parts):
        yield f"id must be owner/slug, without a version; got {whole!r}"
    elif not _is_owner(parts[0]):
        yield f"the owner {parts[0]!r} of id is no Kaggle name; give the one in your profile's URL"
    elif not _is_slug(parts[1]):
        yield f"the slug {parts[1]!r} of id may hold a-z, 0-9 and single hyphens between them"
    elif not shortest <= len(parts[1]) <= 50:
        yield f"the slug of id must have {shortest} to 50 characters; got {parts[1]!r}"


def _is_owner(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]+([_-]+[A-Za-z0-9]+)*", text))


def _is_slug(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text))


def _length_faults(said: Mapping[str, Any], key: str, shortest: int, longest: int) -> Iterator[str]:
    text = said.get(key)
    if text and not shortest <= len(text) <= longest:
        yield f"{key} must have {shortest} to {longest} characters; got {len(text)} in {text!r}"


def _pin_faults(key: str, source: str) -> Iterator[str]:
    parts = source.split("/")
    if len(parts) == 3 and all(parts):
        lost = {
            "kernel_sources": "silently dropped: the latest COMPLETE version is mounted",
            "dataset_sources": "not known to be kept: the latest version may be mounted",
        }[key]
        yield f"{key}: the version of {source!r} is {lost}; write {'/'.join(parts[:2])!r}"
    elif len(parts) != 2 or not _is_owner(parts[0]) or not _is_slug(parts[1]):
        yield f"{key}: {source!r} must be owner/slug"
    elif key == "kernel_sources" and len(parts[1]) < 5:
        yield f"{key}: the slug of {source!r} must have 5 characters or more"


def _machine_faults(said: Mapping[str, Any]) -> Iterator[str]:
    enabled = {kind for kind in ("gpu", "tpu") if said.get(f"enable_{kind}")}
    if len(enabled) == 2:
        yield "enable_gpu and enable_tpu are both true; one of them is allowed"
        return
    shape = said.get("machine_shape", "")
    # A shape that is not in the table may be newer than it.
    needed = {ACCELERATORS[shape].kind} - {"cpu"} if shape in ACCELERATORS else enabled
    if shape and needed != enabled:
        (kind,) = needed
        yield f"machine_shape {shape!r} needs enable_{kind} true, and no other; got " + (
            f"enable_{enabled.pop()} true" if enabled else f"enable_{kind} false"
        )


def _owner_faults(said: Mapping[str, Any], *lists: str) -> Iterator[str]:
    start = f"{PLACEHOLDER}/"
    if str(said.get("id", "")).startswith(start):
        yield f"put your Kaggle name into id; got the placeholder {said['id']!r}"
    for key in lists:
        for source in said.get(key) or ():
            if str(source).startswith(start):
                yield f"put your Kaggle name into {key}; got the placeholder {source!r}"


def _slug_faults(said: Mapping[str, Any]) -> Iterator[str]:
    title, whole = said.get("title"), said.get("id")
    if not title or not whole:
        return
    slug = slug_of(title)
    if slug != whole.partition("/")[2]:
        yield (
            f"Kaggle makes {slug!r} of title {title!r}, and id says {whole!r}; "
            "give one of them the other's words"
        )


def slug_of(title: str) -> str:
    """Return the slug that Kaggle makes of a title.

    Raises:
        UsageError: The client's own package for that is not installed.

    >>> slug_of("carlib train")
    'carlib-train'
    """
    try:
        from slugify import slugify
    except ImportError as error:
        raise UsageError(
            "the Kaggle client is not installed; run: pip install 'carlib[kaggle]'"
        ) from error
    return str(slugify(title))


def _source_faults(folder: Path, said: Mapping[str, Any]) -> Iterator[str]:
    if not said.get("code_file"):
        return
    path = folder / said["code_file"]
    if not path.is_file():
        yield f"code_file {said['code_file']!r} is not there (looked for {path})"
        return
    notebook = path.suffix == ".ipynb"
    if said.get("kernel_type") in CHOICES["kernel_type"] and notebook != (
        said["kernel_type"] == "notebook"
    ):
        kind = "notebook" if notebook else "script"
        yield f"code_file {path.name!r} is a {kind}; kernel_type says {said['kernel_type']!r}"
        return
    try:
        text = path.read_text(encoding="utf-8")
        if notebook:
            text = json.dumps(_stripped(json.loads(text)))
    except (OSError, ValueError) as error:
        yield f"cannot read {path}: {' '.join(str(error).split())}"
        return
    except _NoNotebook as error:
        yield f"{path} {error}"
        return
    size = len(text.encode())
    if size >= MOST:
        yield f"{path} has {size:,} bytes as it is sent; Kaggle takes less than {MOST:,}"


class _NoNotebook(Exception):
    """JSON, but not a notebook that runs on Kaggle."""


def _stripped(notebook: Any) -> Any:
    """Return a notebook as the client sends it: no outputs, and each source as one text."""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise _NoNotebook("is no notebook: it has no list of cells")
    spec = (notebook.get("metadata") or {}).get("kernelspec") or {}
    if not spec.get("name"):
        raise _NoNotebook("has no metadata.kernelspec.name, and dies on Kaggle without it")
    for cell in cells:
        if "outputs" in cell and cell.get("cell_type") == "code":
            cell["outputs"] = []
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(cell["source"])
    return notebook


def _resource_faults(folder: Path, said: Mapping[str, Any]) -> Iterator[str]:
    paths = [str(each.get("path", "")) for each in said.get("resources", ())]
    for at, path in enumerate(paths):
        if not path or not (folder / path).is_file():
            yield f"resources: {path!r} is not in {folder}"
        elif path in paths[:at]:
            yield f"resources: {path!r} is named twice"


def _warn_of_machine(path: Path, said: Mapping[str, Any]) -> None:
    shape = said.get("machine_shape", "")
    if shape in ACCELERATORS:
        if replacement := ACCELERATORS[shape].replacement:
            log.warning("%s: %s is retired; Kaggle runs %s instead", path, shape, replacement)
    elif shape:
        log.warning(
            "%s: machine_shape %r is not known here, and what Kaggle does not know it replaces%s",
            path,
            shape,
            suggestion(shape, filter(None, ACCELERATORS)),
        )
    if not shape and (said.get("enable_gpu") or said.get("enable_tpu")):
        log.warning("%s: machine_shape is missing; Kaggle chooses the accelerator", path)
