"""The metadata files of a kernel and a dataset, made from a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from carlib.files import write_whole
from carlib.kaggle.accelerators import ACCELERATORS, ALIASES, Accelerator, accelerator_named
from carlib.kaggle.rules import (
    DATASET_FILE,
    KERNEL_FILE,
    PLACEHOLDER,
    check_dataset,
    check_kernel,
    dataset_faults,
    kernel_faults,
    read_dataset,
    read_kernel,
    refuse,
    slug_of,
)

__all__ = [
    "ACCELERATORS",
    "ALIASES",
    "COMMITTED",
    "DATASET",
    "DATASET_FILE",
    "KERNEL",
    "KERNEL_FILE",
    "PLACEHOLDER",
    "Accelerator",
    "Dataset",
    "Kernel",
    "accelerator_named",
    "check_dataset",
    "check_kernel",
    "read_dataset",
    "read_kernel",
    "slug_of",
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Python notebook on Kaggle, and what it runs on and reads.

    Args:
        id: owner/slug.
        title: 5 to 50 characters; the slug is made of it.
        code_file: The notebook, relative to the metadata file.
        accelerator: Kaggle's name or a short one ("T4", "TPU", "none"); the field holds
            Kaggle's. Defaults to two T4.
        internet: Whether it may reach the network. Defaults to True.
        private: Whether only its owner sees it. Defaults to True.
        datasets: owner/slug of each that is mounted.
        competitions: Slug of each whose data is mounted.
        kernels: owner/slug of each whose newest complete output is mounted.
        models: owner/model/framework/variation/version of each that is mounted.
        keywords: Kaggle's tags.
        pinning: Which image it runs in: original (that of its first version) or latest.
            Defaults to None, Kaggle's own choice.

    Raises:
        UsageError: What Kaggle would refuse, drop or replace; the message has all of it.

    >>> Kernel("me/carlib-train", "carlib train", "train.ipynb", "T4").accelerator
    'NvidiaTeslaT4'
    """

    id: str
    title: str
    code_file: str
    accelerator: str = "NvidiaTeslaT4"
    internet: bool = True
    private: bool = True
    datasets: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    pinning: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "accelerator", accelerator_named(self.accelerator).name)
        refuse(f"kernel {self.id}", kernel_faults(self.as_metadata()))

    def as_metadata(self) -> dict[str, Any]:
        """Return the content of kernel-metadata.json."""
        kind = ACCELERATORS[self.accelerator].kind
        said: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "code_file": self.code_file,
            "language": "python",
            "kernel_type": "notebook",
            "is_private": self.private,
            "enable_gpu": kind == "gpu",
            "enable_tpu": kind == "tpu",
            "enable_internet": self.internet,
            "machine_shape": self.accelerator,
            "dataset_sources": list(self.datasets),
            "competition_sources": list(self.competitions),
            "kernel_sources": list(self.kernels),
            "model_sources": list(self.models),
        }
        if self.keywords:
            said["keywords"] = list(self.keywords)
        if self.pinning is not None:
            said["docker_image_pinning_type"] = self.pinning
        return said

    def owned_by(self, owner: str) -> Self:
        """Return the same kernel with an owner's name where the placeholder stands.

        >>> KERNEL.owned_by("alice").id
        'alice/carlib-train'
        """
        return dataclasses.replace(
            self,
            id=_owned(self.id, owner),
            datasets=tuple(_owned(each, owner) for each in self.datasets),
            kernels=tuple(_owned(each, owner) for each in self.kernels),
        )

    def write(self, folder: Path | str) -> Path:
        """Write kernel-metadata.json into a folder, whole, and return its path."""
        return _write(Path(folder) / KERNEL_FILE, self.as_metadata())


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on Kaggle.

    Args:
        id: owner/slug, the slug of 6 to 50 characters.
        title: 6 to 50 characters.
        subtitle: 20 to 80 characters. Defaults to none.
        description: Markdown. Defaults to none.
        license: As Kaggle names it. Defaults to "Apache 2.0".
        private: Whether only its owner sees it. Defaults to True.
        keywords: Kaggle's tags.

    Raises:
        UsageError: What Kaggle would refuse; the message has all of it.

    >>> Dataset("me/carlib-package", "carlib package").as_metadata()["licenses"]
    [{'name': 'Apache 2.0'}]
    """

    id: str
    title: str
    subtitle: str = ""
    description: str = ""
    license: str = "Apache 2.0"
    private: bool = True
    keywords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse(f"dataset {self.id}", dataset_faults(self.as_metadata()))

    def as_metadata(self) -> dict[str, Any]:
        """Return the content of dataset-metadata.json."""
        said: dict[str, Any] = {"id": self.id, "title": self.title}
        if self.subtitle:
            said["subtitle"] = self.subtitle
        if self.description:
            said["description"] = self.description
        said |= {"licenses": [{"name": self.license}], "isPrivate": self.private}
        if self.keywords:
            said["keywords"] = list(self.keywords)
        return said

    def owned_by(self, owner: str) -> Self:
        """Return the same dataset with an owner's name where the placeholder stands."""
        return dataclasses.replace(self, id=_owned(self.id, owner))

    def write(self, folder: Path | str) -> Path:
        """Write dataset-metadata.json into a folder, whole, and return its path."""
        return _write(Path(folder) / DATASET_FILE, self.as_metadata())


def _owned(reference: str, owner: str) -> str:
    before, _, slug = reference.partition("/")
    return f"{owner}/{slug}" if before == PLACEHOLDER else reference


def _write(path: Path, said: Mapping[str, Any]) -> Path:
    # ASCII: the client reads a dataset's file in whatever encoding the machine prefers.
    write_whole(path, json.dumps(said, indent=2) + "\n")
    return path


DATASET = Dataset(
    id=f"{PLACEHOLDER}/carlib-package",
    title="carlib package",
    subtitle="carlib and the wheels that the image of Kaggle lacks",
    description="What a kernel without internet installs carlib from: "
    "pip install --no-index --find-links FOLDER carlib",
)
KERNEL = Kernel(
    id=f"{PLACEHOLDER}/carlib-train",
    title="carlib train",
    code_file="../notebooks/01-train.ipynb",
    datasets=(DATASET.id,),
)
# The metadata files in the source tree, by folder.
COMMITTED: dict[str, Kernel | Dataset] = {"kaggle": KERNEL, "kaggle/dataset": DATASET}
