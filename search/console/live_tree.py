"""The live view of a search: a tree of chains in a terminal, plain lines anywhere else.

    with LiveView(console, chains) as view:
        view.update(progress)       # after every change

Plain lines appear only for changes, and for a worker group at most every 15 seconds:

    [ 1:23] moco: training 40% 812 img/s, 0:42 left
    [ 2:05] moco: 42.10 (38.9-45.2)
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from search.chains.chain import BASELINES, repeats_a_task
from search.chains.node import Node
from search.console.printable import clock, line
from search.results.status import ChainState, GroupState, Progress, State

EVERY = 15.0  # seconds between two plain lines of one worker group
NOTICES = 3  # shown at once
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
    """A context manager around a search. chains: names, as planned. clock: for the tests."""

    def __init__(
        self, console: Console, chains: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console, self.clock = console, clock
        self.chains = [*chains, *BASELINES]
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
            self._live.update(picture(progress, self.chains))
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
                yield f"{chain}: {state_text(entry)}"
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


def picture(progress: Progress, chains: list[str]) -> RenderableType:
    """Return the header, the tree of chains and a line for every worker group."""
    parts: list[RenderableType] = [line(header(progress), "bold"), tree(progress, chains)]
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


def tree(progress: Progress, chains: list[str]) -> Tree:
    """Return the tree of chains with their states; the best one is marked."""
    entries = progress.chains
    root = Tree(_node("scratch", entries), guide_style="dim")
    if "imagenet" in entries:
        root.add(_node("imagenet", entries))
    branches: dict[str, Tree] = {"": root}
    best = _best(entries)
    for chain in _shown(entries, chains):
        branch = branches.get(chain.rpartition(">")[0], root)
        branches[chain] = branch.add(_node(chain, entries, chain == best))
    return root


def state_text(entry: ChainState) -> str:
    """Return e.g. `42.10 (38.9-45.2)`, or the state with its reason."""
    if (score := entry.score) is not None:
        return f"{score.value:.2f} ({score.low:.1f}-{score.high:.1f})"
    return f"{entry.state}: {entry.reason}" if entry.reason else entry.state


def job_line(group: GroupState) -> str:
    """Return e.g. `odc>moco: training 40% 812 img/s, 0:42 left`."""
    progress = group.progress
    phase = progress.phase or "starting"
    if group.kind == "downstream" and phase == "training":
        phase = "fine-tuning"
    said = f"{group.chain}: {phase}"
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
    text = f"{mark} {chain.rpartition('>')[2]}"
    if entry.state in SETTLED:
        text += f"  {state_text(entry)}"
    elif entry.state != "planned":
        text += f"  {entry.state}"
    return line(f"{text}  ★" if best else text, f"bold {style}" if best else style)


def _best(entries: Mapping[str, ChainState]) -> str | None:
    scored = {
        chain: entry.score.merit
        for chain, entry in entries.items()
        if entry.score is not None and _may_be_best(Node.parse(chain))
    }
    return max(scored, key=lambda chain: scored[chain], default=None)


def _may_be_best(node: Node) -> bool:
    """Return whether it is a chain's first seed, and no start or control."""
    ordinary = node.chain[0] not in BASELINES and not repeats_a_task(node.chain)
    return ordinary and node == node.first()


def _shown(entries: Mapping[str, ChainState], chains: list[str]) -> list[str]:
    """Return all chains if they fit on a screen, else without planned and pruned ones."""
    windowed = [chain for chain in entries if chain not in chains]  # odc[low]>moco
    own = [chain for chain in (*chains, *windowed) if chain not in BASELINES]
    if len(own) <= MAX_CHAINS:
        return own
    states = {chain: entries.get(chain, ChainState()).state for chain in own}
    return [chain for chain in own if states[chain] not in ("planned", "pruned")]
