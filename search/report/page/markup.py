"""Pieces of HTML; `text`, and the functions that use it, escape untrusted text."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from search.console.printable import printable


def text(value: object) -> str:
    """Escape a value for HTML."""
    return escape(printable(value), quote=True)


def chain(name: str) -> str:
    """Return a chain's name, which may break after its arrows."""
    return f'<span class="chain">{text(name).replace("&gt;", "&gt;<wbr>")}</span>'


def table(caption: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table. heads: markup, the first for row names; a leading # aligns right."""
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
    """Return a table row; head and cells are markup, a cell is (class, content)."""
    shown = "".join(f'<td class="{name}">{content}</td>' for name, content in cells)
    return f'<tr class="{kind}"><th scope="row">{head}</th>{shown}</tr>'


def definitions(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in pairs.items())
