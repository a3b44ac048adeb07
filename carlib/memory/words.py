"""A forecast, and what explains it, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from carlib.memory.explain import Explanation, Remedy
from carlib.memory.noun import Forecast

FIGURES = (
    "R is what the step asks the allocator for at its peak, nearly the same in every run",
    "U is what the allocator then has in use, and where it lies for 95% of models",
    "T is a limit of the allocator that does not run out: by it a phase fits or not",
)
WIDTH = 100  # characters of a line
BEND = 0.05  # off a straight line, as a share
UNMEASURED = (
    "nothing here is measured on a GPU: the rules come from a CPU with the allocator that "
    "TensorFlow has on every GPU"
)


def amount(nbytes: float) -> str:
    """Return bytes for people, to three figures.

    >>> amount(14_425_000_000), amount(85.4e6), amount(12_345), amount(0)
    ('14.4 GB', '85.4 MB', '0.01 MB', '0 MB')
    """
    unit, name = (1e9, "GB") if abs(nbytes) >= 999.5e6 else (1e6, "MB")
    value = nbytes / unit
    places = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{places if value else 0}f} {name}"


def describe(forecast: Forecast, hint: str = "") -> str:
    """Return a forecast as lines of text.

    Args:
        forecast: Of ``estimate_memory``.
        hint: What more can be asked where a phase does not fit. Defaults to "".
    """
    most = forecast.most
    lines = [*_against(forecast), "", *_table(forecast), "", *FIGURES, ""]
    lines.append(f"{most.name} needs the most; its peak: {most.peak}")
    lines += [f"  {amount(each.nbytes):>8}  {each.layer}: {each.what}" for each in most.holders]
    lines += ["", *_wrapped(forecast.regime.why), *_wrapped(UNMEASURED)]
    if unknown := list(dict.fromkeys(name for need in forecast.needs for name in need.unknown)):
        names = ", ".join(unknown)
        lines += _wrapped(f"no rule for {names}: what they hold is guessed, and widens U and T")
    return "\n".join([*lines, "", *_verdicts(forecast, hint)]).rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)


def _against(forecast: Forecast) -> list[str]:
    device = forecast.device
    if device is None:
        return [f"{forecast.recipe}, against no device: --gpu names one"]
    lines = [f"{forecast.recipe} on {device.name}: {amount(device.usable)} of memory usable"]
    if device.context or device.reserve:
        lines += _wrapped(
            f"  beside it {amount(device.context)} are CUDA's context, and TensorFlow leaves "
            f"{amount(device.reserve)} to the system"
        )
    return lines + (_wrapped(f"  {device.source}") if device.source else [])


def _table(forecast: Forecast) -> list[str]:
    device = forecast.device
    against = () if device is None else ("most photos", "fits")
    rows: list[tuple[str, ...]] = [
        ("", "photos", "px", "R", "U", "95% of models", "T", *against),
    ]
    for need in forecast.needs:
        low, high = need.expected_between
        row: tuple[str, ...] = (
            need.name,
            str(need.batch),
            str(need.size),
            amount(need.requested),
            amount(need.expected),
            f"{amount(low)} to {amount(high)}",
            amount(need.safe),
        )
        if device is not None:
            most = forecast.largest.get(need.name)
            row += ("" if most is None else f"{most:,}", "yes" if forecast.fits(need) else "NO")
        rows.append(row)
    return columns(rows)


def _verdicts(forecast: Forecast, hint: str) -> list[str]:
    """Say what does not fit, and what becomes of it."""
    device = forecast.device
    if device is None:
        return []
    small = [need for need in forecast.needs if not forecast.fits(need)]
    if not small:
        return [f"everything fits into {device.name}"]
    lines = []
    for need in small:
        if need.work == "forward":
            continue
        line = (
            f"{need.name} does NOT fit into {device.name}: T is {amount(need.safe)} of "
            f"{amount(device.usable)}"
        )
        most = forecast.largest.get(need.name)
        if most:
            line += f"; {most} photos a step fit, and carlib train takes what fits, accumulating"
        else:
            line += "; not even one photo fits"
        lines += _wrapped(line)
    if lines and hint:
        lines.append(hint)
    if passes := [need for need in small if need.work == "forward"]:
        lines += _wrapped(
            f"{', '.join(need.name for need in passes)}: {passes[0].batch} photos at once do NOT "
            f"fit into {device.name}; such a pass is cut in half, and its halves again"
        )
    return lines


def explained(forecast: Forecast, said: Explanation) -> str:
    """Return an explanation as lines of text."""
    need = said.need
    way = "on cached features" if need.work != "training" else f"at {need.size} px"
    lines = [
        f"how it grows: phase {need.name!r}, {need.batch} photos a step {way}, "
        f"{amount(need.requested)} of R, {amount(need.safe)} of T",
        "",
        *_batch(said),
        *_side(said),
        *_frozen(said),
        *_optimizer(said),
        *_precision(said),
    ]
    for name, remedies in said.to_fit.items():
        lines += ["", *_to_fit(forecast, name, remedies)]
    if forecast.device and not said.to_fit:
        most = forecast.largest[need.name]
        lines += ["", f"{need.name} fits into {forecast.device.name}, up to {most:,} photos a step"]
    return "\n".join(lines)


def _batch(said: Explanation) -> list[str]:
    need = said.need
    line = (
        f"photos a step: linear, {amount(need.per_photo)} a photo above {amount(said.fixed)}: "
        + _at(said.batches, "photos")
    )
    off = (said.fixed + need.per_photo * batch - nbytes for batch, nbytes in said.batches)
    if max(map(abs, off)) > BEND * need.requested:
        line += "; it bends where another moment of the step comes to hold the most"
    return _wrapped(line)


def _at(pairs: Sequence[tuple[int, int]], unit: str) -> str:
    places, sizes = zip(*pairs, strict=True)
    return f"{', '.join(map(amount, sizes))} at {', '.join(map(str, places))} {unit}"


def _side(said: Explanation) -> list[str]:
    if not said.sides:
        return ["their side: no matter, it trains on features that are cached"]
    need = said.need
    fixed = need.terms["weights"] + need.terms["slots"]
    own = need.requested - fixed
    grown = [f"{(nbytes - fixed) / own:.2f}" for _, nbytes in said.sides]
    squares = [f"{(side / need.size) ** 2:.2f}" for side, _ in said.sides]
    return [
        f"their side: quadratic: {_at(said.sides, 'px')}",
        *_wrapped(
            f"  without weights and optimizer {', '.join(grown)} times, the squares of the sides "
            + ", ".join(squares)
        ),
    ]


def _frozen(said: Explanation) -> list[str]:
    table = said.table
    whole = table[0].requested
    rows = [("  frozen", "R", "saved", "of the parameters train")]
    for cut in table:
        what = f"the first {cut.share:.0%} of blocks" if cut.blocks else "nothing"
        if cut.blocks == cut.of_blocks:
            what = "all but the head" + (", features cached" if cut.kept else "")
        saved = f"{1 - cut.requested / whole:.0%}" if cut.blocks else ""
        rows.append((f"  {what}", amount(cut.requested), saved, _share(cut.trained)))
    return [
        *_wrapped(
            "what trains: neither linear nor quadratic, a staircase set by where the first block "
            "that trains lies: of those below it nothing is kept"
        ),
        *columns(rows),
    ]


def _share(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 or 0.99 < share < 1 else f"{share:.0%}"


def _optimizer(said: Explanation) -> list[str]:
    slots, phase = said.slots, said.phase
    line = (
        "optimizer: constant: 8 bytes a parameter that trains with adam and adamw "
        f"({amount(slots['adam'])}), 4 with sgd and momentum ({amount(slots['sgd, momentum'])}), "
        "0 with plain sgd; here " + phase.optimizer
    )
    more = [("ema", phase.ema > 0), ("accumulate", phase.accumulate > 1)]
    if taken := [name for name, is_on in more if is_on]:
        line += f", and 4 more for {', 4 for '.join(taken)}"
    return _wrapped(line)


def _precision(said: Explanation) -> list[str]:
    if not said.precisions:
        return []
    full, half = said.precisions["float32"], said.precisions["mixed_float16"]
    return _wrapped(
        f"precision: float32 {amount(full)}, mixed_float16 {amount(half)}: {1 - half / full:.0%} "
        "less; weights stay float32, and so does what BatchNorm computes in: where it trains, a "
        "third is usual"
    )


def _to_fit(forecast: Forecast, name: str, remedies: Sequence[Remedy]) -> list[str]:
    device = forecast.device
    assert device is not None
    head = f"to fit {name} into the {amount(device.usable)} of {device.name}:"
    if not remedies:
        return _wrapped(f"{head} no batch, photo size or freezing is enough: a smaller model is")
    rows = [
        (f"  {each.what}", f"saves {each.saved:.0%} of R", f"T {amount(each.safe)}", _set(each))
        for each in remedies
    ]
    return [head, *columns(rows, left=(0, 3))]


def _set(remedy: Remedy) -> str:
    return f"--set {remedy.setting}"


def columns(rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = (0,)) -> list[str]:
    """Return a table as lines, its columns as wide as they must be.

    Args:
        rows: Of equally many texts.
        left: Columns that begin at the left; numbers end at the right. Defaults to the first.

    >>> columns([("", "photos"), ("head", "64")])
    ['      photos', 'head      64']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if number in left else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
