"""Nodes: text, parents, windows of an LR range."""

import pytest

from search.chains.node import Node, rates_in, windows_of
from trainables.errors import UserError


@pytest.mark.parametrize("text", ["odc", "odc>moco", "odc[low]>moco", "odc[high]>moco[low]>swav"])
def test_text_round_trip(text: str) -> None:
    assert str(Node.parse(text)) == text


def test_a_full_window_is_not_written() -> None:
    assert Node.parse("odc[full]>moco") == Node(("odc", "moco"))
    assert Node(("odc",)).child("moco", "full") == Node(("odc", "moco"))


@pytest.mark.parametrize("text", ["", "odc>", "odc>odc", "odc[up]", "[low]", "odc[low"])
def test_malformed(text: str) -> None:
    with pytest.raises(UserError, match="must be different tasks"):
        Node.parse(text)


@pytest.mark.parametrize("windows", [(("moco", "low"),), (("odc", "full"),)])
def test_one_form_for_one_node(windows: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(AssertionError):
        Node(("odc",), windows)


def test_parents_keep_their_windows() -> None:
    node = Node.parse("odc[low]>moco>swav[high]")
    assert [str(p) for p in node.path()] == [
        "odc[low]",
        "odc[low]>moco",
        "odc[low]>moco>swav[high]",
    ]
    assert str(node.parent()) == "odc[low]>moco"
    assert Node(("odc",)).parent() is None
    assert [node.window(task) for task in node.chain] == ["low", "full", "high"]


@pytest.mark.parametrize(
    ("rates", "low", "high"),
    [
        ((0.1,), (0.1,), (0.1,)),
        ((0.1, 0.2), (0.1,), (0.2,)),
        ((0.1, 0.2, 0.3), (0.1, 0.2), (0.2, 0.3)),
        ((0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)),
        ((0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3), (0.3, 0.4, 0.5)),
    ],
)
def test_windows_of_a_range(
    rates: tuple[float, ...], low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    assert rates_in(rates, "full") == rates
    assert rates_in(rates, "low") == low
    assert rates_in(rates, "high") == high
    differ = len({rates_in(rates, window) for window in windows_of(len(rates))})
    assert differ == len(windows_of(len(rates)))
