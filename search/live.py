"""The search as it runs: a tree of chains in a terminal, plain lines anywhere else.

    with LiveView(console, chains) as view:
        view.update(status)        # the broker's snapshot, as often as it comes

Plain lines come only when something changed, and a group's progress at most every 15 seconds:

    [ 1:23] moco: training 40% 812 img/s, 0:42 left
    [ 2:05] moco: 42.10 (38.9-45.2)
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from search.chain import BASELINES
from search.printable import line

Status = Mapping[str, Any]
EVERY = 15.0  # seconds between two plain progress lines of one group
MAX_CHAINS = 40  # beyond that, the tree keeps what is active and the best
STATES = {
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
    """A context manager around a search; the clock is a parameter for the tests."""

    def __init__(
        self,
        console: Console,
        chains: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.clock = console, clock
        self.chains = [*chains, *BASELINES]
        self._live: Live | None = None
        self._said: dict[str, str] = {}  # chain -> its last state
        self._notice = ""
        self._progress: dict[str, tuple[float, str]] = {}  # group -> when, what it was at

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, status: Status) -> None:
        """Show the newest snapshot; any field of it may be missing."""
        if self._live is not None:
            self._live.update(picture(status, self.chains))
            return
        elapsed = clock_text(status.get("elapsed") or 0.0)
        for said in (*self._changed(status), *self._moved(status)):
            self.console.print(line(f"[{elapsed:>5}] {said}"))

    def _changed(self, status: Status) -> Iterator[str]:
        """A line for a new notice, and for every chain that is settled since the last snapshot."""
        if (notice := status.get("notice") or "") != self._notice:
            self._notice = notice
            yield notice
        for chain, entry in (status.get("chains") or {}).items():
            state = entry.get("state", "planned")
            if state in SETTLED and self._said.get(chain) != state:
                yield f"{chain}: {outcome(entry)}"
            self._said[chain] = state

    def _moved(self, status: Status) -> Iterator[str]:
        """A line for every group that is at something new, or due again and further."""
        now = self.clock()
        for group in status.get("groups") or ():
            if not group.get("chain"):
                continue
            key, said = str(group.get("group")), at_work(group)
            since, last = self._progress.get(key, (-EVERY, ""))
            if now - since >= EVERY and said != last:
                self._progress[key] = (now, said)
                yield said


def picture(status: Status, chains: list[str]) -> RenderableType:
    """The header, the tree of chains, a line a worker group."""
    parts: list[RenderableType] = [line(header(status), "bold"), tree(status, chains)]
    parts += [line(f"  {status['notice']}")] if status.get("notice") else []
    parts += [line(f"  {at_work(g)}") for g in status.get("groups") or () if g.get("chain")]
    return Group(*parts)


def header(status: Status) -> str:
    """`[ 1:23] 4 of 16 done, 3 stages trained, 1 reused, 5:10 left`"""
    said = []
    if status.get("total"):
        said.append(f"{status.get('done', 0)} of {status['total']} done")
    said.append(f"{status.get('stages_trained', 0)} stages trained")
    if status.get("stages_reused"):
        said.append(f"{status['stages_reused']} reused")
    if status.get("eta") is not None:
        said.append(f"about {clock_text(status['eta'])} left")
    return f"[{clock_text(status.get('elapsed') or 0.0):>5}] {', '.join(said)}"


def tree(status: Status, chains: list[str]) -> Tree:
    """Every chain below its prefix, with its state; the best one marked."""
    entries: Mapping[str, Any] = status.get("chains") or {}
    root = Tree(_node("scratch", entries), guide_style="dim")
    if "imagenet" in entries:
        root.add(_node("imagenet", entries))
    branches: dict[str, Tree] = {"": root}
    best = _best(entries)
    for chain in _shown(entries, chains):
        branch = branches.get(chain.rpartition(">")[0], root)
        branches[chain] = branch.add(_node(chain, entries, chain == best))
    return root


def outcome(entry: Mapping[str, Any]) -> str:
    """`42.10 (38.9-45.2)`, or the state with its reason."""
    if entry.get("score") is not None:
        low_high = entry.get("ci")
        interval = f" ({low_high[0]:.1f}-{low_high[1]:.1f})" if low_high else ""
        return f"{entry['score']:.2f}{interval}"
    state, reason = entry.get("state", "planned"), entry.get("reason")
    return f"{state}: {reason}" if reason else state


def at_work(group: Mapping[str, Any]) -> str:
    """`odc>moco: training 40% 812 img/s, 0:42 left`"""
    phase = str(group.get("phase") or "starting")
    if group.get("what") == "downstream" and phase == "training":
        phase = "fine-tuning"
    said = f"{group['chain']}: {phase}"
    if group.get("steps") and group.get("step") is not None:
        said += f" {100 * group['step'] / group['steps']:.0f}%"
    if group.get("images_per_second"):
        said += f" {group['images_per_second']:.0f} img/s"
    if group.get("eta") is not None:
        said += f", {clock_text(group['eta'])} left"
    return said


def clock_text(seconds: float) -> str:
    """`1:23`, `1:02:05`."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _node(chain: str, entries: Mapping[str, Any], best: bool = False) -> Text:
    entry = entries.get(chain) or {}
    state = entry.get("state", "planned")
    mark, style = STATES.get(state, STATES["planned"])
    text = f"{mark} {chain.rpartition('>')[2]}"
    if state in SETTLED:
        text += f"  {outcome(entry)}"
    elif state != "planned":
        text += f"  {state}"
    return line(f"{text}  ★" if best else text, f"bold {style}" if best else style)


def _best(entries: Mapping[str, Any]) -> str | None:
    scored = {
        chain: entry["score"]
        for chain, entry in entries.items()
        if chain.partition("#")[0] not in BASELINES and entry.get("score") is not None
    }
    return max(scored, key=lambda chain: scored[chain]) if scored else None


def _shown(entries: Mapping[str, Any], chains: list[str]) -> list[str]:
    """All chains while they fit on a screen; else those that are more than planned or pruned."""
    windowed = [chain for chain in entries if chain not in chains]  # odc[low]>moco
    own = [chain for chain in (*chains, *windowed) if chain not in BASELINES]
    if len(own) <= MAX_CHAINS:
        return own
    states = {chain: (entries.get(chain) or {}).get("state", "planned") for chain in own}
    return [chain for chain in own if states[chain] not in ("planned", "pruned")]
