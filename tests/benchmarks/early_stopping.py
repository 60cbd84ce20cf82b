"""How often early stopping ends chains that are truly equal, and what it saves where they differ.

    python tests/benchmarks/early_stopping.py                # half a minute of one core

A search has the seeds of its starts first, which measure the noise, then chains one by one, singles
never stopped. Every chain is judged on its final score, the worst case: a real ceiling is higher.
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from search.policies._hint import FEWEST, predict
from search.scheduling.early_stopping import judge, screen, training_noise
from tests.measures import BALANCED

CURVES = [(0.0, 0.0, 0.0)] * 3  # no curve gains anything after an epoch
EPOCH, EPOCHS = 2, 3
SINGLES = 3


@dataclass(frozen=True)
class Fractions:
    """Fractions of the chains of several tasks; lost: of searches that stopped the best chain."""

    stopped: float  # in fine-tuning, if nothing is screened
    screened: float  # before it, by the probe
    lost: float


def simulate(
    sd: float,
    *,
    spread: float = 0.0,
    correlation: float = 0.0,
    chains: int = 15,
    starts: int = 2,
    seeds: int = 3,
    deviations: float = 3.0,
    searches: int = 1000,
    seed: int = 0,
) -> Fractions:
    """Play searches and return what was stopped.

    sd: of training noise; spread: sd of the chains' true merits, 0 for equal ones. correlation: of
    probe and true merit. chains, starts, seeds: of each start.
    """
    rng = np.random.default_rng(seed)
    ends = np.zeros((searches, 3))
    for each in ends:
        scores = {
            start: dict(enumerate(values)) for start, values in
            enumerate(rng.normal(0, sd, (starts, seeds)) + rng.normal(0, 2 * sd, seeds))
        }  # fmt: skip
        standard = rng.standard_normal(chains)
        other = rng.standard_normal(chains)
        probes = correlation * standard + np.sqrt(1 - correlation**2) * other
        merits = spread * standard + rng.normal(0, sd, chains)
        each[:] = _search(scores, standard * spread, probes, merits, deviations)
    return Fractions(*(ends.mean(0) / [chains - SINGLES, chains - SINGLES, 1]))


def _search(scores, true, probes, merits, deviations):
    """Stopped, screened, and whether the best chain is among them."""
    noise, done, counts = training_noise(scores), [*range(SINGLES)], [0, 0, 0]
    assert noise
    for chain in range(SINGLES, len(merits)):
        leader, hint = ("leader", merits[done].max()), None
        if len(done) >= FEWEST:
            hint = predict(probes[chain], probes[done], merits[done])
        screened = hint and screen(hint, EPOCHS, leader, noise, deviations, BALANCED)
        stopped = judge(
            merits[chain], EPOCH, EPOCHS, CURVES, leader, noise, deviations, BALANCED
        )  # fmt: skip
        counts[0] += stopped is not None
        counts[1] += bool(screened)
        counts[2] |= bool(chain == true.argmax() and (stopped or screened))
        if not (stopped or screened):
            done.append(chain)
    return counts


def main() -> None:
    names = [field.name for field in fields(Fractions)]
    print("| sd | spread | probe | starts x seeds | " + " | ".join(names) + " |")
    print("| ---: | ---: | ---: | --- |" + " ---: |" * len(names))
    for spread, correlation in ((0.0, 0.0), (4.0, 0.7), (8.0, 0.7)):
        for starts, seeds in ((1, 3), (2, 3), (4, 3), (4, 5)):
            for sd in (0.5, 1.5, 2.65):
                found = simulate(
                    sd, spread=spread, correlation=correlation, starts=starts, seeds=seeds
                )
                cells = [f"{100 * getattr(found, name):.1f} %" for name in names]
                print(f"| {sd} | {spread:g} | {correlation} | {starts} x {seeds} | ", end="")
                print(" | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
