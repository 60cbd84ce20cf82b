"""The mechanical rules of our English: how a docstring begins, and words with one meaning."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ["search", "trainables"]
OPENERS = r"Of|That|Those|By|With|For who|To whoever|If it was|Up to"
GROUPS = ("patient", "worker", "parameter", "BatchNorm", "control")
BANNED = {
    r"crews?|hurt|gone|came": "our own words",
    r"held|drop(s|ped|ping)?": "leased; cancel, forget",
    r"look(s|ed|ing)?|somebody|whoever|nobody": "who or what does what",
    r"the rest of it|so many|nothing more|at last|what is behind us": "what exactly",
    r"(as )?(a|the|its|their) shares?|shares? of": "fraction",
    r"(?<!standard )deviations?": "standard deviation, std",
    r"(?<!by )chance(?! level)": "probability, chance level",
    "".join(f"(?<!{kind} )" for kind in GROUPS) + "groups?": f"one of {', '.join(GROUPS)} group",
}
NAMES = {"share", "shares", "deviation", "chance", "hurt", "crew", "gone", "came", "drop"}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments with their lines; code in them is left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield node.body[0].lineno, prose(text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], prose(token.string)


def prose(text: str) -> str:
    """The text without `names`, indented examples, and the parameters that it explains."""
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    return re.sub(r"`[^`]*`|(?:^|(?<=[.;] ))\w+(, \w+)*:(?= )", "", "\n".join(lines), flags=re.M)


def faults(source: str) -> list[str]:
    found = []
    for line, text in texts(source):
        if re.match(rf"({OPENERS})\b", text):
            found.append(f"line {line}: begins with {text.split()[0]}")
        for words, better in BANNED.items():
            for match in re.finditer(rf"\b({words})\b", text, re.IGNORECASE):
                found.append(f"line {line}: {match[0]!r}; say {better}")
    names = tokenize.generate_tokens(io.StringIO(source).readline)
    return found + [f"line {t.start[0]}: {t.string}" for t in names if t.string in NAMES]


def templates(source: str) -> Iterator[tuple[int, str]]:
    """The literal text of every UserError that is raised with one, and its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
            parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            if text := "".join(part for part in parts if isinstance(part, str) and " " in part):
                yield node.lineno, text


def off_template(source: str) -> list[str]:
    """Errors that are not `WHERE=VALUE: must ...; try ...`."""
    wanted = re.compile(r"must .*try ", re.DOTALL)
    return [f"line {line}: {text}" for line, text in templates(source) if not wanted.search(text)]


def files(place: str) -> list[Path]:
    return sorted((ROOT / place).rglob("*.py"))


@pytest.mark.parametrize("place", PRODUCT)
def test_the_product_is_plain(place: str) -> None:
    assert files(place)
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in files(place)
        if (wrong := faults(path.read_text()) + off_template(path.read_text()))
    }
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "Of one worker.",
        "Up to `limit` workers.",
        "Those that trained.",
        "The crew.",
        "A first look.",
        "The lock is gone.",
        "As a share of the images.",
        "Mean and deviation.",
        "The group again.",
        "Its chance.",
    ],
)
def test_it_can_fail(text: str) -> None:
    assert faults(f'"""{text}"""')
    assert faults(f'def f():\n    """{text}"""')
    if not re.match(OPENERS, text):
        assert faults(f"x = 1  # {text}")


@pytest.mark.parametrize(
    "text",
    [
        "Return the patient group and its standard deviation.",
        "Offer it: workers share a GPU, the chance level is 0.1.",
        "Dropout of `groups`.\n\n    drop(group)  # code\n\nIt ends.",
        "Thousands by chance.\n\ngroups: class of each image.",
    ],
)
def test_it_lets_plain_text_pass(text: str) -> None:
    assert not faults(f'"""{text}"""')


def test_a_banned_identifier_is_found() -> None:
    assert faults("share = 0.5")
    assert not faults("fraction = 0.5")


def test_an_error_off_the_template_is_found() -> None:
    assert off_template('raise UserError(f"{path}: is no image")')
    assert not off_template('raise UserError(f"{path}: must be an image; try another")')
