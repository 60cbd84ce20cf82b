"""Chains against the published ISIC-2019 table: labels, deltas, counts."""

import pytest

from search.chains.chain import (
    delta,
    enumerate_chains,
    label,
    name,
    parse,
    prefixes,
    stages_shared,
)
from tests.search.published import CHAINS, SINGLES
from trainables.errors import UserError


@pytest.mark.parametrize(("text", "row"), CHAINS.items())
def test_published_labels_and_deltas(text: str, row: tuple[float, str, float]) -> None:
    accuracy, published_label, published_delta = row
    chain = parse(text)
    assert label(chain, SINGLES) == published_label
    assert delta(chain, accuracy, SINGLES) == pytest.approx(published_delta, abs=1e-9)


def test_published_counts() -> None:
    labels = [row[1] for row in CHAINS.values()]
    assert (labels.count("C"), labels.count("AC"), labels.count("MC")) == (4, 4, 4)


def test_a_tie_is_neither() -> None:
    assert label(("a", "b"), {"a": 50.0, "b": 50.0}) == "MC"
    assert label(("a", "b", "c"), {"a": 1.0, "b": 2.0, "c": 2.0}) == "MC"
    assert label(("a", "b", "c"), {"a": 2.0, "b": 2.0, "c": 1.0}) == "MC"


def test_a_repeated_task_is_a_control() -> None:
    single = {"a": 50.0, "b": 60.0}
    assert label(parse("a>a"), single) == label(parse("a>b>a"), single) == "control"
    assert delta(parse("a>a"), 53.0, single) == 3.0


def test_no_label_or_delta_without_the_singles() -> None:
    assert label(("a",), {"a": 1.0}) == ""
    assert label(("a", "b"), {"a": 1.0}) == ""
    assert delta(("a",), 1.0, {"a": 1.0}) is None
    assert delta(("b", "a"), 1.0, {"a": 1.0}) is None


@pytest.mark.parametrize(("tasks", "length", "count"), [(3, 3, 15), (4, 4, 64), (5, 5, 325)])
def test_number_of_chains(tasks: int, length: int, count: int) -> None:
    chains = list(enumerate_chains("abcde"[:tasks], length))
    assert len(set(chains)) == len(chains) == count
    assert [len(chain) for chain in chains] == sorted(len(chain) for chain in chains)


@pytest.mark.parametrize(("tasks", "naive", "shared"), [(3, 33, 15), (4, 196, 64)])
def test_sharing_prefixes(tasks: int, naive: int, shared: int) -> None:
    chains = list(enumerate_chains("abcd"[:tasks], tasks))
    assert (sum(map(len, chains)), stages_shared(chains)) == (naive, shared)


def test_max_length_cuts() -> None:
    assert len(list(enumerate_chains("abcd", 2))) == 16
    assert len(list(enumerate_chains("ab", 5))) == 4


def test_prefixes_end_with_the_chain() -> None:
    assert list(prefixes(("a", "b", "c"))) == [("a",), ("a", "b"), ("a", "b", "c")]


def test_text_round_trip() -> None:
    assert parse(" odc > moco ") == ("odc", "moco")
    assert name(parse("odc>moco>relative_location")) == "odc>moco>relative_location"


@pytest.mark.parametrize("text", ["", ">", "odc>", "odc>>moco"])
def test_malformed_chains(text: str) -> None:
    with pytest.raises(UserError, match="must be task names"):
        parse(text)
