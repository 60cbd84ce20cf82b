"""Policies choose the next node to try. One file each; this is their contract.

    Plugin = load("search.policies", name)
    policy = Plugin(tasks, max_length, budget, seed, params, rates=None, only=None)
    policy.resume(asked, told)              # continue an interrupted search
    if policy.waits: policy.grow({"scratch": 31.2, "imagenet": 44.0})   # merits of the starts
    while not policy.finished():
        node = policy.ask()                 # None: wait until a node in flight is told
        policy.probed(node, probes)         # of its frozen backbone, before it is fine-tuned
        policy.tell(node, score)            # None or not finite: failed
        policy.bounded(node, 41.5)          # or: stopped, its score would be at most that
    policy.best(again)                      # its recommendation; again: scores of further seeds

Ask whenever a worker is free, tell in any order. A node is asked once, and only after its parent
was told a score or a bound, so descendants of a failed node are never asked. No I/O, no clock: the
next node depends only on the seed and on the sets of nodes asked, told, bounded and probed, so
`resume` and `probed` can restore a policy.
The budget counts nodes asked (stages), without the baselines. Chains of all starts are one tree;
with `max_starts` it waits to be told the starts' merits, and grows from the best ones alone.

A new policy is a file with a class `Plugin(Policy)` that chooses among the open nodes, and
`spaces/policy/NAME.yaml` with its parameters.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random  # not the module: policies/random.py takes its name here
from typing import TYPE_CHECKING, Any, TypeAlias

from search.chains.chain import SCRATCH, Chain, enumerate_chains, prefixes
from search.chains.node import FULL, Node
from search.chains.seeds import means
from search.policies._hint import FEWEST, Hint, predict
from trainables.plugins import load
from trainables.schema import Schema, read
from trainables.spec import Measure, Score

if TYPE_CHECKING:
    from search.space import Space

Z95 = 1.96  # half the width of a 95 % interval, in standard deviations
PROBE = "linear"  # the probe that predicts best
Again: TypeAlias = Mapping[Node, Sequence[Score]]  # of further seeds, by the node of the first
NOT_AGAIN: Again = {}


@dataclass(frozen=True)
class Planned:
    """The number of nodes that will be asked if nothing fails."""

    minimum: int
    maximum: int


def chosen(given: str | None) -> list[str]:
    """Return the overrides that `--policy` stands for; `tune:optuna` names a searcher as well."""
    keys = ("policy", "policy.params.searcher")
    parts = [] if given is None else given.split(":", 1)
    return [f"{key}={part}" for key, part in zip(keys, parts, strict=False)]


def policy_of(
    space: "Space", rates: Mapping[str, int] | None = None, only: Collection[Chain] | None = None
) -> "Policy":
    """Return the policy that the space names. rates, only: see `Policy`."""
    made: Policy = load("search.policies", space.policy.name)(
        tuple(space.tasks), space.max_length, space.budget.stages, space.seed, space.policy.params,
        rates=rates, only=only, starts=space.grown_starts, max_starts=space.max_starts,
    )  # fmt: skip
    return made


class Policy:
    """The bookkeeping that all policies share: nodes asked, told and open."""

    @dataclass(frozen=True)
    class Params(Schema):
        """No parameters; a policy declares its own here, with the defaults of its YAML file."""

    def __init__(
        self,
        tasks: Sequence[str],
        max_length: int,
        budget: int | None,
        seed: int,
        params: Mapping[str, Any],
        *,
        rates: Mapping[str, int] | None = None,
        only: Collection[Chain] | None = None,
        starts: Sequence[str] = (SCRATCH,),
        max_starts: int | None = None,
    ) -> None:
        """UserError for bad `params`.

        max_length: tasks in a chain. budget: stages, None for no limit. rates: the number of rates
        in each task's LR range. only: the chains that can be tried; None for all. starts: those
        that chains may grow from; max_starts: from at most this many, None for all.
        """
        self.tasks, self.max_length, self.budget = tuple(tasks), max_length, budget
        self.seed, self.rates = seed, dict(rates or {})
        self.only = None if only is None else frozenset(only)
        self.starts, self.max_starts = tuple(starts), max_starts
        self._behind: dict[str, str] = {}  # why chains don't grow from a start
        self.waits = max_starts is not None and max_starts < len(self.starts)
        self.params = asdict(read(self.Params, dict(params), "policy.params"))
        self.prepare()
        self._asked: dict[Node, None] = {}
        self._told: dict[Node, float | None] = {}
        self._bounds: dict[Node, float] = {}
        self._noise: dict[Node, float] = {}
        self._probes: dict[Node, Mapping[str, Measure]] = {}
        self._open: dict[Node, None] = {} if self.waits else dict.fromkeys(self._singles_open())

    # Overridden by a policy.

    def prepare(self) -> None:
        """Initialise the policy, before the first `ask`."""

    def choose(self, candidates: Sequence[Node]) -> Node | None:
        """Choose one of the open nodes that are not excluded; None to wait for results."""
        raise NotImplementedError

    def excluded(self, chain: Chain) -> str:  # noqa: ARG002
        """Return why the policy will not try the chain, as far as it knows now; '' if it may."""
        return ""

    def windows(self, task: str) -> Sequence[str]:  # noqa: ARG002
        """Return the LR-range windows to try for the task, the full range first."""
        return (FULL,)

    def planned(self) -> Planned:
        count = self._within_budget(self._most(self._chains()))
        return Planned(count, count)

    # Called by a search.

    def grow(self, merits: Mapping[str, float]) -> None:
        """Choose the starts that chains grow from. merits: of all of them; NaN is the worst."""
        assert self.waits, "the starts are known"
        known = {s: m if math.isfinite(m := merits[s]) else -math.inf for s in self.starts}
        ranked = sorted(self.starts, key=lambda start: -known[start])
        self.waits, count = False, self.max_starts
        why = f"max_starts={count}: its start is behind {', '.join(ranked[:count])}"
        self._behind = dict.fromkeys(ranked[count:], why)
        self.prepare()
        self._open |= dict.fromkeys(p for p in self._singles_open() if p not in self._asked)

    def ask(self) -> Node | None:
        """Return the next node; None if there is none now (see `finished`)."""
        candidates = self._candidates()
        if self.waits or not candidates or self._spent():
            return None
        chosen = self.choose(candidates)
        if chosen is None:
            assert self.in_flight(), "nothing to wait for"
            return None
        del self._open[chosen]
        self._asked[chosen] = None
        return chosen

    def tell(self, node: Node, score: Score | None) -> None:
        """Record the score of a node that was asked; None, NaN or infinite means failed."""
        assert node in self._asked, f"{node} was never asked"
        assert node not in self._told, f"{node} was told before"
        value = score.merit if score else math.nan
        self._told[node] = value if math.isfinite(value) else None
        if score and self._told[node] is not None:
            width = score.high - score.low
            self._noise[node] = width / (2 * Z95) if 0 <= width < math.inf else 0.0
            self._extend(node)

    def bounded(self, node: Node, bound: float) -> None:
        """Record that a node was stopped: its merit would be at most `bound`."""
        assert node in self._asked, f"{node} was never asked"
        assert self.flies(node), f"{node} was told before"
        self._bounds[node] = bound
        self._extend(node)

    def probed(self, node: Node, probes: Score) -> None:
        """Record the probes of a node that was asked."""
        self._probes[node] = probes.measures

    def finished(self) -> bool:
        """Return True once ask() can only return None."""
        return self._spent() or not (self.waits or self.in_flight() or self._candidates())

    def best(self, again: Again = NOT_AGAIN) -> Node | None:
        """Return the recommended node among those with a score; by default the highest mean.

        again: the scores of further seeds, in their order, by node.
        """
        found = self.means(again)
        return max(found, key=lambda p: found[p], default=None)

    def in_flight(self) -> tuple[Node, ...]:
        return tuple(node for node in self._asked if self.flies(node))

    def pruned(self) -> dict[Chain, str]:
        """Return the chains that will not be tried, with the reason, as far as known now."""
        tried = {node.chain for node in self._asked}
        failed = tried - {p.chain for p in (*self._open, *self._asked) if not self.failed(p)}
        reasons: dict[Chain, str] = {}
        for chain in enumerate_chains(self.tasks, self.max_length, self.starts):
            if chain not in tried:
                parent = chain.parent
                broken = f"{parent} failed" if parent in failed else reasons.get(parent)
                if reason := broken or self._reason(chain):
                    reasons[chain] = reason
        return reasons

    def resume(
        self,
        asked: Iterable[Node],
        told: Mapping[Node, Score | None],
        bounds: Mapping[Node, float] | None = None,
    ) -> None:
        """Replay a journal; nodes asked but not told are in flight, and the caller runs them.

        bounds: the merits that stopped nodes would have at most.
        """
        assert not self._asked, "resume comes before the first ask"
        bounds = bounds or {}
        journal = dict.fromkeys((*asked, *told, *bounds))
        for node in sorted(journal, key=lambda node: len(node.chain.tasks)):
            self._asked[node] = None
            self._open.pop(node, None)
            if node in told:
                self.tell(node, told[node])
            elif node in bounds:
                self.bounded(node, bounds[node])

    # Helpers for policies.

    def value(self, node: Node) -> float | None:
        """Return the merit told; None if the node failed, was stopped or has none yet."""
        return self._told.get(node)

    def means(self, again: Again = NOT_AGAIN) -> dict[Node, float]:
        """Return the merit of every node with a score, as a mean over its seeds."""
        order = sorted(self._told, key=self._place)
        merits = {p: {0: value} for p in order if (value := self.value(p)) is not None}
        for node in again.keys() & merits.keys():
            more = {k: score.merit for k, score in enumerate(again[node], 1)}
            merits[node] |= {k: merit for k, merit in more.items() if math.isfinite(merit)}
        return means(merits)

    def bound(self, node: Node) -> float | None:
        """Return the most that a stopped node's merit could be; None if it was not stopped."""
        return self._bounds.get(node)

    def flies(self, node: Node) -> bool:
        """Return whether nothing is known of the node's score, not even a bound."""
        return node not in self._told and node not in self._bounds

    def probes(self, node: Node) -> Mapping[str, Measure]:
        """Return the measures of the node's frozen backbone; {} as long as there are none."""
        return self._probes.get(node, {})

    def hint(self, node: Node) -> Hint | None:
        """Predict the node's merit from its probe, by the nodes that have probe and score."""
        known = {
            p: (self.probes(p)[PROBE].merit, value)
            for p, value in self._told.items()
            if value is not None and PROBE in self.probes(p)
        }
        if PROBE not in self.probes(node) or len(known) < FEWEST:
            return None
        pairs = [known[p] for p in sorted(known, key=self._place)]
        return predict(self.probes(node)[PROBE].merit, *zip(*pairs, strict=True))

    def noise(self, node: Node) -> float:
        """Return the score's standard deviation, from its interval; 0 if that has no width."""
        return self._noise.get(node, 0.0)

    def failed(self, node: Node) -> bool:
        return node in self._told and self._told[node] is None

    def rng(self, salt: str = "") -> Random:
        """Return a generator seeded by the seed and the nodes asked, so a resume repeats it."""
        return Random(f"{self.seed}/{len(self._asked)}/{salt}")

    def _candidates(self) -> list[Node]:
        """Return the nodes that may be asked, in an order independent of the order of telling."""
        allowed = (node for node in self._open if not self.excluded(node.chain))
        return sorted(allowed, key=self._place)

    def _place(self, node: Node) -> tuple[int, int, list[int], tuple[tuple[str, str], ...]]:
        order = [self.tasks.index(task) for task in node.chain.tasks]
        return len(order), self.starts.index(node.chain.start), order, node.windows

    def _chains(self) -> Iterable[Chain]:
        chains = enumerate_chains(self.tasks, self.max_length, self.starts)
        return (chain for chain in chains if self._possible(chain))

    def _most(self, chains: Iterable[Chain], times: Callable[[Chain], int] = lambda _: 1) -> int:
        """Count the chains of `max_starts` starts at most, each as often as `times` says."""
        counts = Counter[str]()
        for chain in chains:
            counts[chain.start] += times(chain)
        return sum(count for _, count in counts.most_common(self.max_starts))

    def _possible(self, chain: Chain) -> bool:
        if chain.start in self._behind:
            return False
        return self.only is None or all(prefix in self.only for prefix in prefixes(chain))

    def _singles_open(self) -> list[Node]:
        return [one for start in self.starts for one in self._children(Node(Chain((), start)))]

    def _children(self, parent: Node) -> list[Node]:
        chain = parent.chain
        if len(chain.tasks) == self.max_length:
            return []
        left = [t for t in self.tasks if t not in chain.tasks and self._possible(chain.then(t))]
        return [parent.child(task, window) for task in left for window in self.windows(task)]

    def _extend(self, node: Node) -> None:
        children = (p for p in self._children(node) if p not in self._asked)
        self._open |= dict.fromkeys(children)

    def _spent(self) -> bool:
        return self.budget is not None and len(self._asked) >= self.budget

    def _within_budget(self, count: int) -> int:
        return count if self.budget is None else min(count, self.budget)

    def _reason(self, chain: Chain) -> str:
        if chain.start in self._behind:
            return self._behind[chain.start]
        if not self._possible(chain):
            return "not among the chains that can be tried"
        spent = f"the budget of {self.budget} stages is spent" if self._spent() else ""
        return self.excluded(chain) or spent
