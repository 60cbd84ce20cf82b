"""What is asked for: a chain and, per task, the window of its LR range that is tried.

`Proposal(("odc", "moco"))` tries the full ranges; `Proposal(("odc", "moco"), (("odc", "low"),))`
only the lower rates of odc. Written `odc[low]>moco`. The window decides the rates in the stage's
specification, so stages are shared along equal prefixes with equal windows, and only those.
`odc>moco#1` is the same with another seed, all of its stages too: its first repeat. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from search.chains.chain import Chain
from trainables.errors import UserError

FULL, LOW, HIGH = "full", "low", "high"
WINDOWS = (FULL, LOW, HIGH)


@dataclass(frozen=True)
class Proposal:
    """One node of the tree. `windows`: (task, window) in the chain's order, `full` left out.

    repeat: 0 is what policies ask for; see `search.repeats` for the others.
    """

    chain: Chain
    windows: tuple[tuple[str, str], ...] = ()
    repeat: int = 0

    def __post_init__(self) -> None:
        assert self.chain
        assert self.repeat >= 0, self.repeat
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
        whole, mark, repeat = text.partition("#")
        parts = [re.fullmatch(r"([^\[\]>]+)(?:\[(\w+)\])?", part) for part in whole.split(">")]
        windows = {part[1]: part[2] or FULL for part in parts if part}
        known = len(windows) == len(parts) and set(windows.values()) <= set(WINDOWS)
        if not known or (mark and not repeat.isdecimal()):
            raise UserError(
                f"chain={text}: must be different tasks joined by '>'; try odc[low]>moco"
            )
        return cls.of(tuple(windows), windows).again(int(repeat or 0))

    def __str__(self) -> str:
        marks = {task: f"[{window}]" for task, window in self.windows}
        text = ">".join(task + marks.get(task, "") for task in self.chain)
        return f"{text}#{self.repeat}" if self.repeat else text

    def again(self, repeat: int) -> "Proposal":
        """The same with another seed; 0: the first one's."""
        return replace(self, repeat=repeat)

    def window(self, task: str) -> str:
        return dict(self.windows).get(task, FULL)

    def parent(self) -> "Proposal | None":
        """The proposal without its last stage; None for a single."""
        if len(self.chain) == 1:
            return None
        return Proposal.of(self.chain[:-1], dict(self.windows)).again(self.repeat)

    def child(self, task: str, window: str = FULL) -> "Proposal":
        longer = Proposal.of((*self.chain, task), {**dict(self.windows), task: window})
        return longer.again(self.repeat)

    def path(self) -> "tuple[Proposal, ...]":
        """From the single up to the proposal itself."""
        above = self.parent()
        return (*above.path(), self) if above else (self,)


def windows_of(rates: int) -> tuple[str, ...]:
    """The windows that differ on a range of so many rates."""
    return WINDOWS if rates > 1 else (FULL,)


def near(rates: tuple[float, ...], chosen: float | None) -> tuple[float, ...]:
    """The chosen rate and the two nearest to it; all where it is not among them."""
    if chosen not in rates:
        return rates
    first = max(min(rates.index(chosen) - 1, len(rates) - 3), 0)
    return rates[first : first + 3]


def rates_in(lr_range: tuple[float, ...], window: str) -> tuple[float, ...]:
    """The window's rates; `low` and `high` overlap in the middle from three rates on."""
    size = len(lr_range) // 2 + (len(lr_range) != 2)
    if window == FULL or size >= len(lr_range):
        return lr_range
    return lr_range[:size] if window == LOW else lr_range[-size:]
