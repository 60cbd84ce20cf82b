"""Untrusted text (paths, class names, reasons), made safe to show.

console.print(line(f"data {root}"))      # rich interprets no markup and no :emoji: in it
printable("a\\n\\x1b[2J")                  # one line, invisible characters escaped
code("a`b")                              # Markdown: ``a`b``
markdown("a>b [c]")                      # Markdown: a\\>b \\[c\\]
"""

import re
import unicodedata

from rich.text import Text

TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of a character, line breaks


def printable(value: object) -> str:
    """Return one line: invisible characters and changes of writing direction are escaped."""
    return "".join(
        one.encode("unicode_escape").decode()
        if one in TURNS or unicodedata.category(one) in HIDDEN
        else one
        for one in str(value)
    )


def line(value: object, style: str = "") -> Text:
    """Return rich Text that is shown literally."""
    return Text(printable(value), style=style)


def code(value: object) -> str:
    """Return a Markdown code span; | becomes ¦, since it would end a table's cell."""
    plain = printable(value).replace("|", "¦")
    fence = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    space = " " if not plain.strip() or "`" in (plain[0], plain[-1]) else ""
    return f"{fence}{space}{plain}{space}{fence}"


def markdown(value: object) -> str:
    """Return a sentence that Markdown shows literally; it begins with a word."""
    return re.sub(r"([\\`*\[\]<>#|~&]|(?<!\w)_|_(?!\w))", r"\\\1", printable(value))


def clock(seconds: float) -> str:
    """Format seconds as `1:23` or `1:02:05`; less than none is none."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
