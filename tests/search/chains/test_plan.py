"""Keys of isic3's stages: the recorded ones, and what enters them from a plug-in's code."""

import pytest

from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load
from trainables.spec import digest

PRECISION = "profile.precision=float32"  # else the processor decides
GOLDEN = {
    "odc>moco": ["odc-cc8bde554c888166", "moco-cb42a4dc81948b55", "downstream-ca11a6048d937966"],
    "relative_location>odc[low]#1": [
        "relative_location-7d8c45a05366e401",
        "odc-d6b4c6e65ba453c0",
        "downstream-3a715777ed7083de",
    ],
    "imagenet": ["downstream-5f0e9371c6b943d2"],
}


def planned() -> Plan:
    space = load("isic3", ["profile=cpu", PRECISION])
    return Plan(space, "0123456789abcdef", "fedcba9876543210")


def keys(plan: Plan, text: str) -> list[str]:
    node = Node.parse(text)
    return [spec.key() for spec in (*plan.stages(node), plan.downstream(node))]


@pytest.mark.parametrize("node", GOLDEN)
def test_keys_are_the_recorded_ones(node: str) -> None:
    assert keys(planned(), node) == GOLDEN[node]


def test_the_journals_identity_is_the_recorded_one() -> None:
    assert digest(planned().identity()) == "324e4f49a1b0383b"
