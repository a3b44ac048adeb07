"""The greedy search: what is one transform away, and rounds that follow from verdicts alone."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import pytest
from conftest import make_recipe

from carlib.augment import PRESETS, TRANSFORMS, preset_named
from carlib.errors import UsageError
from carlib.experiments import Arm, Experiment, Search
from carlib.experiments.estimate import Estimate
from carlib.experiments.search import neighbours, round_after, start_of
from carlib.experiments.verdict import BETTER, UNKNOWN, WORSE, Comparison
from carlib.spec import with_settings

pytestmark = pytest.mark.once

CROP, MIRROR, BRIGHT = "RandomResizedCrop", "HorizontalFlip", "RandomBrightnessContrast"
BEGIN = f"light-{CROP}-{BRIGHT}"  # a mirror alone


@dataclass(frozen=True, slots=True)
class Judged:
    """A line of a table, as far as a search looks at it."""

    arm: Arm
    comparison: Comparison | None


def experiment(begin="light", settings=(), **options):
    """A search that begins with a preset or an expression."""
    recipe = with_settings(make_recipe(), [f"phases.*.augment={begin}", *settings])
    options = {"search": Search(("Blur", "ToGray"))} | options
    return Experiment("plan", Arm("base", recipe), (), **options)


def judged(asked, verdicts=None):
    """A finished round: arms of ``verdicts`` have (difference, verdict), others are unclear."""
    lines = [Judged(asked.base, None)]
    for arm in asked.arms:
        mean, verdict = (verdicts or {}).get(arm.name, (0.0, UNKNOWN))
        difference = Estimate(mean, 3, 100, 1e-4, 0.0, 2.0)
        lines.append(Judged(arm, Comparison(difference, 0.5, verdict, None)))
    return lines


def play(asked, verdicts):
    """Search to the end; return the experiments of its rounds.

    Args:
        verdicts: Of each round, what ``judged`` takes; of those after, nothing is clear.
    """
    found, finished = [], []
    while now := round_after(asked, finished):
        found.append(now)
        verdict = verdicts[len(finished)] if len(finished) < len(verdicts) else {}
        finished.append(judged(now, verdict))
        assert len(found) <= asked.search.rounds
    return found


def same(one, other):
    """Whether two expressions do the same to a photo."""
    left, right = preset_named(one), preset_named(other)
    return (left.transforms, left.margin) == (right.transforms, right.margin)


# ---------------------------------------------------------------- one transform away


@pytest.mark.parametrize(
    ("text", "search", "found"),
    [
        (
            "light",
            Search(("Blur", "ToGray")),
            ["light+Blur", "light+ToGray", f"light-{CROP}", f"light-{MIRROR}", f"light-{BRIGHT}"],
        ),
        ("light", Search(("Blur",), drop=False), ["light+Blur"]),
        ("light", Search(), [f"light-{CROP}", f"light-{MIRROR}", f"light-{BRIGHT}"]),
        # What is there is not added again, within a OneOf neither.
        ("light", Search((MIRROR,), drop=False), []),
        ("heavy", Search(("MotionBlur", "Equalize"), drop=False), ["heavy+Equalize"]),
        ("cars", Search((CROP, "ToGray"), drop=False), ["cars+ToGray"]),
        # Changes that take each other back go, in whatever order they came.
        (
            "light+ToGray",
            Search(("ToGray",)),
            [f"light+ToGray-{CROP}", f"light+ToGray-{MIRROR}", f"light+ToGray-{BRIGHT}", "light"],
        ),
        (f"light-{MIRROR}+Blur", Search((MIRROR,), drop=False), ["light+Blur"]),
        (
            f"light+Blur-{MIRROR}",
            Search(("Blur", MIRROR)),
            [
                "light+Blur",
                f"light+Blur-{MIRROR}-{CROP}",
                f"light+Blur-{MIRROR}-{BRIGHT}",
                f"light-{MIRROR}",
            ],
        ),
        # An expression of someone's own that takes back what it says itself.
        (f"light-{MIRROR}+{MIRROR}", Search((), rounds=1), None),
        # To nothing at all, and on from there.
        (BEGIN, Search(), [f"{BEGIN}-{MIRROR}"]),
        (f"{BEGIN}-{MIRROR}", Search(), []),
        (f"{BEGIN}-{MIRROR}", Search((MIRROR,)), [BEGIN]),
        ("none", Search(("Blur",)), ["none+Blur"]),
    ],
)
def test_neighbours(text, search, found):
    expected = found
    if expected is None:
        expected = [f"light-{MIRROR}+{MIRROR}-{CROP}", f"light-{MIRROR}+{MIRROR}-{BRIGHT}"]
        expected.append(f"light-{MIRROR}")
    assert list(neighbours(text, search)) == expected


@pytest.mark.parametrize("text", [*PRESETS, "light+ToGray", f"heavy-{CROP}", "cars+Blur-Rotate"])
def test_each_neighbour_is_another_and_a_step_back_away(text):
    """All can be read, differ from where they come from and from each other, and lead back."""
    search = Search(tuple(TRANSFORMS))
    found = list(neighbours(text, search))
    assert len(set(found)) == len(found)
    for place, each in enumerate(found):
        preset_named(each)
        assert not same(each, text)
        assert not any(same(each, other) for other in found[:place])
        assert any(same(text, back) for back in neighbours(each, search))


@pytest.mark.parametrize("text", ["ligth", "light+Blurr", f"light-{MIRROR}-{MIRROR}"])
def test_neighbours_of_what_is_none(text):
    with pytest.raises(UsageError, match=r"unknown|no 'HorizontalFlip' to drop"):
        list(neighbours(text, Search()))


# ---------------------------------------------------------------- where it begins


def test_it_begins_with_what_its_base_has():
    assert start_of(experiment("medium+ToGray-Blur")) == "medium+ToGray-Blur"
    # A phase that does not augment says nothing, and stays so.
    asked = experiment("light", ["phases.head.augment=none"])
    assert start_of(asked) == "light"
    (first,) = play(asked, [])
    for arm in first.everyone:
        assert [phase.augment for phase in arm.recipe.phases] == ["none", arm.name]


@pytest.mark.parametrize(
    ("begin", "settings", "message"),
    [
        (
            "light",
            ["phases.all.augment=medium"],
            r"^a search needs phases that augment alike; these have \['light', 'medium'\]: choose",
        ),
        ("none", [], "^a search begins with what its base's phases augment by, and they do not "),
        ("ligth", [], "^unknown preset 'ligth'; did you mean 'light'"),
    ],
)
def test_what_it_cannot_begin_with(begin, settings, message):
    with pytest.raises(UsageError, match=message):
        round_after(experiment(begin, settings), [])


# ---------------------------------------------------------------- rounds


def test_without_a_search_it_is_the_experiment_once():
    asked = experiment(search=None)
    assert round_after(asked, []) is asked
    assert round_after(asked, [judged(asked)]) is None


def test_a_round_is_an_experiment_like_any():
    asked = experiment(
        *("light", ["label_smoothing=0.2"]),
        **{"seeds": (4, 7), "hours": 2, "judge": "last", "keep": "runs", "halving": 0.5},
    )
    found = round_after(asked, [])
    assert found.search is None
    assert found.name == "plan: round 1"
    assert [arm.name for arm in found.everyone] == [
        *("light", "light+Blur", "light+ToGray"),
        *(f"light-{CROP}", f"light-{MIRROR}", f"light-{BRIGHT}"),
    ]
    assert [arm.changes for arm in found.everyone[:4]] == [
        *((), ("+Blur",), ("+ToGray",), (f"-{CROP}",))
    ]
    assert found.base.recipe == asked.base.recipe
    for arm in found.arms:
        settings = [f"phases.*.augment={arm.name}"]
        assert arm.recipe == with_settings(asked.base.recipe, settings)
    for field in ("seeds", "hours", "judge", "keep", "halving", "use", "proxy"):
        assert getattr(found, field) == getattr(asked, field)


def test_the_best_of_the_better_is_the_next_base():
    first, second, third = play(
        experiment(BEGIN),
        [
            {
                f"{BEGIN}+Blur": (0.02, BETTER),
                f"{BEGIN}+ToGray": (0.03, BETTER),
                f"{BEGIN}-{MIRROR}": (0.09, UNKNOWN),  # more, and not distinguishable
            },
            {f"{BEGIN}+ToGray+Blur": (0.01, BETTER)},
        ],
    )
    assert [each.base.name for each in (first, second, third)] == [
        *(BEGIN, f"{BEGIN}+ToGray", f"{BEGIN}+ToGray+Blur")
    ]
    assert [each.name for each in (first, second, third)] == [
        *("plan: round 1", "plan: round 2", "plan: round 3")
    ]
    # Back to where it was is none of its arms.
    assert [arm.name for arm in second.arms] == [
        *(f"{BEGIN}+ToGray+Blur", f"{BEGIN}+ToGray-{MIRROR}")
    ]
    # The runs of a round's base are those of an arm of the round before.
    assert second.base in first.arms
    assert third.base in second.arms


@pytest.mark.parametrize(
    "verdicts",
    [
        {},
        {f"{BEGIN}+Blur": (0.5, UNKNOWN), f"{BEGIN}+ToGray": (-0.1, UNKNOWN)},
        {f"{BEGIN}+Blur": (-0.5, WORSE), f"{BEGIN}+ToGray": (-0.1, WORSE)},
        {BEGIN: (0.5, BETTER)},  # no arm
    ],
)
def test_it_ends_where_none_is_better(verdicts):
    assert len(play(experiment(BEGIN), [verdicts])) == 1


def test_an_arm_without_a_run_is_never_taken():
    asked = experiment(BEGIN)
    first = round_after(asked, [])
    assert round_after(asked, [[Judged(arm, None) for arm in first.everyone]]) is None
    assert round_after(asked, [[]]) is None


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_it_ends_after_its_rounds(rounds):
    names = [BEGIN]
    for name in ("Blur", "ToGray", "Equalize"):
        names.append(f"{names[-1]}+{name}")
    asked = experiment(BEGIN, search=Search(("Blur", "ToGray", "Equalize"), True, rounds))
    found = play(asked, [{name: (0.1, BETTER)} for name in names[1:]])
    assert [each.base.name for each in found] == names[:rounds]


def test_it_ends_where_nothing_is_left_to_try():
    asked = experiment(BEGIN, search=Search(("Blur",), drop=False))
    assert len(play(asked, [{f"{BEGIN}+Blur": (0.1, BETTER)}])) == 1


def test_it_never_visits_again_what_it_has_been():
    """Nor what does the same under another name: a step more, one less, the first taken back."""
    there = [BEGIN, f"{BEGIN}+Blur", f"{BEGIN}+Blur-{MIRROR}", f"{BEGIN}-{MIRROR}"]
    asked = experiment(BEGIN, search=Search(("Blur", MIRROR), rounds=9))
    found = play(asked, [{name: (0.1, BETTER)} for name in there[1:]])
    assert [each.base.name for each in found] == there[: len(found)]
    assert len(found) == 3  # around the last, all has been
    for place, each in enumerate(found):
        before = [earlier.base.name for earlier in found[: place + 1]]
        for arm in each.arms:
            assert not any(same(arm.name, name) for name in before)


@pytest.mark.parametrize("begin", [BEGIN, "medium", "cars+ToGray"])
def test_a_search_that_likes_everything_ends_and_comes_nowhere_twice(begin):
    asked = experiment(begin, search=Search(("Blur", "Equalize", MIRROR), rounds=20))
    finished, bases = [], []
    while now := round_after(asked, finished):
        assert not any(same(now.base.name, name) for name in bases)
        bases.append(now.base.name)
        finished.append(judged(now, {arm.name: (0.1, BETTER) for arm in now.arms}))
    assert 2 <= len(bases) <= 20


def test_rounds_follow_from_verdicts_alone():
    """After a cut the same rounds come again, whatever the order of a table's lines."""
    asked = experiment(BEGIN)
    verdicts = [
        {f"{BEGIN}+Blur": (0.02, BETTER), f"{BEGIN}+ToGray": (0.02, BETTER)},  # a tie
        {f"{BEGIN}+ToGray-{MIRROR}": (0.01, BETTER)},
    ]
    found = play(asked, verdicts)
    assert len(found) == 3
    assert found == play(asked, verdicts)
    lines = [judged(each, said)[::-1] for each, said in zip(found, verdicts, strict=False)]
    for done in range(3):
        assert round_after(asked, lines[:done]) == found[done]


@pytest.mark.parametrize(
    ("alpha", "rounds", "each"),
    [(0.05, 1, 0.05), (0.05, 5, 0.01), (0.05, 20, 0.0025), (0.009, 9, 0.001), (0.003, 3, 0.001)],
)
def test_alpha_is_shared_out_over_the_rounds(alpha, rounds, each):
    asked = experiment(alpha=alpha, search=Search(("Blur",), rounds=rounds))
    first = round_after(asked, [])
    assert first.alpha == pytest.approx(each)
    if rounds > 1:
        better = {"light+Blur": (0.1, BETTER)}
        assert round_after(asked, [judged(first, better)]).alpha == first.alpha
    assert first.alpha * rounds <= alpha * (1 + 1e-9)


def test_arms_of_a_round_are_different_recipes():
    for begin in ("light", "heavy", "cars"):
        found = round_after(experiment(begin, search=Search(tuple(TRANSFORMS))), [])
        digests = {arm.recipe.digest() for arm in found.everyone}
        assert len(digests) == len(found.everyone)
        plain = [
            dataclasses.replace(phase, augment="none")
            for phase in with_settings(found.base.recipe, []).phases
        ]
        for arm in found.everyone:
            others = [dataclasses.replace(phase, augment="none") for phase in arm.recipe.phases]
            assert others == plain
            assert re.fullmatch(r"\w+([+-]\w+)*", arm.name)
