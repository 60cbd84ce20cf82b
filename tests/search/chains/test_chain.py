"""Chains against the published ISIC-2019 table: labels, deltas, counts."""

import pytest

from search.chains.chain import Chain, delta, enumerate_chains, label, prefixes, stages_shared
from tests.search.published import CHAINS, SINGLES
from trainables.errors import UserError


@pytest.mark.parametrize(("text", "row"), CHAINS.items())
def test_published_labels_and_deltas(text: str, row: tuple[float, str, float]) -> None:
    accuracy, published_label, published_delta = row
    chain = Chain.parse(text)
    known = singles(**SINGLES)
    assert label(chain, known) == published_label
    assert delta(chain, accuracy, known) == pytest.approx(published_delta, abs=1e-9)


def test_published_counts() -> None:
    labels = [row[1] for row in CHAINS.values()]
    assert (labels.count("C"), labels.count("AC"), labels.count("MC")) == (4, 4, 4)


def singles(start: str = "scratch", **scores: float) -> dict[Chain, float]:
    return {Chain((task,), start): score for task, score in scores.items()}


def test_a_tie_is_neither() -> None:
    assert label(Chain.parse("a>b"), singles(a=50.0, b=50.0)) == "MC"
    assert label(Chain.parse("a>b>c"), singles(a=1.0, b=2.0, c=2.0)) == "MC"
    assert label(Chain.parse("a>b>c"), singles(a=2.0, b=2.0, c=1.0)) == "MC"


def test_a_repeated_task_is_a_control() -> None:
    known = singles(a=50.0, b=60.0)
    assert label(Chain.parse("a>a"), known) == label(Chain.parse("a>b>a"), known) == "control"
    assert delta(Chain.parse("a>a"), 53.0, known) == 3.0


def test_no_label_or_delta_without_the_singles() -> None:
    known = singles(a=1.0)
    assert label(Chain(()), known) == label(Chain(("a",)), known) == ""
    assert label(Chain(("a", "b")), known) == ""
    assert delta(Chain(()), 1.0, known) is None
    assert delta(Chain(("a",)), 1.0, known) is None
    assert delta(Chain(("b", "a")), 1.0, known) is None


def test_labels_and_deltas_are_within_a_start() -> None:
    known = singles(a=50.0, b=60.0) | singles("imagenet", a=75.0, b=70.0)
    assert label(Chain.parse("a>b"), known) == "C"
    assert label(Chain.parse("imagenet:a>b"), known) == "AC"
    assert delta(Chain.parse("imagenet:a>b"), 77.0, known) == 2.0
    assert label(Chain.parse("other:a>b"), known) == ""
    assert delta(Chain.parse("other:a>b"), 77.0, known) is None


@pytest.mark.parametrize(("tasks", "length", "count"), [(3, 3, 15), (4, 4, 64), (5, 5, 325)])
def test_number_of_chains(tasks: int, length: int, count: int) -> None:
    chains = list(enumerate_chains("abcde"[:tasks], length))
    assert len(set(chains)) == len(chains) == count
    assert [len(c.tasks) for c in chains] == sorted(len(c.tasks) for c in chains)


@pytest.mark.parametrize(("tasks", "naive", "shared"), [(3, 33, 15), (4, 196, 64)])
def test_sharing_prefixes(tasks: int, naive: int, shared: int) -> None:
    chains = list(enumerate_chains("abcd"[:tasks], tasks))
    assert (sum(len(c.tasks) for c in chains), stages_shared(chains)) == (naive, shared)


def test_max_length_cuts() -> None:
    assert len(list(enumerate_chains("abcd", 2))) == 16
    assert len(list(enumerate_chains("ab", 5))) == 4


def test_the_chains_of_two_starts_are_twice_as_many() -> None:
    chains = list(enumerate_chains("abc", 2, ("scratch", "imagenet")))
    assert [*map(str, chains[:7])] == "a imagenet:a b imagenet:b c imagenet:c a>b".split()
    assert len(set(chains)) == len(chains) == stages_shared(chains) == 18


@pytest.mark.parametrize("start", ["scratch", "imagenet"])
def test_prefixes_end_with_the_chain(start: str) -> None:
    found = [Chain(tuple(tasks), start) for tasks in ("a", "ab", "abc")]
    assert list(prefixes(Chain(("a", "b", "c"), start))) == found
    assert list(prefixes(Chain((), start))) == []


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("odc>moco>swav", Chain(("odc", "moco", "swav"))),
        ("odc", Chain(("odc",))),
        ("imagenet:moco>odc", Chain(("moco", "odc"), "imagenet")),
        ("imagenet", Chain((), "imagenet")),
        ("scratch", Chain(())),
    ],
)
def test_text_round_trip(text: str, chain: Chain) -> None:
    assert Chain.parse(text, ("scratch", "imagenet")) == chain
    assert str(chain) == text


def test_a_name_alone_is_a_start_only_if_it_is_known_as_one() -> None:
    assert Chain.parse("imagenet") == Chain(("imagenet",))
    assert Chain.parse(" odc > moco ") == Chain(("odc", "moco"))
    assert Chain.parse(" imagenet : odc") == Chain(("odc",), "imagenet")
    assert Chain.parse("scratch:odc") == Chain(("odc",))


@pytest.mark.parametrize(
    "text", ["", ">", "odc>", "odc>>moco", ":odc", "imagenet:", "a:b:c", "a>b:c"]
)
def test_malformed_chains(text: str) -> None:
    with pytest.raises(UserError, match="must be task names"):
        Chain.parse(text)
