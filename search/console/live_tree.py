"""The live view of a search: a tree of chains in a terminal, plain lines anywhere else.

    with LiveView(console, chains, starts) as view:
        view.update(progress)       # after every change

Plain lines appear only for changes, and for a worker group at most every 15 seconds:

    [ 1:23] moco: training 40% 812 img/s, 0:42 left
    [ 2:05] moco: 42.10 (38.9-45.2)
    [ 0:31] imagenet, frozen: linear 39.20 (36.0-42.1), knn 37.90 (35.1-40.2)
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from search.chains.chain import SCRATCH, repeats_a_task
from search.chains.node import Node
from search.console.printable import clock, line
from search.results.status import ChainState, GroupState, Progress, State
from trainables.spec import PRETEXT

EVERY = 15.0  # seconds between two plain lines of one worker group
NOTICES = 3  # shown at once
FROZEN = "!frozen"  # ends the name of a start that is judged by its frozen probe
MAX_CHAINS = 40  # above that, the tree hides planned and pruned chains
STATES: dict[State, tuple[str, str]] = {
    "running": ("▶", "cyan"),
    "waiting": ("…", "cyan"),
    "done": ("✓", "green"),
    "stopped": ("■", "yellow"),
    "failed": ("✗", "red"),
    "pruned": ("–", "dim"),
    "planned": ("·", "dim"),
}
SETTLED = ("done", "stopped", "failed", "pruned")


class LiveView:
    """A context manager around a search. clock: for the tests.

    chains, starts: names of the planned chains, and of all baselines.
    """

    def __init__(
        self,
        console: Console,
        chains: Iterable[str],
        starts: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.clock = console, clock
        self.chains, self.starts = [*chains], tuple(starts)
        self._live: Live | None = None
        self._said: dict[str, str] = {}  # chain -> last state shown
        self._noticed = set[str]()
        self._progress: dict[str, tuple[float, str]] = {}  # worker group -> when, line

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(picture(progress, self.chains, self.starts))
            return
        elapsed = clock(progress.elapsed)
        for said in (*self._changed(progress), *self._moved(progress)):
            self.console.print(line(f"[{elapsed:>5}] {said}"))

    def _changed(self, progress: Progress) -> Iterator[str]:
        """Yield a line for every new notice and every chain settled since the last call."""
        for notice in progress.notices:
            if notice not in self._noticed:
                self._noticed.add(notice)
                yield notice
        for chain, entry in progress.chains.items():
            if entry.state in SETTLED and self._said.get(chain) != entry.state:
                frozen = entry.state == "done" and chain.endswith(FROZEN)
                yield probe_text(chain, entry) if frozen else f"{named(chain)}: {state_text(entry)}"
            self._said[chain] = entry.state

    def _moved(self, progress: Progress) -> Iterator[str]:
        """Yield a line for every worker group that made progress and is due again."""
        now = self.clock()
        for group in progress.groups:
            said = job_line(group)
            since, last = self._progress.get(group.group, (-EVERY, ""))
            if now - since >= EVERY and said != last:
                self._progress[group.group] = (now, said)
                yield said


def picture(progress: Progress, chains: list[str], starts: Sequence[str]) -> RenderableType:
    """Return the header, the tree of chains and a line for every worker group."""
    parts: list[RenderableType] = [line(header(progress), "bold"), tree(progress, chains, starts)]
    parts += [line(f"  {notice}") for notice in progress.notices[-NOTICES:]]
    parts += [line(f"  {job_line(group)}") for group in progress.groups]
    return Group(*parts)


def header(progress: Progress) -> str:
    """Return e.g. `[ 1:23] 4 of 16 done, 3 stages trained, 1 reused, about 5:10 left`."""
    said = [f"{progress.done} of {progress.total} done"] if progress.total else []
    said.append(f"{progress.stages_trained} stages trained")
    if progress.stages_reused:
        said.append(f"{progress.stages_reused} reused")
    if progress.eta is not None:
        said.append(f"about {clock(progress.eta)} left")
    return f"[{clock(progress.elapsed):>5}] {', '.join(said)}"


def tree(progress: Progress, chains: list[str], starts: Sequence[str]) -> Tree:
    """Return the chains with their states, a tree from each start; the best one is marked."""
    entries, best = progress.chains, _best(progress.chains, starts)
    root = Tree("", guide_style="dim", hide_root=True)
    shown = _shown(entries, chains, starts)
    used = {SCRATCH, *map(_above, shown), *(name.removesuffix(FROZEN) for name in entries)}
    branches = {start: root.add(_node(start, entries)) for start in starts if start in used}
    for chain in shown:
        branch = branches.get(_above(chain), root)
        branches[chain] = branch.add(_node(chain, entries, chain == best))
    return root


def _above(chain: str) -> str:
    """Return what is above a chain in the tree: its prefix, or its start."""
    prefix, _, last = chain.rpartition(">")
    start, colon, _ = last.rpartition(":")
    return prefix or (start if colon else SCRATCH)


def probe_text(chain: str, entry: ChainState) -> str:
    """Return e.g. `imagenet, frozen: linear 39.20 (36.0-42.1), knn 37.90 (35.1-40.2)`."""
    found = entry.score.measures if entry.score else {}
    said = (f"{name} {one.value:.2f} ({one.low:.1f}-{one.high:.1f})" for name, one in found.items())
    return f"{named(chain)}: {', '.join(said) or 'no probe'}"


def named(chain: str) -> str:
    """Return a node's name for people, e.g. `imagenet, frozen`."""
    return chain.replace(FROZEN, ", frozen")


def state_text(entry: ChainState) -> str:
    """Return e.g. `42.10 (38.9-45.2)`, or the state with its reason."""
    if (score := entry.score) is not None:
        return f"{score.value:.2f} ({score.low:.1f}-{score.high:.1f})"
    return f"{entry.state}: {entry.reason}" if entry.reason else entry.state


def job_line(group: GroupState) -> str:
    """Return e.g. `odc>moco: training 40% 812 img/s, 0:42 left`."""
    progress = group.progress
    phase = progress.phase or "starting"
    if group.kind != PRETEXT and phase == "training":
        phase = "fine-tuning"
    said = f"{named(group.chain)}: {phase}"
    if progress.steps and progress.step is not None:
        said += f" {100 * progress.step / progress.steps:.0f}%"
    if progress.images_per_second:
        said += f" {progress.images_per_second:.0f} img/s"
    if progress.eta is not None:
        said += f", {clock(progress.eta)} left"
    return said


def _node(chain: str, entries: Mapping[str, ChainState], best: bool = False) -> Text:
    entry = entries.get(chain, ChainState())
    mark, style = STATES[entry.state]
    text = f"{mark} {re.split('[>:]', chain)[-1]}"
    if entry.state in SETTLED:
        text += f"  {state_text(entry)}"
    elif entry.state != "planned":
        text += f"  {entry.state}"
    if (frozen := entries.get(chain + FROZEN)) and frozen.score:
        text += f"  ({probe_text(FROZEN, frozen).removeprefix(', ')})"
    return line(f"{text}  ★" if best else text, f"bold {style}" if best else style)


def _best(entries: Mapping[str, ChainState], starts: Sequence[str]) -> str | None:
    scored = {
        chain: entry.score.merit
        for chain, entry in entries.items()
        if entry.score is not None and _may_be_best(Node.parse(chain, starts))
    }
    return max(scored, key=lambda chain: scored[chain], default=None)


def _may_be_best(node: Node) -> bool:
    """Return whether it is a chain's first seed, and no start or control."""
    ordinary = not node.chain.is_baseline and not repeats_a_task(node.chain)
    return ordinary and node == node.first()


def _shown(
    entries: Mapping[str, ChainState], chains: list[str], starts: Sequence[str]
) -> list[str]:
    """Return all chains if they fit on a screen, else without planned and pruned ones."""
    hidden = {*chains, *starts, *(start + FROZEN for start in starts)}
    own = [*chains, *(chain for chain in entries if chain not in hidden)]  # odc[low]>moco
    if len(own) <= MAX_CHAINS:
        return own
    states = {chain: entries.get(chain, ChainState()).state for chain in own}
    return [chain for chain in own if states[chain] not in ("planned", "pruned")]
