"""Where a run starts: from nothing, or from the furthest whole checkpoint of its recipe and photos.

A run's own chain comes first. Else chains are looked for by what they look like, under the work
folder and every input root of the session: where a platform mounts an earlier output, and how
its folders are called, changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carlib.checkpoints import (
    Checkpoint,
    Position,
    adopt,
    find_chains,
    find_checkpoint,
    read_state,
    retain,
    verify,
)
from carlib.checkpoints.chain import folders_of
from carlib.checkpoints.disk import LAST, MANIFEST, AnotherFormat, is_whole, name_of, read_manifest
from carlib.errors import RunError, UsageError
from carlib.files import write_whole
from carlib.loader import View
from carlib.metrics import is_higher_better
from carlib.models.build import check_model, check_side
from carlib.progress import say
from carlib.runfolder import RunFolder, is_exported
from carlib.schedules import make_optimizer, make_schedule
from carlib.session import Session
from carlib.spec import Recipe, differences, from_dict
from carlib.train.allowed import refused

log = logging.getLogger("carlib")

# MUST is AUTO for who knows that there is a run to go on with: rather nothing than a second start.
AUTO, NEVER, MUST = "auto", "never", "must"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a session begins.

    Args:
        checkpoint: In the run's own chain; None to begin with nothing.
        origin: Folder of the chain that it was copied from; "" where it always was the run's own.
        changed: What the recipe changes against the checkpoint's, where that was allowed.
        branch: It was asked for by its path: the other run may have gone on from there itself.
    """

    checkpoint: Checkpoint | None = None
    origin: str = ""
    changed: tuple[str, ...] = ()
    branch: bool = False

    def describe(self) -> str:
        """Return it as sessions.csv has it."""
        if self.checkpoint is None:
            return ""
        parts = [self.checkpoint.name, f"of {self.origin}" * bool(self.origin)]
        parts += [f"with {'; '.join(self.changed)}"] * bool(self.changed)
        return " ".join(filter(None, parts))


def check_names(recipe: Recipe) -> None:
    """Raise UsageError for a name in the recipe that no table has, before time is spent."""
    check_model(recipe.model)
    is_higher_better(recipe.monitor)
    for phase in recipe.phases:
        check_side(recipe.model.backbone, phase.size or recipe.model.size)
        View.of(recipe.model, phase)
        make_optimizer(phase, make_schedule(phase, 1))


def find_start(
    folder: RunFolder,
    recipe: Recipe,
    catalog_digest: str,
    session: Session,
    resume: str = AUTO,
    allow: Iterable[str] = (),
) -> Start:
    """Return the checkpoint to go on from, in the run's own chain; none to start anew.

    Args:
        folder: The run.
        recipe: It must be the checkpoint's, but for what ``allow`` names.
        catalog_digest: It must be the checkpoint's.
        session: Its work folder and inputs are searched by "auto", unless it is a plain machine's,
            where runs lie side by side and each has its own.
        resume: "auto", "must" (as "auto", but never to start anew), "never", or the path of a run,
            a chain or one checkpoint, which is copied into this run first.
        allow: Kinds of changes to the recipe that are accepted (``carlib.train.allowed``).

    Raises:
        UsageError: "never" or a path, and the run has a chain already.
        RunError: Nothing whole, another recipe or other photos; with "must", nothing at all.
    """
    if resume == MUST:
        start = find_start(folder, recipe, catalog_digest, session, AUTO, allow)
        if start.checkpoint is None:
            roots = ", ".join(map(str, _roots(folder, session)))
            raise RunError(
                f"--resume must: there is no run of recipe {recipe.name!r} and these photos under "
                f"{roots}; attach the earlier session's output, or begin with --resume auto"
            )
        return start
    allow = tuple(allow)
    own, damaged = _own(folder)
    if resume != AUTO and (own or damaged):
        upto = f"up to {own.name}" if own else "none of it whole"
        raise UsageError(
            f"{folder.root} already holds a run ({upto}); choose another --out, or "
            "--resume auto to go on with it"
        )
    if resume == NEVER:
        _warn_of_further(folder, recipe, catalog_digest, session, Position())
        return Start()
    if resume != AUTO:
        source = _source(Path(resume))
    else:
        changed = _check(own, recipe, catalog_digest, allow) if own else ()
        strict = not own and not damaged
        # Beside one's own, what only an allowed change makes fit is another branch.
        other = () if own else allow
        found = _furthest(folder, recipe, catalog_digest, session, other, strict)
        if damaged and not found:
            raise damaged
        if own and (not found or found.position <= own.position):
            return Start(own, changed=changed)
        if not found:
            return Start()
        source = found
    if resume != AUTO:
        _warn_of_further(folder, recipe, catalog_digest, session, source.position)
    changed = _check(source, recipe, catalog_digest, allow)
    _take_over(source, folder)
    adopted, origin = verify(folder.chain / source.name), str(source.path.parent.resolve())
    return Start(adopted, origin, changed, branch=resume != AUTO)


def _take_over(source: Checkpoint, folder: RunFolder) -> None:
    """Make another chain's checkpoint the run's own newest, with all that it needs."""
    chain, needed = source.path.parent, [source.name]
    for name in _needs(source):
        if is_whole(chain / name):
            needed.insert(0, name)
        elif beside := _best_beside(source):
            for path, own_path in (
                (beside.model, folder.model),
                (beside.model_card, folder.model_card),
            ):
                write_whole(own_path, path.read_bytes())
    # First: once the checkpoint is there, nothing is fetched any more. They may be hours of a large
    # network; their names say what they belong to.
    for path in sorted((chain.parent / folder.features.name).glob("*.npz")):
        write_whole(folder.features / path.name, path.read_bytes())
    for name in needed:
        own = folder.chain / name / MANIFEST
        # Another run of this recipe may have one of this name, and other weights in it.
        if own.is_file() and own.read_bytes() != (chain / name / MANIFEST).read_bytes():
            own.unlink()
    adopt(chain, folder.chain, needed)
    write_whole(folder.chain / LAST, f"{source.name}\n")
    # What has a higher number, and got less far, would be taken for newer.
    names = [path.name for path in folders_of(folder.chain)]
    retain(folder.chain, names[names.index(source.name) :], budget=0)


def _own(folder: RunFolder) -> tuple[Checkpoint | None, RunError | None]:
    """The run's own newest checkpoint, or why there is none where there should be."""
    try:
        return find_checkpoint(folder.chain, _at_hand), None
    except AnotherFormat:
        raise
    except RunError as error:
        return None, error


def _at_hand(checkpoint: Checkpoint) -> list[str]:
    """Names of those that it needs and are not whole, unless best/ beside the chain has the same.

    The best epoch's weights are all that is ever wanted of its checkpoint.
    """
    for name in (needed := _needs(checkpoint)):
        try:
            verify(checkpoint.path.parent / name)
        except RunError as error:
            if not _best_beside(checkpoint):
                return needed
            log.warning("%s; best/ beside the chain has its best epoch's weights", error)
    return []


def _best_beside(checkpoint: Checkpoint) -> RunFolder | None:
    """The run folder around a chain, where best/ holds the model of its best epoch, whole."""
    folder = RunFolder(checkpoint.path.parent.parent)
    best = read_state(checkpoint, arrays=False)[1]["parts"]["ledger"]["best"]
    digests = checkpoint.recipe_digest, checkpoint.catalog_digest
    return folder if best and is_exported(folder, *digests, best) else None


def _needs(checkpoint: Checkpoint) -> list[str]:
    """Names of the checkpoints that this one's ledger counts on: its best epoch's."""
    best = read_state(checkpoint, arrays=False)[1]["parts"]["ledger"]["best"] or {}
    return [best["checkpoint"]] if best.get("checkpoint") else []


def _source(path: Path) -> Checkpoint:
    if (path / MANIFEST).is_file():
        return _one(path.absolute())  # "." has no name
    chain = path / "chain" if (path / "chain").is_dir() else path
    found = find_checkpoint(chain, _at_hand)
    if not found:
        raise RunError(
            f"there is no whole checkpoint under {path}; give a run folder, its chain folder or "
            "one checkpoint"
        )
    return found


def _one(path: Path) -> Checkpoint:
    """Return a checkpoint that was asked for by its path; nothing is passed over for it."""
    checkpoint = verify(path)
    name = name_of(checkpoint.number, checkpoint.position)
    if name != path.name:
        raise RunError(f"{path} is checkpoint {name}, renamed; give its folder that name again")
    for needed in _needs(checkpoint):
        try:
            verify(path.parent / needed)
        except RunError as error:
            raise RunError(
                f"{error}, and {name} needs it, as its best epoch; give the whole chain"
            ) from error
    return checkpoint


def _roots(folder: RunFolder, session: Session) -> list[Path]:
    # On a plain machine two runs of one recipe may well be meant to be two.
    others = [] if session.kind == "plain" else [session.work, *session.inputs]
    return [folder.root, *others]


def _chains(roots: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for root in roots:
        for chain in find_chains(root):
            if chain.resolve() not in seen:
                seen.add(chain.resolve())
                yield chain


def _furthest(
    folder: RunFolder,
    recipe: Recipe,
    catalog_digest: str,
    session: Session,
    allow: tuple[str, ...],
    strict: bool,
) -> Checkpoint | None:
    """Return the furthest checkpoint of this recipe and these photos that lies about.

    Raises:
        RunError: If ``strict``. There are chains, one of them of this recipe's name or unreadable,
            and none fits: to start anew in silence would burn the hours that they hold. Else
            they are named in warnings.
    """
    fitting: list[Checkpoint] = []
    problems: list[RunError] = []
    for chain in _chains(_roots(folder, session)):
        if chain.resolve() == folder.chain.resolve():
            continue
        try:
            found = find_checkpoint(chain, _at_hand)
            if found is None:
                continue
            _check(found, recipe, catalog_digest, allow)
            fitting.append(found)
        except RunError as error:
            said = _manifest_of(chain)
            digests = (said.recipe_digest, said.catalog_digest) if said else None
            if said and said.recipe != recipe.name:
                log.warning("%s holds a run of recipe %r: not this one's", chain, said.recipe)
            elif (
                said
                and digests != (recipe.digest(), catalog_digest)
                and _is_another_run(chain, folder, session)
            ):
                log.warning("%s; taken for another run's", error)
            else:
                problems.append(error)
    for problem in problems if fitting or not strict else ():
        log.warning("%s; passed over", problem)
    if fitting:
        return max(fitting, key=lambda each: (each.position, each.number))
    if problems and strict:
        raise RunError(f"{problems[0]}; or start anew with --resume never")
    return None


def _warn_of_further(
    folder: RunFolder, recipe: Recipe, catalog_digest: str, session: Session, position: Position
) -> None:
    """Name a run of this recipe and these photos that got further than where this one begins."""
    found = _furthest(folder, recipe, catalog_digest, session, (), strict=False)
    if found and found.position > position:
        log.warning("%s got further; --resume auto would go on from it", found.path)


def _is_another_run(chain: Path, folder: RunFolder, session: Session) -> bool:
    """Folds or seeds side by side are runs of one recipe's name, each in a folder of its own name.

    In the work folder they were begun in this very session; among the inputs the name tells.
    """
    where, own, work = chain.resolve(), folder.root.resolve(), session.work.resolve()
    if where.is_relative_to(own):
        return False
    inputs = [root.resolve() for root in session.inputs]
    begun_here = where.is_relative_to(work) and not any(map(where.is_relative_to, inputs))
    run = RunFolder(chain.parent)
    return begun_here or (run.recipe.is_file() and chain.parent.name != own.name)


def _manifest_of(chain: Path) -> Checkpoint | None:
    """The newest checkpoint whose manifest can be read, whole or not."""
    for path in folders_of(chain):
        with suppress(RunError):
            return read_manifest(path)
    return None


def _check(
    checkpoint: Checkpoint, recipe: Recipe, catalog_digest: str, allow: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what the recipe changes and may; raise RunError where it may not."""
    changed: tuple[str, ...] = ()
    if checkpoint.recipe_digest != recipe.digest():
        old = _recipe_of(checkpoint)
        if found := refused(old, recipe, checkpoint.position, allow):
            raise RunError(
                f"{checkpoint.path} belongs to another recipe ({'; '.join(found)}); train with the "
                "recipe it was begun with, or start anew in another --out"
            )
        changed = tuple(map(str, differences(old, recipe)))
    if checkpoint.catalog_digest != catalog_digest:
        raise RunError(
            f"{checkpoint.path} was trained on other photos or labels (catalog digest "
            f"{checkpoint.catalog_digest[:12]}, now {catalog_digest[:12]}); choose another --out, "
            "or give the photos it was begun with"
        )
    return changed


def _recipe_of(checkpoint: Checkpoint) -> Recipe:
    try:
        return from_dict(read_state(checkpoint, arrays=False)[1]["recipe"])
    except UsageError as error:
        raise RunError(
            f"{checkpoint.path} has a recipe that this version cannot read ({error}); resume with "
            "the version that wrote it"
        ) from error


def warn_of_versions(checkpoint: Checkpoint, now: Mapping[str, str]) -> None:
    """Name the libraries that are other ones than a checkpoint's: bits may differ from here on.

    Args:
        checkpoint: To go on from.
        now: Versions of this session, by name.
    """
    then = checkpoint.versions
    other = [
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
    if other:
        log.warning(
            "%s was written by other versions (%s): results stay comparable, but not bit for bit",
            checkpoint.name,
            ", ".join(other),
        )
    if checkpoint.determinism == "fast":
        say("determinism is 'fast': the run goes on complete, but not promised bit for bit")
