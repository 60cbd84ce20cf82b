"""What probes bring `adaptive`: regret and fine-tunings without them, with hints, with screening.

    python tests/benchmarks/probes.py --tasks 4 --landscapes 100      # a few minutes

Four chains are in flight. A chain's probe is known as soon as it is asked, its score when the
fourth chain after it is asked. Probe and true score correlate by 0.7 over the landscape; the noise
is measured on two starts with three seeds.
"""

import argparse
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from search import landscape
from search.landscape import Effects
from search.scheduling.early_stopping import screen, training_noise
from tests.measures import BALANCED
from tests.search.policies.test_contract import make
from trainables.spec import Score

KINDS = ("none", "hints", "hints and screening")
FLYING, CORRELATION, DEVIATIONS = 4, 0.7, 3.0


def play(kind: str, tasks: int, noise: float, seed: int) -> tuple[float, ...]:
    """Return the regret after twice as many fine-tunings as tasks, at the end; their number."""
    rng, names = np.random.default_rng(seed), tuple("abcdef"[:tasks])
    drawn = landscape.draw(names, seed, Effects(noise=noise))
    true = np.array([*drawn.true.values()])
    probes = CORRELATION * (true - true.mean()) / true.std()
    probes += np.sqrt(1 - CORRELATION**2) * rng.standard_normal(len(true))
    known = dict(zip(drawn.true, probes, strict=True))
    starts = {start: dict(enumerate(rng.normal(0, noise, 3))) for start in range(2)}
    measured = training_noise(starts)
    assert measured
    policy = make("adaptive", seed=seed, tasks=names, max_length=tasks)
    flying, tuned, asked, early = deque(), 0, 0, np.nan

    def regret() -> float:
        best = policy.best()
        return true.max() - drawn.true[best.chain] if best else np.nan

    def land() -> None:
        nonlocal tuned, early
        node = flying.popleft()
        policy.tell(node, drawn.observed[node.chain])
        tuned += 1
        early = regret() if tuned == 2 * tasks else early

    while not policy.finished():
        if len(flying) == FLYING or (node := policy.ask()) is None:
            land()
            continue
        asked += 1
        if kind != "none":
            probe = BALANCED.measure(known[node.chain], 0.0, 0.0)
            policy.probed(node, Score("linear", {"linear": probe}))
        hint = policy.hint(node) if kind == KINDS[-1] and len(node.chain.tasks) > 1 else None
        leader = max(policy.means().values(), default=-np.inf)
        stop = hint and screen(hint, 1, ("", leader), measured, DEVIATIONS, BALANCED)
        if stop:
            policy.bounded(node, stop.ceiling)
        else:
            flying.append(node)
    while flying:
        land()
    return early, regret(), tuned, asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--landscapes", type=int, default=100, metavar="N")
    args = parser.parse_args()
    print(f"| noise | probes | regret after {2 * args.tasks} fine-tunings ", end="")
    print("| at the end | fine-tunings | stages |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    with ProcessPoolExecutor(2) as pool:
        for noise in (0.7, 1.5, 3.0):
            for kind in KINDS:
                game = partial(play, kind, args.tasks, noise)
                found = np.array([*pool.map(game, range(args.landscapes), chunksize=5)])
                cells = " | ".join(f"{value:.2f}" for value in np.nanmean(found, 0))
                print(f"| {noise} | {kind} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
