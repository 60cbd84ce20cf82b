"""Chains: ordered tuples of distinct pretext tasks, their labels and deltas. Pure.

The notation `odc>moco` is the same everywhere: CSV, command line, tracker, report. Only a control
repeats a task (`moco>moco`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations
from typing import TypeAlias

from trainables.errors import UserError

Chain: TypeAlias = tuple[str, ...]
SCRATCH, IMAGENET = "scratch", "imagenet"
BASELINES = (SCRATCH, IMAGENET)
CONTROL = "control"  # the label of a chain that repeats a task


def parse(text: str) -> Chain:
    """Return the chain: `"odc>moco"` -> `("odc", "moco")`; UserError unless it is one."""
    chain = tuple(part.strip() for part in text.split(">"))
    if not all(chain):
        raise UserError(f"chain={text}: must be task names joined by '>'; try odc>moco")
    return chain


def name(chain: Chain) -> str:
    return ">".join(chain)


def repeats_a_task(chain: Chain) -> bool:
    """Return whether it can only be a control."""
    return len(set(chain)) < len(chain)


def enumerate_chains(tasks: Sequence[str], max_length: int) -> Iterator[Chain]:
    """Yield every chain of 1 to max_length distinct tasks, shorter ones first, in task order."""
    for length in range(1, min(max_length, len(tasks)) + 1):
        yield from permutations(tasks, length)


def prefixes(chain: Chain) -> Iterator[Chain]:
    """Yield the chain's prefixes from the single to the chain itself."""
    for end in range(1, len(chain) + 1):
        yield chain[:end]


def stages_shared(chains: Sequence[Chain]) -> int:
    """Count the stages if every prefix is trained once."""
    return len({prefix for chain in chains for prefix in prefixes(chain)})


def label(chain: Chain, singles: Mapping[str, float]) -> str:
    """Return C, AC or MC by the single accuracies; '' for a single or if one is unknown.

    C: strictly rising; AC: strictly falling; MC: neither. A tie counts as neither. CONTROL: a chain
    that repeats a task.
    """
    if repeats_a_task(chain):
        return CONTROL
    if len(chain) < 2 or any(task not in singles for task in chain):
        return ""
    steps = [singles[b] - singles[a] for a, b in pairwise(chain)]
    if all(step > 0 for step in steps):
        return "C"
    return "AC" if all(step < 0 for step in steps) else "MC"


def delta(chain: Chain, accuracy: float, singles: Mapping[str, float]) -> float | None:
    """Return the chain's accuracy minus its first single's, in the same unit; None for a single."""
    if len(chain) < 2 or chain[0] not in singles:
        return None
    return accuracy - singles[chain[0]]
