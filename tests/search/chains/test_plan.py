"""Keys of isic3's stages: the recorded ones, and what enters them from a plug-in's code."""

import subprocess
import sys

import pytest

from search.chains import plan as plan_module
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load
from trainables.plugins import version
from trainables.spec import digest

IDENTITY = "50d18b07032c00cc"
PRECISION = "profile.precision=float32"  # else the processor decides
GOLDEN = {
    "odc>moco": ["odc-cc8bde554c888166", "moco-cb42a4dc81948b55", "downstream-f3e146b707d4e04f"],
    "relative_location>odc[low]#1": [
        "relative_location-7d8c45a05366e401",
        "odc-d6b4c6e65ba453c0",
        "downstream-7528a9c989012046",
    ],
    "imagenet": ["downstream-b959893037a9886e"],
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
    assert digest(planned().identity()) == IDENTITY


@pytest.mark.parametrize(
    ("package", "changed"), [("trainables.pretext", 3), ("trainables.downstream", 1)]
)
def test_a_new_version_of_the_code_is_another_key(monkeypatch, package: str, changed: int) -> None:
    before = keys(planned(), "odc>moco")
    monkeypatch.setattr(
        plan_module, "version", lambda *which: "9" if which[0] == package else version(*which)
    )
    after = keys(planned(), "odc>moco")
    assert [a != b for a, b in zip(before, after, strict=True)].count(True) == changed
    assert digest(planned().identity()) != IDENTITY


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from search.chains.node import Node; from search.chains.plan import Plan\n"
        "from search.space import load\n"
        f"plan = Plan(load('isic3', ['profile=cpu', '{PRECISION}']), 'd')\n"
        "plan.stages(Node(('odc', 'moco'))), plan.downstream(Node(('odc', 'moco'))).key()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stdout + done.stderr
