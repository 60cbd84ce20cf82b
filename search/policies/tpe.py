"""Optuna's TPE over orderings and LR-range windows as one conditional space.

The singles come first (labels need them), then TPE suggests whole chains with a window for each
task; what is asked is the suggestion's first stage not yet known. Every finished node is itself a
chain with a score, so the study holds exactly what was told: it is made anew for each question,
which makes the policy a function of (seed, asked, told) and spares it Optuna's storages. What is in
flight enters as a running trial, which TPE takes for a poor one (constant liar), so parallel
questions spread. A suggestion with nothing new in it stays in the study as a running trial too.

Without a budget it asks as often as there are orderings: all windows of all of them is no search.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field

from search.chains.chain import Chain
from search.chains.node import FULL, Proposal, windows_of
from search.policies import Policy
from trainables.schema import Schema

Pick = Callable[[str, Sequence[Any]], Any]
optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for every study otherwise


class Plugin(Policy):
    """params: startup (random ones before TPE), tries (suggestions a question), windows."""

    @dataclass(frozen=True)
    class Params(Schema):
        startup: Annotated[int, Field(ge=0, le=10_000)]
        tries: Annotated[int, Field(ge=1, le=10_000)]
        windows: list[Literal["full", "low", "high"]]

    def prepare(self) -> None:
        if self.budget is None:
            self.budget = sum(1 for _ in self._chains())

    def windows(self, task: str) -> Sequence[str]:
        """Always the full range, for the sake of labels; others where they differ from it."""
        chosen = {FULL, *self.params["windows"]}
        return [window for window in windows_of(self.rates.get(task, 1)) if window in chosen]

    def choose(self, candidates: Sequence[Proposal]) -> Proposal | None:
        singles = [p for p in candidates if len(p.chain) == 1 and not p.windows]
        if singles:
            return singles[0]
        study, allowed = self._study(), set(candidates)
        for _ in range(self.params["tries"]):
            suggested = self._walk(study.ask().suggest_categorical)
            found = next(self._unknown(suggested), None)
            if found in allowed:
                return found
        return self.rng("fallback").choice(candidates)

    def _unknown(self, suggested: Proposal) -> Iterator[Proposal]:
        return (step for step in suggested.path() if self.value(step) is None)

    def _study(self) -> optuna.Study:
        sampler = optuna.samplers.TPESampler(
            seed=self.rng("sampler").getrandbits(32),
            n_startup_trials=self.params["startup"],
            multivariate=True,
            constant_liar=True,
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        known = [p for p in sorted(self._asked, key=self._place) if not self.failed(p)]
        study.add_trials([self._trial(proposal) for proposal in known])
        return study

    def _trial(self, proposal: Proposal) -> FrozenTrial:
        """A told proposal as a finished trial, one in flight as a running one."""
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}

        def pick(name: str, choices: Sequence[Any]) -> Any:
            distributions[name] = CategoricalDistribution(choices)
            params[name] = self._answer(proposal, name)
            return params[name]

        self._walk(pick)
        value = self.value(proposal)
        state = TrialState.RUNNING if value is None else TrialState.COMPLETE
        return create_trial(state=state, value=value, params=params, distributions=distributions)

    def _walk(self, pick: Pick) -> Proposal:
        """A proposal from choices; a name says what is left, so it has one domain for ever."""
        chain: Chain = ()
        windows: dict[str, str] = {}
        for step in range(pick("length", range(1, self.max_length + 1))):
            left = [task for task in self.tasks if task not in chain]
            task = pick(f"task {step}|{','.join(left)}", left) if len(left) > 1 else left[0]
            if len(self.windows(task)) > 1:
                windows[task] = pick(f"window {task}", self.windows(task))
            chain = (*chain, task)
        return Proposal.of(chain, windows)

    def _answer(self, proposal: Proposal, name: str) -> Any:
        """What the proposal picks under that name."""
        if name == "length":
            return len(proposal.chain)
        kind, word = name.split("|")[0].split()
        return proposal.chain[int(word)] if kind == "task" else proposal.window(word)
