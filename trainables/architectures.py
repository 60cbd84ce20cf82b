"""The backbones that there are, without importing torch: the search counts and writes with them."""

from typing import NamedTuple


class Architecture(NamedTuple):
    block: str  # torchvision's class
    layers: list[int]
    megabytes: int  # of the weights in float32


ARCHITECTURES = {
    "resnet10": Architecture("BasicBlock", [1, 1, 1, 1], 19),
    "resnet18": Architecture("BasicBlock", [2, 2, 2, 2], 43),
    "resnet34": Architecture("BasicBlock", [3, 4, 6, 3], 82),
    "resnet50": Architecture("Bottleneck", [3, 4, 6, 3], 90),
}
