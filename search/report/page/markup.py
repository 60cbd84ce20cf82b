"""Pieces of HTML. Whatever comes from outside is escaped by `text`, or by a piece that calls it."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from search.console.printable import printable


def text(value: object) -> str:
    return escape(printable(value), quote=True)


def chain(name: str) -> str:
    """A chain as it is written everywhere, allowed to break after its arrows."""
    return f'<span class="chain">{text(name).replace("&gt;", "&gt;<wbr>")}</span>'


def table(caption: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    """Heads are markup: the first names the rows, a leading # sets the column's numbers right."""
    shown = "".join(
        f'<th scope="col"{" class=n" if head.startswith("#") else ""}>{head.lstrip("#")}</th>'
        for head in heads
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f"<table><caption>{text(caption)}</caption>"
        f"<thead><tr>{shown}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head: str, cells: Sequence[tuple[str, str]], kind: str = "") -> str:
    """Head and cells are markup; a cell is (class, content)."""
    shown = "".join(f'<td class="{name}">{content}</td>' for name, content in cells)
    return f'<tr class="{kind}"><th scope="row">{head}</th>{shown}</tr>'


def definitions(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in pairs.items())
