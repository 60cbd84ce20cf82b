"""Names from outside are shown as they are: no markup, no code, no control of the terminal."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from search.console.live_tree import LiveView, picture
from search.console.printable import code, line, printable
from search.console.screen import Screen
from search.report.page.page import environment
from search.results.status import ChainState, GroupState, Progress
from trainables.workers.job import Heartbeat

HOSTILE = {  # what comes -> what is shown
    "[isic]/[red]x[/red]": "[isic]/[red]x[/red]",
    "[/]": "[/]",
    "a\\": "a\\",
    "[link=file:///etc]x[/link]": "[link=file:///etc]x[/link]",
    ":smile: ✓ ü 皮肤": ":smile: ✓ ü 皮肤",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    '"; import os; "': '"; import os; "',
    "a`b``c": "a`b``c",
    "`": "`",
    "$chain ${title}": "$chain ${title}",
    "a\nb\r\tc": "a\\nb\\r\\tc",
    "\x1b[2J\x1b]0;t\x07": "\\x1b[2J\\x1b]0;t\\x07",
    "\x9b2J\u2028\u2029\x85": "\\x9b2J\\u2028\\u2029\\x85",
    "gpj.\u202eexe\u2066\u2069\u200f": "gpj.\\u202eexe\\u2066\\u2069\\u200f",
    "bad \udcff name": "bad \\udcff name",
}


def shown_by(console_width: int = 200) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=console_width, force_terminal=False), out


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_one_line_of_what_can_be_seen(name: str) -> None:
    assert printable(name) == HOSTILE[name]
    console, out = shown_by()
    console.print(line(name))
    assert out.getvalue() == HOSTILE[name] + "\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_command_says(name: str) -> None:
    console, out = shown_by()
    said: Any = SimpleNamespace(console=console)
    Screen.say(said, f"data {name}")
    assert out.getvalue() == f"data {HOSTILE[name]}\n"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("terminal", [False, True])
def test_the_live_view(name: str, terminal: bool) -> None:
    progress = Progress(
        chains={"odc": ChainState("failed", name)},
        groups=(GroupState("0", name, progress=Heartbeat(name)),),
        notices=(name,),
    )
    console, out = shown_by()
    if terminal:
        console.print(picture(progress, ["odc"], ("scratch",)))
    else:
        with LiveView(console, ["odc"], ("scratch",)) as view:
            view.update(progress)
    for said in (HOSTILE[name], f"failed: {HOSTILE[name]}", f"{HOSTILE[name]}: {HOSTILE[name]}"):
        assert said in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_shows_it_as_text(name: str) -> None:
    made = environment().from_string("{{ name }}").render(name=name)
    assert not set(made) & {"<", ">", '"', "'", "\n", "\x1b", "\u202e"}
    made.encode("utf-8")


@pytest.mark.parametrize("name", [*HOSTILE, "a|b", "\\|", "| x |", " ", "*a* _b_ [c](d) ![e](f)"])
def test_markdown_shows_it_as_code(name: str) -> None:
    """A Markdown parser finds one code span in one cell of a table, with the name in it."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    rows = f"| a | b |\n| --- | --- |\n| x | {code(name)} |\n"
    cells = [token for token in parser.parse(rows) if token.type == "inline"][-2:]
    assert cells[0].content == "x"
    (span,) = cells[1].children or []
    assert span.type == "code_inline"
    assert span.content.strip() == printable(name).replace("|", "¦").strip()
