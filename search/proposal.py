"""What a policy asks for: a chain and, per task, the window of its LR range that is tried.

`Proposal(("odc", "moco"))` tries the full ranges; `Proposal(("odc", "moco"), (("odc", "low"),))`
only the lower rates of odc. Written `odc[low]>moco`. The window decides the rates in the stage's
specification, so stages are shared along equal prefixes with equal windows, and only those. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from search.chain import Chain
from trainables.errors import UserError

FULL, LOW, HIGH = "full", "low", "high"
WINDOWS = (FULL, LOW, HIGH)


@dataclass(frozen=True)
class Proposal:
    """One node of the tree. `windows`: (task, window) in the chain's order, `full` left out."""

    chain: Chain
    windows: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        assert self.chain
        in_order = [(task, self.window(task)) for task in self.chain]
        assert self.windows == tuple(pair for pair in in_order if pair[1] != FULL), self

    @classmethod
    def of(cls, chain: Chain, windows: Mapping[str, str]) -> "Proposal":
        """With the windows of more tasks than the chain's, `full` among them."""
        chosen = ((task, windows.get(task, FULL)) for task in chain)
        return cls(chain, tuple(pair for pair in chosen if pair[1] != FULL))

    @classmethod
    def parse(cls, text: str) -> "Proposal":
        """The inverse of `str`."""
        parts = [re.fullmatch(r"([^\[\]>]+)(?:\[(\w+)\])?", part) for part in text.split(">")]
        windows = {part[1]: part[2] or FULL for part in parts if part}
        if len(windows) < len(parts) or not set(windows.values()) <= set(WINDOWS):
            raise UserError(f"chain {text!r}: want distinct tasks as in odc>moco or odc[low]>moco")
        return cls.of(tuple(windows), windows)

    def __str__(self) -> str:
        marks = {task: f"[{window}]" for task, window in self.windows}
        return ">".join(task + marks.get(task, "") for task in self.chain)

    def window(self, task: str) -> str:
        return dict(self.windows).get(task, FULL)

    def parent(self) -> "Proposal | None":
        """The proposal without its last stage; None for a single."""
        if len(self.chain) == 1:
            return None
        return Proposal.of(self.chain[:-1], dict(self.windows))

    def child(self, task: str, window: str = FULL) -> "Proposal":
        return Proposal.of((*self.chain, task), {**dict(self.windows), task: window})

    def path(self) -> "tuple[Proposal, ...]":
        """From the single up to the proposal itself."""
        windows = dict(self.windows)
        return tuple(Proposal.of(self.chain[:n], windows) for n in range(1, len(self.chain) + 1))


def windows_of(rates: int) -> tuple[str, ...]:
    """The windows that differ on a range of so many rates."""
    return WINDOWS if rates > 1 else (FULL,)


def rates_in(lr_range: tuple[float, ...], window: str) -> tuple[float, ...]:
    """The window's rates; `low` and `high` overlap in the middle from three rates on."""
    size = len(lr_range) // 2 + (len(lr_range) != 2)
    if window == FULL or size >= len(lr_range):
        return lr_range
    return lr_range[:size] if window == LOW else lr_range[-size:]
