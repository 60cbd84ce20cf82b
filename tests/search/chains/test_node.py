"""Nodes: text, parents, windows of an LR range."""

import json

import pytest

from search.chains.chain import Chain
from search.chains.node import Node, Range, rates_in, windows_of
from trainables.errors import UserError

STARTS = ("scratch", "imagenet")


@pytest.mark.parametrize(
    "text",
    [
        "odc",
        "odc>moco",
        "odc[low]>moco",
        "odc[high]>moco[low]>swav",
        "moco>moco",
        "moco[low]>moco[low]>moco[low]#1002",
        "odc>moco#1000@0.01",
        "scratch#1000@0.1",
        "odc@1",
        "imagenet:odc[low]>moco#1000@0.1",
        "imagenet!frozen",
    ],
)
def test_text_round_trip(text: str) -> None:
    assert str(Node.parse(text, STARTS)) == text


def test_a_node_has_its_chains_start() -> None:
    node = Node.parse("imagenet:odc[low]>moco")
    assert node.chain == Chain(("odc", "moco"), "imagenet")
    assert node.windows == (("odc", "low"),)
    assert [*map(str, node.path())] == ["imagenet:odc[low]", "imagenet:odc[low]>moco"]
    assert Node(Chain((), "imagenet")).child("odc") == Node.parse("imagenet:odc")
    assert Node.parse("imagenet!frozen", STARTS).first() == Node(Chain((), "imagenet"))


def test_a_full_window_is_not_written() -> None:
    assert Node.parse("odc[full]>moco") == Node.parse("odc>moco")
    assert Node.parse("odc").child("moco", "full") == Node.parse("odc>moco")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "odc>",
        "odc[up]",
        "[low]",
        "odc[low",
        "odc[low]>odc",
        "odc#",
        "odc#x",
        "odc@",
        "odc@2",
        "odc@0.1#1",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(UserError, match="must be tasks joined"):
        Node.parse(text)


@pytest.mark.parametrize("windows", [(("moco", "low"),), (("odc", "full"),)])
def test_one_form_for_one_node(windows: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(AssertionError):
        Node(Chain(("odc",)), windows)


def test_parents_keep_their_windows() -> None:
    node = Node.parse("odc[low]>moco>swav[high]")
    assert [str(p) for p in node.path()] == [
        "odc[low]",
        "odc[low]>moco",
        "odc[low]>moco>swav[high]",
    ]
    assert str(node.parent()) == "odc[low]>moco"
    assert Node.parse("odc").parent() is None
    assert [node.window(task) for task in node.chain.tasks] == ["low", "full", "high"]


def test_the_first_seed_has_the_profiles_labels() -> None:
    node = Node.parse("odc[low]>moco#1001@0.1")
    assert node.is_fresh
    assert str(node.first()) == "odc[low]>moco"
    assert str(node.parent()) == "odc[low]#1001", "the labels are those of the score alone"
    assert not node.first().again(2).is_fresh


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


RANGES = {
    "odc": Range((0.003, 0.01, 0.03, 0.1), (0.001, 0.002, 0.004)),
    "moco": Range((0.1, 0.2), (0.01, 0.1)),
    "swav": Range((0.1,), (0.01,)),
}


@pytest.mark.parametrize(
    "text",
    [
        "scratch", "imagenet#2", "swav", "odc", "odc[low]", "odc[high]>moco[low]#1",
        "swav>moco[high]>odc", "odc[low]>odc[low]#1", "moco>odc#1000@0.1", "moco#1000~other",
        "imagenet:odc[low]>moco#1", "imagenet!frozen", "imagenet",
    ],
)  # fmt: skip
def test_a_nodes_config_names_the_node(text: str) -> None:
    config = Node.parse(text, STARTS).config(RANGES)
    assert str(Node.of_config(json.loads(json.dumps(config)), RANGES)) == text  # type: ignore[arg-type]


def test_a_config_is_plain() -> None:
    assert Node.parse("odc[low]>moco").config(RANGES) == {
        "start": "scratch",
        "tasks": ["odc", "moco"],
        "repeat": 0,
        "lr": {"odc": [0.003, 0.01, 0.03], "moco": [0.01, 0.1]},
    }
    assert Node.parse("imagenet#2", STARTS).config({}) == {
        "start": "imagenet", "tasks": [], "repeat": 2, "lr": {},
    }  # fmt: skip


def test_a_backbone_that_has_learnt_has_rates_of_its_own() -> None:
    def rates(text: str) -> dict[str, list[float]]:
        return Node.parse(text).config(RANGES)["lr"]

    assert rates("imagenet:odc[low]") == {"odc": [0.001, 0.002]}
    assert rates("odc>moco") == {"odc": [0.003, 0.01, 0.03, 0.1], "moco": [0.01, 0.1]}
    assert rates("moco>odc") == {"moco": [0.1, 0.2], "odc": [0.001, 0.002, 0.004]}
    assert rates("moco>moco") == {"moco": [0.1, 0.2]}  # as its first stage


def test_rates_that_are_no_window_name_no_node() -> None:
    config = Node.parse("odc").config(RANGES)
    with pytest.raises(KeyError):
        Node.of_config({**config, "lr": {"odc": [0.003, 0.1]}}, RANGES)
