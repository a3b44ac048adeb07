"""Two small real steps of each phase, measured in child processes, and the line through them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from carlib.devices import MIB
from carlib.errors import RunError, UsageError
from carlib.memory.instrument import LIMIT_MIB, LIMITED
from carlib.memory.noun import Forecast, Need
from carlib.memory.present import SHARE, device_names, free_memory
from carlib.memory.words import amount, columns
from carlib.models import BACKBONES
from carlib.progress import progress
from carlib.spec import AUTO, Phase, Recipe, to_dict
from carlib.using import used

CHILD = (sys.executable, "-m", "carlib.memory.child")
# Of the larger step: photos of so many px that it has, and what it has however large they are.
PHOTOS, OF_SIZE, LEAST = 16, 224, 8
TIMEOUT = 900.0  # seconds of a phase


@dataclass(frozen=True, slots=True)
class Step:
    """One measured step.

    Args:
        batch: Photos.
        requested: R, in bytes.
        in_use: U, in bytes.
    """

    batch: int
    requested: int
    in_use: int


@dataclass(frozen=True, slots=True)
class Line:
    """What two measured steps of a phase say of any batch.

    Args:
        phase: Its name.
        device: That they ran on, "GPU:0" or "CPU:0".
        small: The smaller step.
        large: The larger one.

    >>> line = Line("all", "CPU:0", Step(8, 300, 400), Step(16, 500, 610))
    >>> line.per_photo, line.fixed, line.requested(32)
    (25.0, 100.0, 900)
    """

    phase: str
    device: str
    small: Step
    large: Step

    @property
    def per_photo(self) -> float:
        """Bytes of R that a photo adds."""
        return (self.large.requested - self.small.requested) / self._photos

    @property
    def fixed(self) -> float:
        """Bytes of R at no photo."""
        return self.small.requested - self.per_photo * self.small.batch

    @property
    def _photos(self) -> int:
        return self.large.batch - self.small.batch

    def requested(self, batch: int) -> int:
        """R at a batch, in bytes."""
        return round(self.fixed + self.per_photo * batch)

    def in_use(self, batch: int) -> int:
        """U at a batch, in bytes; no line is straight here, for a chunk may lie whole or split."""
        grows = (self.large.in_use - self.small.in_use) / self._photos
        return round(self.small.in_use + grows * (batch - self.small.batch))

    def figures(self, need: Need) -> dict[str, Any]:
        """Return it beside what the rules say, for JSON; bytes as whole numbers."""
        measured = self.requested(need.batch)
        return {
            "device": self.device,
            "batches": [self.small.batch, self.large.batch],
            "fixed": round(self.fixed),
            "per_photo": round(self.per_photo),
            "batch": need.batch,
            "requested": measured,
            "in_use": self.in_use(need.batch),
            "by_rules": need.requested,
            "off": need.requested / measured - 1,
        }


def probe(recipe: Recipe, classes: int, *, timeout: float = TIMEOUT) -> tuple[Line, ...]:
    """Run two small steps of each phase, on the GPU that is there, else on the CPU, and measure.

    The steps are those that a run takes, with random weights and photos; where Keras compiles
    them with XLA, it does here too. This process should have nothing on the GPU yet. A backbone or
    head of a user's own is known there by the files that this process has used (``carlib.using``).

    Args:
        recipe: Of the phases.
        classes: Number of classes.
        timeout: Seconds that a phase may take. Defaults to 900.

    Raises:
        UsageError: A backbone or head that no file has registered.
        RunError: A step that ran out of memory or of time, or a process that died.
    """
    backbone, head = recipe.model.backbone, recipe.model.head
    own = {"backbone": "" if backbone in BACKBONES else backbone, "head": head}
    for kind, name in own.items():
        if name and not used():
            raise UsageError(
                f"the probe's processes do not know {name!r}, which no file has registered: put "
                f"its add_{kind} into a Python file and give that to --use"
            )
    recipe = recipe.with_probe()
    device = "CPU:0" if device_names() == "CPU" else "GPU:0"
    environment = dict(os.environ)
    if device == "CPU:0":
        # All that is free, unless a limit is set already.
        free = str(max(1, int(SHARE * free_memory()) // MIB))
        environment = {LIMIT_MIB: free, **environment, **LIMITED}
    lines = []
    for number, phase in enumerate(progress(recipe.phases, desc="trying steps", unit="phase")):
        job = {
            "recipe": to_dict(recipe),
            "phase": number,
            "classes": classes,
            "batches": batches_of(phase, recipe.model.size),
            "device": device,
            "use": used(),
        }
        said = _run(job, phase.name, environment, timeout)
        lines.append(Line(phase.name, device, *(Step(**each) for each in said["steps"])))
    return tuple(lines)


def batches_of(phase: Phase, size: int) -> tuple[int, int]:
    """Return the photos of the two steps that are tried: half of the phase's and all, or fewer.

    Args:
        phase: Its batch counts, and its photo size where it has one.
        size: Of the model's photos, px.

    >>> phase = Phase("all", 1, 1e-3, batch_size=32)
    >>> batches_of(phase, 64), batches_of(phase, 224), batches_of(phase, 528)
    ((16, 32), (8, 16), (4, 8))
    """
    some = max(LEAST, int(PHOTOS * (OF_SIZE / (phase.size or size)) ** 2))
    asked = some if phase.batch_size == AUTO else int(phase.batch_size)
    large = max(2, asked if phase.views else min(asked, some))
    return large // 2, large


def _run(
    job: dict[str, Any], name: str, environment: dict[str, str], timeout: float
) -> dict[str, Any]:
    """Return what the child says of a job."""
    try:
        done = subprocess.run(
            CHILD,
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"the probe of phase {name!r} took more than {timeout:g} s; lower "
            f"phases.{name}.batch_size, or go without --probe"
        ) from error
    if done.returncode < 0:
        killer = signal.Signals(-done.returncode).name
        raise RunError(
            f"the probe of phase {name!r} was killed ({killer}), as a system does that runs out of "
            f"memory; lower phases.{name}.batch_size or the photos' size"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"the probe of phase {name!r} failed: {last}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "failed" in said:
        raise RunError(
            f"the probe of phase {name!r}: {said['failed']} with {said['batch']} photos a step on "
            f"{job['device']}; lower phases.{name}.batch_size, and see that no other process, a "
            "notebook's own among them, holds its memory"
        )
    return said


def compare(forecast: Forecast, lines: Iterable[Line]) -> str:
    """Return lines of text: what was measured beside what the rules say.

    Args:
        forecast: Of the recipe.
        lines: Of ``probe``.
    """
    needs = {need.name: need for need in forecast.phases}
    rows = [
        ("", "tried", "at none", "a photo", "photos", "R", "by rules", "off", "U", "by rules"),
    ]
    devices = set()
    for line in lines:
        need = needs[line.phase]
        devices.add(line.device)
        rows.append(
            (
                line.phase,
                f"{line.small.batch} and {line.large.batch}",
                amount(line.fixed),
                amount(line.per_photo),
                str(need.batch),
                amount(line.requested(need.batch)),
                amount(need.requested),
                f"{line.figures(need)['off']:+.1%}",
                amount(line.in_use(need.batch)),
                amount(need.expected),
            )
        )
    where = ", ".join(sorted(devices))
    return "\n".join([f"measured on {where}, two steps a phase and the line:", *columns(rows)])
