"""Chains: a start and an ordered tuple of distinct pretext tasks, their labels and deltas. Pure.

The notation is the same everywhere (CSV, command line, tracker, report): `odc>moco` begins from
scratch, `imagenet:odc>moco` from other weights, and a start alone, which is its baseline, is its
name: `imagenet`. Only a control repeats a task (`moco>moco`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations

from trainables.errors import UserError

SCRATCH = "scratch"  # the start without weights
CONTROL = "control"  # the label of a chain that repeats a task


@dataclass(frozen=True)
class Chain:
    """A start and the tasks that follow; none for the start alone."""

    tasks: tuple[str, ...]
    start: str = SCRATCH

    @classmethod
    def parse(cls, text: str, starts: Collection[str] = (SCRATCH,)) -> "Chain":
        """Return the chain that `str` writes so; UserError unless it is one.

        starts: a name alone is the baseline of one of these, else a single from scratch.
        """
        if text.strip() in starts:
            return cls((), text.strip())
        start, colon, rest = text.rpartition(":")
        tasks, start = tuple(part.strip() for part in rest.split(">")), start.strip()
        if not all(tasks) or (colon and not start) or ":" in start or ">" in start:
            raise UserError(
                f"chain={text}: must be task names joined by '>', after a start and ':' unless "
                "from scratch; try odc>moco"
            )
        return cls(tasks, start or SCRATCH)

    def __str__(self) -> str:
        tasks = ">".join(self.tasks)
        return (
            (tasks if self.start == SCRATCH else f"{self.start}:{tasks}") if tasks else self.start
        )

    @property
    def is_baseline(self) -> bool:
        return not self.tasks

    @property
    def parent(self) -> "Chain":
        """The chain without its last task."""
        assert self.tasks
        return replace(self, tasks=self.tasks[:-1])

    def then(self, task: str) -> "Chain":
        return replace(self, tasks=(*self.tasks, task))

    @property
    def reverse(self) -> "Chain":
        return replace(self, tasks=self.tasks[::-1])

    def times(self, count: int) -> "Chain":
        """Return the chain that trains its tasks `count` times over."""
        return replace(self, tasks=self.tasks * count)

    def single(self, task: str) -> "Chain":
        """Return the single of a task from the same start."""
        return replace(self, tasks=(task,))


def repeats_a_task(chain: Chain) -> bool:
    """Return whether it can only be a control."""
    return len(set(chain.tasks)) < len(chain.tasks)


def enumerate_chains(
    tasks: Sequence[str], max_length: int, starts: Sequence[str] = (SCRATCH,)
) -> Iterator[Chain]:
    """Yield every chain of 1 to max_length distinct tasks, shorter first.

    Those with the same tasks from other starts follow at once: a small budget reaches all starts.
    """
    for length in range(1, min(max_length, len(tasks)) + 1):
        for some in permutations(tasks, length):
            yield from (Chain(some, start) for start in starts)


def prefixes(chain: Chain) -> Iterator[Chain]:
    """Yield the chain's prefixes from the single to the chain itself."""
    for end in range(1, len(chain.tasks) + 1):
        yield replace(chain, tasks=chain.tasks[:end])


def stages_shared(chains: Sequence[Chain]) -> int:
    """Count the stages if every prefix is trained once."""
    return len({prefix for chain in chains for prefix in prefixes(chain)})


def label(chain: Chain, singles: Mapping[Chain, float]) -> str:
    """Return C, AC or MC by the accuracies of the same start's singles; '' if one is unknown.

    C: strictly rising; AC: strictly falling; MC: neither. A tie counts as neither. CONTROL: a chain
    that repeats a task. '' for a single or a start.
    """
    if repeats_a_task(chain):
        return CONTROL
    alone = [chain.single(task) for task in chain.tasks]
    if len(alone) < 2 or any(single not in singles for single in alone):
        return ""
    steps = [singles[b] - singles[a] for a, b in pairwise(alone)]
    if all(step > 0 for step in steps):
        return "C"
    return "AC" if all(step < 0 for step in steps) else "MC"


def delta(chain: Chain, accuracy: float, singles: Mapping[Chain, float]) -> float | None:
    """Return the accuracy minus that of its first task's single from the same start.

    In the same unit; None for a single or a start.
    """
    if len(chain.tasks) < 2 or (first := chain.single(chain.tasks[0])) not in singles:
        return None
    return accuracy - singles[first]
