"""Optuna's TPE over starts, orderings and LR-range windows as one conditional space.

The singles come first (labels need them). Then TPE suggests whole chains with a window for each
task; the node asked is the suggestion's first stage without a score. Every finished node is itself
a chain with a score, so the study holds exactly the nodes told. It is rebuilt for every `ask`: the
policy is a function of (seed, asked, told) and needs none of Optuna's storages. Nodes in
flight enter as running trials, which TPE assumes to be poor (constant liar), so that parallel
suggestions differ; stopped ones as pruned trials, which it ranks below all others, by their bounds.
A suggestion with nothing new in it stays in the study as a running trial.

Without a budget it asks as many nodes as there are chains: all their windows would be no search.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field

from search.chains.chain import Chain
from search.chains.node import FULL, Node, windows_of
from search.policies import Planned, Policy
from trainables.schema import Schema

Pick = Callable[[str, Sequence[Any]], Any]
optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise a line for every study


class Plugin(Policy):
    """params: startup (random trials before TPE), tries (suggestions for one `ask`), windows."""

    @dataclass(frozen=True)
    class Params(Schema):
        startup: Annotated[int, Field(ge=0, le=10_000)] = 6
        tries: Annotated[int, Field(ge=1, le=10_000)] = 16
        windows: tuple[Literal["full", "low", "high"], ...] = ("full", "low", "high")

    def prepare(self) -> None:
        if self.budget is None:
            self.budget = self._most(self._chains())

    def planned(self) -> Planned:
        """Return what a budget allows: a chain counts with each choice of its tasks' windows."""
        count = self._within_budget(self._most(self._chains(), self._choices))
        return Planned(count, count)

    def _choices(self, chain: Chain) -> int:
        return math.prod(len(self.windows(task)) for task in chain.tasks)

    def windows(self, task: str) -> Sequence[str]:
        """Return the chosen windows that differ, always with the full range, which labels need."""
        chosen = {FULL, *self.params["windows"]}
        return [window for window in windows_of(self.rates.get(task, 1)) if window in chosen]

    def choose(self, candidates: Sequence[Node]) -> Node | None:
        singles = [p for p in candidates if len(p.chain.tasks) == 1 and not p.windows]
        if singles:
            return singles[0]
        allowed = set(candidates)
        for suggested in islice(self.suggestions(), self.params["tries"]):
            found = next((step for step in suggested.path() if self._new(step)), None)
            if found in allowed:
                return found
        return self.rng("fallback").choice(candidates)

    def suggestions(self) -> Iterator[Node]:
        """Yield chains with their windows, by all that is known."""
        study = optuna.create_study(direction="maximize", sampler=self.sampler())
        study.add_trials([self._trial(node) for node in self.known()])
        while True:
            yield self._walk(study.ask().suggest_categorical)

    def sampler(self) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(
            seed=self.rng("sampler").getrandbits(32),
            n_startup_trials=self.params["startup"],
            multivariate=True,
            constant_liar=True,
        )

    def known(self) -> list[Node]:
        """Return the nodes with a score, stopped or in flight."""
        return [p for p in sorted(self._asked, key=self._place) if not self.failed(p)]

    def _new(self, node: Node) -> bool:
        return self.value(node) is None and self.bound(node) is None

    def _trial(self, node: Node) -> FrozenTrial:
        """Return the node as a trial: finished, pruned or running."""
        params: dict[str, int | str] = {}
        distributions: dict[str, BaseDistribution] = {}

        def pick(name: str, choices: Sequence[Any]) -> Any:
            distributions[name] = CategoricalDistribution(choices)
            params[name] = self._answer(node, name)
            return params[name]

        self._walk(pick)
        value, bound = self.value(node), self.bound(node)
        ended = TrialState.COMPLETE if bound is None else TrialState.PRUNED
        return create_trial(
            state=TrialState.RUNNING if self._new(node) else ended,
            value=value,
            params=params,
            distributions=distributions,
            intermediate_values={} if bound is None else {1: bound},
        )

    def _walk(self, pick: Pick) -> Node:
        """Build a node from choices; each name lists its options, so its domain never changes."""
        starts = [start for start in self.starts if start not in self._behind]
        chain = Chain((), pick("start", starts) if len(starts) > 1 else starts[0])
        windows: dict[str, str] = {}
        for step in range(pick("length", range(1, self.max_length + 1))):
            left = [task for task in self.tasks if task not in chain.tasks]
            task = pick(f"task {step}|{','.join(left)}", left) if len(left) > 1 else left[0]
            if len(self.windows(task)) > 1:
                windows[task] = pick(f"window {task}", self.windows(task))
            chain = chain.then(task)
        return Node.of(chain, windows)

    def _answer(self, node: Node, name: str) -> Any:
        """Return the node's value of the parameter with this name."""
        if name == "length":
            return len(node.chain.tasks)
        if name == "start":
            return node.chain.start
        kind, word = name.split("|")[0].split()
        return node.chain.tasks[int(word)] if kind == "task" else node.window(word)
