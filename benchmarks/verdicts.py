"""How often verdicts on simulated arms are wrong, and how often they find a difference.

    python benchmarks/verdicts.py [--plans 1000] [--photos 900] [--json]

A plan has a base and four arms: two equal to the base, one better by three points, one by eight.
Whether a photo is right follows a logistic model: the photo's difficulty, the
arm's way with it, the run's luck, and chance; differences are those over all photos and runs that
might be, not on the ones at hand. Each design is simulated with runs that scatter alike,
and with one arm, or the base, whose runs scatter far more than the others'.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from scipy.optimize import brentq

DESIGNS = {
    "3 seeds, one split": [1] * 3,
    "5 seeds, one split": [1] * 5,
    "3 seeds x 2 folds": [2] * 3,
    "5 folds": [5],
    "3 seeds x 5 folds": [5] * 3,
}
SCATTERS = {
    "alike": [0.12] * 5,
    "one arm far more": [0.12, 0.6, 0.12, 0.12, 0.12],
    "the base far more": [0.6, 0.12, 0.12, 0.12, 0.12],
}
TRUE = [0.0, 0.0, 0.0, 0.03, 0.08]  # differences to the base
BASE = 0.8  # its accuracy
EASES, WAYS = 1.5, 0.7  # scatter of photos' ease, and of an arm's way with a photo; logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plans", type=int, default=1000)
    parser.add_argument("--photos", type=int, default=900, help="of a split, or in all folds")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = []
    for design, seeds in DESIGNS.items():
        for scatter, spreads in SCATTERS.items():
            row = {"design": design, "scatter": scatter}
            row |= simulate(seeds, spreads, given.plans, given.photos)
            found.append(row)
            if not given.json:
                print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    summary = {
        "plans": given.plans * len(found),
        "worst_false_better": max(row["false_better"] for row in found),
        "worst_false_verdict": max(row["false_verdict"] for row in found),
        "least_coverage": min(row["coverage"] for row in found),
        "designs": found,
    }
    print(json.dumps(summary if given.json else {**summary, "designs": len(found)}))


def simulate(seeds, spreads, plans, photos):
    """Plans of one design: shares of those with a false verdict, and of those that find one."""
    from carlib.experiments.verdict import BETTER, UNKNOWN, compare

    rng = np.random.default_rng(0)
    means = [logit_of(BASE + more, spread) for more, spread in zip(TRUE, spreads, strict=True)]
    better = wrong = covered = intervals = 0
    power = np.zeros(len(TRUE))
    gaps = []
    for _ in range(plans):
        arms = arms_of(rng, seeds, means, spreads, photos)
        found = compare(arms[0], {str(place): arms[place] for place in range(1, len(arms))})
        equal = [found[str(place)] for place in (1, 2)]
        better += any(each.verdict == BETTER for each in equal)
        wrong += any(each.verdict != UNKNOWN for each in equal)
        for place in range(1, len(arms)):
            difference = found[str(place)].difference
            low, high = difference.interval()
            covered += low <= TRUE[place] <= high
            intervals += 1
            power[place] += found[str(place)].verdict == BETTER
            gaps.append((high - low) / 2)
    return {
        "false_better": round(better / plans, 4),
        "false_verdict": round(wrong / plans, 4),
        "coverage": round(covered / intervals, 3),
        "power_3_points": round(power[3] / plans, 3),
        "power_8_points": round(power[4] / plans, 3),
        "interval": f"+-{100 * np.median(gaps):.1f} points",
    }


def arms_of(rng, seeds, means, spreads, photos):
    """Each arm's runs by seed and fold."""
    from carlib.experiments.verdict import Marks

    ease = rng.normal(0, EASES, photos)
    ways = [mean + ease + rng.normal(0, WAYS, photos) for mean in means]
    arms = [{} for _ in means]
    for seed, folds in enumerate(seeds):
        for fold, rows in enumerate(np.array_split(np.arange(photos), folds)):
            for runs, way, spread in zip(arms, ways, spreads, strict=True):
                right = chance(way[rows] + rng.normal(0, spread)) > rng.random(len(rows))
                runs[seed, fold] = Marks(rows, right)
    return arms


def logit_of(accuracy, spread):
    """The mean logit of an arm with so much accuracy over all photos and runs that might be."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    scatter = np.sqrt(EASES**2 + WAYS**2 + spread**2)

    def more(mean):
        return (weights * chance(mean + scatter * points)).sum() / weights.sum() - accuracy

    return brentq(more, -10, 20)


def chance(logit):
    return 1 / (1 + np.exp(-logit))


if __name__ == "__main__":
    main()
