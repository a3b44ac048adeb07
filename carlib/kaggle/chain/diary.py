"""What a chain is to do, and what it has done: on disk, so that a killed driver goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from carlib.errors import RunError, UsageError, look_up
from carlib.files import LOCK
from carlib.kaggle.kernels import check_ref
from carlib.kaggle.metadata import Accelerator, Dataset, Kernel, accelerator_named
from carlib.runfolder import read_json, write_json

FORMAT = 1
DIARY = "chain.json"
# How a session reaches what the one before it has left.
RELAYS = {
    "alternate": "two kernels, each the other's source: works whatever Kaggle allows",
    "self": "one kernel that names itself as its source: not allowed everywhere",
    "dataset": "one kernel; its chain goes through this machine into a dataset",
}
# What a session that was cancelled means for the chain.
CANCELLED = {
    "auto": "ended by its limit where it ran that long: go on; else by a person: stop",
    "go-on": "go on, if it got further",
    "stop": "stop",
}
# Changes of these make another run, or another place of it: not in the middle of a chain.
FIXED = ("kernel", "relay", "parameters")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the sessions of a chain have in common.

    Args:
        kernel: "owner/slug"; with relay "alternate", -a and -b are put behind it.
        notebook: The notebook that trains.
        parameters: Its parameters, by name: RECIPE, SETTINGS, DATA, ...
        datasets: Datasets to attach, "owner/slug": carlib's package, photos, ...
        competitions: Competitions to attach, by slug.
        kernels: Kernels to attach to the first session: an earlier run.
        models: Models to attach.
        accelerator: A name that ``carlib.kaggle.metadata.accelerator_named`` knows.
        internet: Whether sessions have it.
        limit: Seconds after which a session stops by itself; None for the platform's own.
        timeout: Seconds after which Kaggle ends it; None for GRACE beyond the limit, if any.
        relay: One of RELAYS.
        cancelled: One of CANCELLED.

    Raises:
        UsageError: A name that is not in its table, a kernel that is not "owner/slug", a limit that
            is not positive or not below the timeout.
    """

    kernel: str
    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    accelerator: str = "NvidiaTeslaT4"
    internet: bool = True
    limit: float | None = None
    timeout: float | None = None
    relay: str = "alternate"
    cancelled: str = "auto"

    def __post_init__(self) -> None:
        look_up(RELAYS, self.relay, "relay")
        look_up(CANCELLED, self.cancelled, "meaning of cancelled")
        accelerator_named(self.accelerator)
        check_ref(self.kernel)
        for name in ("limit", "timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"the {name} must be above 0 seconds; received {value:g}")
            if value is not None and value > self.longest:
                raise UsageError(
                    f"the {name} must be at most {self.longest / 3600:g} h, when Kaggle ends a "
                    f"session on {self.machine.name or 'a CPU'}; received {value / 3600:g} h"
                )
        if self.limit and self.timeout and self.limit >= self.timeout:
            raise UsageError(
                f"the limit ({self.limit:g} s) must lie below the timeout ({self.timeout:g} s), or "
                "no session ends by itself"
            )
        run = PurePosixPath(str(self.parameters.get("RUN", "run")))
        if run.is_absolute() or ".." in run.parts:
            raise UsageError(
                f"RUN must be a folder below Kaggle's working folder, such as 'run'; what lies "
                f"elsewhere is lost with the session; received {str(run)!r}"
            )
        for id in self.ids:
            self.as_kernel(id, kernels=self.kernels)
        self.as_dataset()

    @property
    def machine(self) -> Accelerator:
        """What a session runs on."""
        return accelerator_named(self.accelerator)

    @property
    def longest(self) -> float:
        """Seconds after which Kaggle ends any session."""
        return self.machine.hours * 3600

    @property
    def ids(self) -> tuple[str, ...]:
        """The kernels that sessions are pushed to, the first session's first."""
        if self.relay == "alternate":
            return f"{self.kernel}-a", f"{self.kernel}-b"
        return (self.kernel,)

    def as_kernel(
        self, id: str, datasets: Iterable[str] = (), kernels: Iterable[str] = ()
    ) -> Kernel:
        """Return what is pushed.

        Args:
            id: One of ``ids``.
            datasets: More to attach.
            kernels: To attach.
        """
        return Kernel(
            id=id,
            title=id.partition("/")[2].replace("-", " "),
            code_file=Path(self.notebook).name,
            accelerator=self.accelerator,
            internet=self.internet,
            datasets=(*self.datasets, *datasets),
            competitions=self.competitions,
            kernels=tuple(kernels),
            models=self.models,
        )

    def as_dataset(self) -> Dataset:
        """Return what carries the chain where no kernel's output can."""
        title = self.chain_dataset.partition("/")[2].replace("-", " ")
        return Dataset(id=self.chain_dataset, title=title)

    @property
    def chain_dataset(self) -> str:
        """Its name, "owner/slug"."""
        return f"{self.kernel}-chain"


@dataclass(slots=True)
class Turn:
    """One session of a chain, as far as it is known.

    Args:
        number: From 1.
        tag: Names this push; the session writes it into its handover.
        kernel: Where it was pushed to.
        before: The kernel's newest version before the push.
        kernels: Kernels attached.
        datasets: Datasets attached.
        carries: Name of the checkpoint that it goes on from; "" for none.
        limit: Seconds after which it stops by itself; None for the platform's own.
        timeout: Seconds after which Kaggle ends it; None for the platform's own.
        pushed: When, in ISO 8601; "" before.
        version: Of the kernel, where Kaggle said.
        complaint: What Kaggle did not attach.
        running: When it was first seen to run, in ISO 8601.
        watched: Seconds that it was seen to run.
        status: Kaggle's word, once it has ended.
        ended: When that was seen; "" before.
        seconds: How long it ran.
        at: Name of the furthest checkpoint it left.
        verdict: One of ``carlib.kaggle.chain.decide``'s.
        line: The verdict for people.
        relaying: Version of the chain's dataset that its checkpoints go into; 0 for none.
        relayed: Whether they are there.
        unmounted: Kaggle did not attach its output, though it ended COMPLETE.
    """

    number: int
    tag: str
    kernel: str
    before: int
    kernels: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    carries: str = ""
    limit: float | None = None
    timeout: float | None = None
    pushed: str = ""
    version: int | None = None
    complaint: str = ""
    running: str = ""
    watched: float = 0.0
    status: str = ""
    ended: str = ""
    seconds: float = 0.0
    at: str = ""
    verdict: str = ""
    line: str = ""
    relaying: int = 0
    relayed: bool = False
    unmounted: bool = False


@dataclass(slots=True)
class Diary:
    """A chain's plan and its turns; what is changed counts once it is saved.

    Args:
        path: Where it is written.
        plan: What the sessions have in common.
        turns: Its sessions, oldest first.
    """

    path: Path
    plan: Plan
    turns: list[Turn] = field(default_factory=list)

    def save(self) -> None:
        """Write it, whole or not at all."""
        content = {"format": FORMAT, "plan": dataclasses.asdict(self.plan)}
        content["turns"] = [dataclasses.asdict(turn) for turn in self.turns]
        write_json(self.path, content)


def open_diary(out: Path, plan: Plan) -> Diary:
    """Return the diary of a folder, a new one where there is none.

    Args:
        out: Folder of the chain.
        plan: It must not differ from the diary's in what makes it this run.

    Raises:
        UsageError: It differs.
        RunError: The diary is damaged.
    """
    path = out / DIARY
    if not path.exists():
        if others := sorted(each.name for each in _entries(out) if each.name != LOCK):
            raise UsageError(
                f"{out} holds other things than a chain ({', '.join(others[:3])}); choose another "
                "--out, a folder of its own"
            )
        return Diary(path, plan)
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise RunError(
                f"{path} has format {content['format']}, this carlib reads {FORMAT}: go on with "
                "the carlib that wrote it, or choose another --out"
            )
        old = content["plan"]
        turns = [_as_turn(turn) for turn in content["turns"]]
        before = {name: old[name] for name in FIXED}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise RunError(
            f"{path} is not the diary of a chain ({error}); choose another --out"
        ) from error
    new = dataclasses.asdict(plan)
    # Where nothing has come of it yet, what was wrong with the plan may be mended.
    if all(turn.ended and not turn.at for turn in turns):
        return Diary(path, plan, turns)
    changed = [
        f"{name}: {before[name]!r} -> {new[name]!r}"
        for name in FIXED
        if before[name] != _as_read(new[name])
    ]
    if changed:
        raise UsageError(
            f"{out} holds another chain ({'; '.join(changed)}); choose another --out for a new "
            "one, or repeat the first command"
        )
    return Diary(path, plan, turns)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _as_turn(said: Mapping[str, Any]) -> Turn:
    """A turn out of JSON, each of its fields of its kind."""
    turn = Turn(**said)
    plain = Turn(0, "", "", 0)
    for each in dataclasses.fields(Turn):
        value, kind = getattr(turn, each.name), type(getattr(plain, each.name))
        fits = isinstance(value, int | float) if kind is float else type(value) is kind
        if not fits and not (kind is type(None) and isinstance(value, int | float)):
            raise ValueError(f"{each.name} is {value!r}"[:200])
    return turn


def _as_read(value: Any) -> Any:
    """A value as JSON gives it back: tuples as lists."""
    if isinstance(value, Mapping):
        return {name: _as_read(each) for name, each in value.items()}
    return [_as_read(each) for each in value] if isinstance(value, list | tuple) else value
