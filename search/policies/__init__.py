"""Policies decide what is tried next. One file each; this is their contract.

    Plugin = load("search.policies", name)
    policy = Plugin(tasks, max_length, budget, seed, params, rates=None, only=None)
    policy.resume(asked, told)              # an interrupted search goes on as if it never stopped
    while not policy.finished():
        proposal = policy.ask()             # None: nothing until something in flight is told
        policy.tell(proposal, score)        # None or not a finite number: failed
    policy.best()                           # what it recommends of all that was tried

Ask as often as workers are free, tell in any order. A proposal is asked once, and only after its
parent was told a score, so descendants of a failed one are never asked. No I/O, no clock: what is
asked depends on the seed and on what was asked and told so far, never on the way there, which is
all that `resume` needs. The budget counts proposals asked (stages); baselines are not among them.

A new policy is a file with a class `Plugin(Policy)` that chooses among the open proposals, and
`spaces/policy/NAME.yaml` with its parameters.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random  # not the module: policies/random.py takes its name here
from typing import Any

from search.chains.chain import Chain, enumerate_chains, name, prefixes
from search.chains.node import FULL, Proposal
from trainables.schema import Schema, read
from trainables.spec import Score

Z95 = 1.96  # half the width of a 95 % interval, in standard deviations


@dataclass(frozen=True)
class Planned:
    """How many proposals will be asked if nothing fails; which, where that is known ahead."""

    minimum: int
    maximum: int
    proposals: tuple[Proposal, ...] | None = None


class Policy:
    """The bookkeeping that all policies share: asked, told, and the open proposals between."""

    @dataclass(frozen=True)
    class Params(Schema):
        """None; a policy that has some declares them, and the defaults in its YAML file."""

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
    ) -> None:
        """`rates`: how many each task's LR range has. `only`: the chains that can be tried."""
        self.tasks, self.max_length, self.budget = tuple(tasks), max_length, budget
        self.seed, self.params, self.rates = seed, dict(params), dict(rates or {})
        self.only = None if only is None else frozenset(only)
        read(self.Params, self.params, "policy.params")
        self.prepare()
        self._asked: dict[Proposal, None] = {}
        self._told: dict[Proposal, float | None] = {}
        self._noise: dict[Proposal, float] = {}
        self._open: dict[Proposal, None] = dict.fromkeys(self._children(None))

    # What a policy writes.

    def prepare(self) -> None:
        """Settle what was left open; before anything is asked."""

    def choose(self, candidates: Sequence[Proposal]) -> Proposal | None:
        """One of the open proposals that `excluded` has nothing against; None: wait for results."""
        raise NotImplementedError

    def excluded(self, chain: Chain) -> str:  # noqa: ARG002
        """Why this policy will not try the chain, from what is known now; '' if it may."""
        return ""

    def windows(self, task: str) -> Sequence[str]:  # noqa: ARG002
        """The LR-range windows tried for the task, the full range first."""
        return (FULL,)

    def planned(self) -> Planned:
        count = self._within_budget(sum(1 for _ in self._chains()))
        return Planned(count, count)

    # What a search calls.

    def ask(self) -> Proposal | None:
        """The next proposal; None if there is none now (`finished` tells for how long)."""
        candidates = self._candidates()
        if not candidates or self._spent():
            return None
        chosen = self.choose(candidates)
        if chosen is None:
            assert self.in_flight(), "nothing to wait for"
            return None
        del self._open[chosen]
        self._asked[chosen] = None
        return chosen

    def tell(self, proposal: Proposal, score: Score | None) -> None:
        """The outcome of what was asked; None, NaN and infinities mean that it failed."""
        assert proposal in self._asked, f"{proposal} was never asked"
        assert proposal not in self._told, f"{proposal} was told before"
        value = score.balanced_accuracy if score else math.nan
        self._told[proposal] = value if math.isfinite(value) else None
        if score and self._told[proposal] is not None:
            width = score.ci_high - score.ci_low
            self._noise[proposal] = width / (2 * Z95) if 0 <= width < math.inf else 0.0
            children = (p for p in self._children(proposal) if p not in self._asked)
            self._open |= dict.fromkeys(children)

    def finished(self) -> bool:
        """Nothing will be asked any more, whatever is told for what is in flight."""
        return self._spent() or not (self.in_flight() or self._candidates())

    def best(self) -> Proposal | None:
        """What to take of all that was tried: the highest score, unless the policy knows better."""
        scores = {
            p: value
            for p in sorted(self._told, key=self._place)
            if (value := self.value(p)) is not None
        }
        return max(scores, key=lambda p: scores[p], default=None)

    def in_flight(self) -> tuple[Proposal, ...]:
        return tuple(proposal for proposal in self._asked if proposal not in self._told)

    def pruned(self) -> dict[Chain, str]:
        """Chains that will not be tried, with the reason, as far as is known now."""
        tried = {proposal.chain for proposal in self._asked}
        failed = tried - {p.chain for p in (*self._open, *self._asked) if not self.failed(p)}
        reasons: dict[Chain, str] = {}
        for chain in enumerate_chains(self.tasks, self.max_length):
            if chain not in tried:
                parent = chain[:-1]
                broken = f"{name(parent)} failed" if parent in failed else reasons.get(parent)
                if reason := broken or self._reason(chain):
                    reasons[chain] = reason
        return reasons

    def resume(self, asked: Iterable[Proposal], told: Mapping[Proposal, Score | None]) -> None:
        """Replay a journal; what was asked and not told is in flight and for the caller to run."""
        assert not self._asked, "resume comes before the first ask"
        journal = dict.fromkeys((*asked, *told))
        for proposal in sorted(journal, key=lambda proposal: len(proposal.chain)):
            self._asked[proposal] = None
            self._open.pop(proposal, None)
            if proposal in told:
                self.tell(proposal, told[proposal])

    # Helpers for policies.

    def value(self, proposal: Proposal) -> float | None:
        """What was told; None if it failed or is not known yet."""
        return self._told.get(proposal)

    def noise(self, proposal: Proposal) -> float:
        """Standard deviation of what was told, from its interval; 0 if that says nothing."""
        return self._noise.get(proposal, 0.0)

    def failed(self, proposal: Proposal) -> bool:
        return proposal in self._told and self._told[proposal] is None

    def rng(self, salt: str = "") -> Random:
        """Depends on the seed and on how many were asked, so it survives a resume."""
        return Random(f"{self.seed}/{len(self._asked)}/{salt}")

    def _candidates(self) -> list[Proposal]:
        """In an order that does not depend on who was told first."""
        allowed = (proposal for proposal in self._open if not self.excluded(proposal.chain))
        return sorted(allowed, key=self._place)

    def _place(self, proposal: Proposal) -> tuple[int, list[int], tuple[tuple[str, str], ...]]:
        order = [self.tasks.index(task) for task in proposal.chain]
        return len(order), order, proposal.windows

    def _chains(self) -> Iterable[Chain]:
        chains = enumerate_chains(self.tasks, self.max_length)
        return (chain for chain in chains if self._possible(chain))

    def _possible(self, chain: Chain) -> bool:
        return self.only is None or all(prefix in self.only for prefix in prefixes(chain))

    def _children(self, parent: Proposal | None) -> list[Proposal]:
        chain = parent.chain if parent else ()
        if len(chain) == self.max_length:
            return []
        left = [task for task in self.tasks if task not in chain and self._possible((*chain, task))]
        return [
            parent.child(task, window) if parent else Proposal.of((task,), {task: window})
            for task in left
            for window in self.windows(task)
        ]

    def _spent(self) -> bool:
        return self.budget is not None and len(self._asked) >= self.budget

    def _within_budget(self, count: int) -> int:
        return count if self.budget is None else min(count, self.budget)

    def _reason(self, chain: Chain) -> str:
        if not self._possible(chain):
            return "not among the chains that can be tried"
        spent = f"the budget of {self.budget} stages is spent" if self._spent() else ""
        return self.excluded(chain) or spent
