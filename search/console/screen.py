"""The lines that a search prints on stdout, in their order.

screen = Screen()
screen.begins(plan, estimate, given)
with screen.view(chains, starts) as view: ...
screen.ends(found, out, compare)
"""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console

from search.chains.plan import Plan
from search.cluster.start import Sized
from search.console.dry_run import data_line, headline, long_search
from search.console.live_tree import LiveView
from search.console.printable import line
from search.report import notes, printed_table
from search.report.summary import Summary
from search.scheduling.estimate import Estimate


class Terminal(Console):
    """A console whose reader may leave, as of `| head`: the search goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


class Screen:
    """The terminal, or the file or pipe that stdout goes to."""

    def __init__(self) -> None:
        self.console = Terminal(width=None if sys.stdout.isatty() else 120)

    def say(self, text: str) -> None:
        self.console.print(line(text))

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Show the text on a terminal as long as the block takes."""
        return self.console.status(line(text)) if self.console.is_terminal else nullcontext()

    def begins(self, plan: Plan, expected: Estimate | None, given: Sequence[str]) -> None:
        """Print what is searched; first of all, if it takes long. given: the command."""
        if expected and (warning := long_search(expected, given)):
            self.console.print(line(warning), soft_wrap=True)  # its command can be copied
        self.say(headline(plan.space))
        self.say(f"data {data_line(plan.space)}")
        for said in plan.short:
            self.say(said)

    def groups(self, sized: Sized) -> None:
        if sized.sharing:
            self.say(sized.sharing)
        self.say(str(sized))

    def view(self, chains: Iterable[str], starts: Sequence[str]) -> LiveView:
        return LiveView(self.console, chains, starts)

    def ends(self, found: Summary, out: Path, compare: str) -> None:
        """Print the verdicts, the notes, the table and where everything is.

        compare: the command that opens the tracker.
        """
        if probed := printed_table.starts(found):
            self.console.print(probed)
        for said in printed_table.lead(found):
            self.say(said)
        self.console.print(printed_table.render(found))
        if more := printed_table.further(found):
            self.console.print(more)
        if found.info.incomplete:
            self.say(f"INCOMPLETE: {found.info.incomplete}")
        if mark := notes.mark(found.info):
            self.say(mark)
        self.say(f"report    {out / 'report' / 'index.html'}")
        self.say(f"backbone  {out / 'best'}")
        self.say(f"compare   {compare}")
