"""What every policy finds for how many stages: regret on the published table and on landscapes.

    python tests/benchmarks/policies.py                      # all sizes, three hours of one core
    python tests/benchmarks/policies.py --tasks 4 --landscapes 100 --figure policies.png
    python tests/benchmarks/policies.py --tasks 4 --effects pairs    # other effect sizes

Regret is the best true score less the true score of what the policy recommends; policies see noisy
scores only (`search/landscape.py`). After a policy's own end its regret stays what it was. Every
policy plays 1,000 landscapes of each size; only `adaptive` without its own end plays fewer: FEW.
Measured results: policies.md.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search import landscape  # noqa: E402
from search.chains.chain import Chain  # noqa: E402
from search.landscape import Effects  # noqa: E402
from search.policies import Policy  # noqa: E402
from tests.measures import scored  # noqa: E402
from tests.search.policies.test_contract import make  # noqa: E402
from tests.search.published import SCORES, SINGLES  # noqa: E402
from trainables.spec import Score  # noqa: E402

POLICIES = ("exhaustive", "random", "curriculum", "tpe", "adaptive")
ENDLESS = "adaptive, never ending"
COUNT = 1000  # landscapes
FEW = {4: 200, 5: 50, 6: 10}  # of ENDLESS, by tasks
SHARES = {3: 1.0, 4: 1.0, 5: 0.4, 6: 0.1}  # of the stages that are followed
EFFECTS = {
    "default": Effects(),
    "pairs": Effects(last=1.5, pair=2.0),  # the last task matters less than what precedes it
    "kept": Effects(forgetting=0.3, curriculum=2.0),  # little is forgotten, curricula pay
    "noisy": Effects(noise=1.5, rest=1.0),
    "contrary": Effects(curriculum=-1.5),  # falling chains are the better ones
}


@dataclass(frozen=True)
class Curve:
    """Regret [landscape, stages - 1]; stages at a policy's own end, seconds a question."""

    regret: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    stages: float
    seconds: float

    def first(self, count: int) -> "Curve":
        return replace(self, regret=self.regret[:count])


def follow(policy: Policy, observed: Mapping[Chain, Score], most: int) -> list[Chain]:
    """What the policy recommends after each stage."""
    found: list[Chain] = []
    while len(found) < most and (node := policy.ask()) is not None:
        policy.tell(node, observed[node.chain])
        best = policy.best()
        assert best
        found.append(best.chain)
    return found


def play(kind: str, tasks: int, effects: Effects, seed: int) -> tuple[list[float], int, float]:
    """Regret after each stage followed; the stages trained, the CPU time they took."""
    names, most, began = tuple("abcdef"[:tasks]), followed(tasks), time.process_time()
    plugin, params = ("adaptive", {"threshold": 0}) if kind == ENDLESS else (kind, {})
    drawn = landscape.draw(names, seed, effects)
    policy = make(plugin, seed=seed, tasks=names, max_length=tasks, params=params)
    found = follow(policy, drawn.observed, most)
    top = max(drawn.true.values())
    values = [top - drawn.true[chain] for chain in found]
    values += [values[-1]] * (most - len(values))
    return values, len(found), time.process_time() - began


def curve(kind: str, tasks: int, effects: Effects, count: int, pool: Executor) -> Curve:
    game = partial(play, kind, tasks, effects)
    played = pool.map(game, range(count), chunksize=5)
    shown = track(played, f"{tasks} tasks, {kind}", count, console=Console(stderr=True))
    regret, stages, seconds = zip(*shown, strict=True)
    return Curve(np.array(regret), sum(stages) / count, sum(seconds) / sum(stages))


def stages_of(tasks: int) -> int:
    return sum(math.perm(tasks, length) for length in range(1, tasks + 1))


def followed(tasks: int) -> int:
    return round(SHARES[tasks] * stages_of(tasks))


def luckiest(tasks: int, effects: Effects, count: int) -> float:
    """The regret of having evaluated everything and taken the best number."""
    found = []
    for seed in range(count):
        drawn = landscape.draw(tuple("abcdef"[:tasks]), seed, effects)
        taken = max(drawn.observed, key=lambda c: drawn.observed[c].value)
        found.append(max(drawn.true.values()) - drawn.true[taken])
    return float(np.mean(found))


def print_size(tasks: int, curves: Mapping[str, Curve], full: float) -> None:
    total, most = stages_of(tasks), followed(tasks)
    shown = sorted({tasks, tasks + 1, 2 * tasks, *(round(total * s) for s in
                    (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0))})  # fmt: skip
    shown = [k for k in shown if tasks <= k <= most]
    print(f"\n{tasks} tasks, {total} stages; exhaustive's regret at the end: {full:.3f}")
    print("| policy | landscapes | " + " | ".join(f"{k}" for k in shown) + " | ends at | ms |")
    print("| --- |" + " ---: |" * (len(shown) + 3))
    for kind, c in curves.items():
        cells = [f"{c.regret[:, k - 1].mean():.3f}" for k in shown]
        end = f"{c.stages:.1f}" if c.stages < most else "-"
        cells += [end, f"{1000 * c.seconds:.1f}"]
        print(f"| {kind} | {len(c.regret)} | " + " | ".join(cells) + " |", flush=True)


def print_published(seeds: int = 10) -> None:
    print("published table (15 chains): stages until the best chain was tried, mean and worst of")
    print(f"{seeds} seeds; stages at the end")
    observed = {Chain.parse(text): scored(value, value, value) for text, value in SCORES.items()}
    top = max(observed, key=lambda chain: observed[chain].value)
    for kind in POLICIES:
        when, ends = [], []
        for seed in range(seeds):
            tasks = tuple(np.random.default_rng(seed).permutation(list(SINGLES)).tolist())
            found = follow(make(kind, seed=seed, tasks=tasks), observed, len(observed))
            ends.append(len(found))
            when.append(found.index(top) + 1 if top in found else len(observed))
        print(f"  {kind:10} {np.mean(when):4.1f} {max(when):3}   {np.mean(ends):4.1f}")
    print(f"  the best is {top}", flush=True)


def draw_figure(sizes: Mapping[int, tuple[Mapping[str, Curve], float]], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    from search.report.figures import style

    colours = {"exhaustive": style.MUTED, "random": style.FAINT, "curriculum": style.PALE}
    colours |= {"tpe": style.BLUE, "adaptive": style.WINNER}
    with matplotlib.rc_context(style.RC):
        columns = min(2, len(sizes))
        rows = math.ceil(len(sizes) / columns)
        figure = Figure(figsize=(style.WIDTH, 3.2 * rows))
        for place, (tasks, (curves, full)) in enumerate(sizes.items(), 1):
            axes = figure.add_subplot(rows, columns, place)
            for kind in POLICIES:
                c = curves[kind]
                stages = np.arange(tasks, c.regret.shape[1] + 1)
                mean = c.regret.mean(0)[tasks - 1 :]
                axes.plot(stages, mean, color=colours[kind], label=kind, linewidth=1.8)
            title = f"{tasks} tasks: {len(curves['adaptive'].regret)} landscapes"
            axes.axhline(
                full, color=style.MUTED, linestyle=":", linewidth=1, label="exhaustive, at the end"
            )
            axes.set(xscale="log", ylim=(0, None), title=title)
            axes.set(xlabel="stages trained", ylabel="mean regret (points)")
            ticks = [tasks * 2**n for n in range(10) if tasks * 2**n <= c.regret.shape[1]]
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.legend(fontsize=8)
        figure.savefig(path, dpi=style.DPI, metadata={"Software": None})


def measure(
    tasks: int, effects: Effects, count: int, pool: Executor
) -> tuple[dict[str, Curve], float]:
    few = min(count, FEW.get(tasks, count))
    curves = {kind: curve(kind, tasks, effects, count, pool) for kind in POLICIES}
    curves[ENDLESS] = curve(ENDLESS, tasks, effects, few, pool)
    if few < count:
        curves[f"adaptive, the first {few}"] = curves["adaptive"].first(few)
    full = luckiest(tasks, effects, count)
    print_size(tasks, curves, full)
    return curves, full


def main() -> None:
    parser = argparse.ArgumentParser(description="Regret of every policy against stages trained.")
    parser.add_argument("--tasks", type=int, nargs="+", default=[*SHARES], choices=SHARES)
    parser.add_argument("--landscapes", type=int, default=COUNT, metavar="N", help="of every size")
    parser.add_argument("--effects", default="default", choices=EFFECTS)
    parser.add_argument("--figure", type=Path, metavar="PNG")
    args = parser.parse_args()
    print_published()
    print(f"\nmean regret after so many stages; effects {args.effects}: {EFFECTS[args.effects]}")
    sizes = {}
    with ProcessPoolExecutor() as pool:
        for n in args.tasks:
            sizes[n] = measure(n, EFFECTS[args.effects], args.landscapes, pool)
            if args.figure:
                draw_figure(sizes, args.figure)


if __name__ == "__main__":
    main()
