"""The lines that a search prints on stdout, in their order.

screen = Screen()
screen.begins(space)
with screen.view(chains) as view: ...
screen.ends(found, out, compare)
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from search.cluster.start import Sized
from search.console.live_tree import LiveView
from search.console.printable import clock, line
from search.report import notes, printed_table
from search.report.summary import Summary
from search.scheduling.forecast import Forecast
from search.space import Space


class Screen:
    """The terminal, or the file or pipe that stdout goes to."""

    def __init__(self) -> None:
        self.console = Console(width=None if sys.stdout.isatty() else 120)

    def say(self, text: str) -> None:
        self.console.print(line(text))

    def begins(self, space: Space) -> None:
        self.say(headline(space))
        self.say(f"data {data_line(space)}")

    def groups(self, sized: Sized) -> None:
        if sized.sharing:
            self.say(sized.sharing)
        self.say(str(sized))

    def view(self, chains: Iterable[str]) -> LiveView:
        return LiveView(self.console, chains)

    def ends(self, found: Summary, out: Path, compare: str) -> None:
        """Print the verdicts, the notes, the table and where everything is.

        compare: the command that opens the tracker.
        """
        for said in printed_table.lead(found):
            self.say(said)
        self.console.print(printed_table.render(found))
        if found.info.incomplete:
            self.say(f"INCOMPLETE: {found.info.incomplete}")
        if mark := notes.mark(found.info):
            self.say(mark)
        self.say(f"report    {out / 'report' / 'index.html'}")
        self.say(f"backbone  {out / 'best'}")
        self.say(f"compare   {compare}")


def headline(space: Space) -> str:
    profile = space.profile
    return (
        f"{space.name}: {', '.join(space.tasks)}; profile {profile.name} "
        f"({profile.backbone}, {profile.image_size} px, {profile.precision}, "
        f"{profile.epochs:g} epochs); policy {space.policy}"
    )


def data_line(space: Space) -> str:
    if space.data.name == "demo":
        return "DEMONSTRATION images, drawn by the program (use --data for your own)"
    return f"{space.data.name} at {space.data.root}"


def forecast_lines(space: Space, found: Forecast) -> Iterator[str]:
    """Yield the lines of a dry run: the chains, their stages and their cost."""
    yield headline(space)
    yield f"data      {data_line(space)}, {found.images} images to train on"
    yield f"chains    {len(found.chains)} of up to {space.max_length} tasks"
    yield from (f"            {chain}" for chain in found.chains)
    span = str(found.stages_maximum)
    if found.stages_minimum != found.stages_maximum:
        span = f"{found.stages_minimum} to {found.stages_maximum}"
    yield (
        f"stages    {found.stages_naive} naive, {found.stages_shared} with shared prefixes, "
        f"{span} under the policy {found.policy}"
    )
    if found.repeats:
        rounds = ", ".join(f"the best {n} {k} times" for k, n in enumerate(found.repeats, 2))
        yield f"repeats   {rounds}; the baselines {space.repeats} times"
    stage, score, total = found.stage_seconds, found.score_seconds, found.total_seconds
    yield (
        f"cost      about {clock(stage)} a stage, {clock(score)} a score "
        f"on one worker; {clock(total)} of one worker in all, at most (an estimate)"
    )
    if (seconds := space.budget.worker_seconds) is not None:
        enough = min(int(seconds / (stage + score)), found.stages_maximum)
        yield f"budget    {space.budget}: about {enough} of these stages on one worker"
    yield "nothing was trained (--dry-run)"
