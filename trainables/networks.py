"""Networks without classifier by name: torchvision's ResNets, and timm's models.

    network = built("convnext_atto", channels=1)
    network(x)                          # pooled features [n, width], as timm pools them
    network.forward_features(x)         # in the model's own layout; see `maps`

State-dict keys are torchvision's and timm's own.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from trainables import architectures
from trainables.architectures import ARCHITECTURES
from trainables.errors import UserError

# Options of timm's models, tried in order, so that they take images of any size.
FLEXIBLE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {})


class ResNet(resnet.ResNet):
    """A ResNet with timm's interface, whose `forward` gives pooled features."""

    def __init__(self, name: str, channels: int) -> None:
        known = ARCHITECTURES[name]
        super().__init__(getattr(resnet, known.block), known.layers, zero_init_residual=False)
        self.num_features = self.fc.in_features
        del self.fc
        kernel = known.kernel
        if (channels, kernel) != (3, 7):
            self.conv1 = nn.Conv2d(channels, 64, kernel, 2, kernel // 2, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if not known.pooled:
            self.maxpool = nn.Identity()

    def group_matcher(self, coarse: bool) -> dict[str, str]:
        """Return timm's patterns of the names of stem and blocks."""
        return {"stem": "conv1|bn1", "blocks": r"layer(\d+)" + r"\.(\d+)" * (not coarse)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3))


class Facts(NamedTuple):
    """What is known of a network. stride: pixels of the input a cell of its maps; see `facts`."""

    width: int  # of pooled features
    map_width: int
    stride: int
    megabytes: int
    layer_norm: bool
    depthwise: bool  # whether it has such convolutions


def built(name: str, channels: int) -> nn.Module:
    """Return a fresh network; UserError if there is none of this name."""
    architectures.check(name)
    if name in ARCHITECTURES:
        return ResNet(name, channels)
    import timm

    for options in FLEXIBLE:
        try:
            return timm.create_model(name, num_classes=0, in_chans=channels, **options)
        except TypeError as error:
            unknown = error
    raise unknown


def maps(network: nn.Module, x: Tensor) -> Tensor:
    """Return the last feature maps of square images: [n, map width, h, w]."""
    return arranged(network, network.forward_features(x))  # type: ignore[operator]


def arranged(network: nn.Module, found: Tensor) -> Tensor:
    """Return a network's maps or tokens as maps: [n, channels, h, w]."""
    if found.ndim == 3:  # tokens, after those of the class
        found = found[:, getattr(network, "num_prefix_tokens", 0) :].transpose(1, 2)
        return found.unflatten(2, (math.isqrt(found.shape[2]), -1))
    last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return found.permute(0, 3, 1, 2) if last else found


@cache
def facts(name: str) -> Facts:
    """Return what is known of a network; UserError if it gives no feature maps."""
    network = _shapes_only(name)
    side = _usual_side(network)
    try:
        pooled, found = _run(network, side)
    except Exception as error:  # code of any model
        raise UserError(
            f"profile.backbone={name}: must give feature maps, and it does not "
            f"({line(error)}); try resnet50 or convnext_tiny"
        ) from None
    size = sum(tensor.numel() for tensor in network.state_dict().values()) * 4
    norms = any(isinstance(one, nn.LayerNorm) for one in network.modules())
    stride = round(side / found.shape[3])
    depthwise = any(
        one.in_channels == one.groups > 1 for one in network.modules() if isinstance(one, nn.Conv2d)
    )
    return Facts(pooled.shape[1], found.shape[1], stride, -(-size >> 20), norms, depthwise)


def check_sides(
    name: str,
    image_size: int,
    sides: Callable[[int], Sequence[int]] = lambda size: (size,),
    who: str = "",
) -> None:
    """Raise UserError, with the nearest size that serves, if a network can't take such views.

    sides: those of the views, px, from `profile.image_size`. who: makes the views.
    """
    refused = {side: why for side in sides(image_size) if (why := refusal(name, side))}
    if not refused:
        return
    unit = facts(name).stride
    sizes = {*range(16 // unit * unit or unit, 513, unit), _usual_side(_shapes_only(name))}
    nearest = sorted(sizes, key=lambda size: (abs(size - image_size), size))
    valid = (size for size in nearest if not any(refusal(name, side) for side in sides(size)))
    if (size := next(valid, None)) is None:
        cure = "another backbone, as resnet50"
    else:
        cure = f"profile.image_size={size}"
    side, why = next(iter(refused.items()))
    raise UserError(
        f"{who or f'profile.image_size={image_size}'}: must make views that "
        f"profile.backbone={name} takes, not of {side} px ({why}); try {cure}"
    )


@cache
def refusal(name: str, side: int) -> str:
    """Return why a network can't take images of this side, in px; "" if it can."""
    try:
        _run(_shapes_only(name), side)
    except Exception as error:  # code of any model
        return line(error)
    return ""


def blocks(network: nn.Module, coarse: bool) -> list[list[nn.Parameter]]:
    """Return the parameters of each block in order, the stem first, a last norm with the last.

    coarse: the stages of a hierarchical network, not its blocks. UserError if timm knows of none.
    """
    from timm.models import group_parameters

    try:
        known = network.group_matcher(coarse=coarse)  # type: ignore[operator]
    except (AttributeError, AssertionError):
        raise UserError(
            "profile.backbone: must have blocks that timm knows; try resnet50"
        ) from None
    if isinstance(known, dict):
        known = {**known, "other": [(".*", (99999,))]}  # timm's number for: with those before
    named = dict(network.named_parameters())
    return [[named[name] for name in names] for names in group_parameters(network, known).values()]


@cache
def timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())


def tags(architecture: str) -> tuple[str, ...]:
    """Return the tags of the pretrained weights that timm has for a model."""
    import timm

    full = timm.list_pretrained(f"{architecture}.*")
    return tuple(name.partition(".")[2] for name in full)


@cache
def _shapes_only(name: str) -> nn.Module:
    with torch.device("meta"):
        return built(name, 3).eval()


def _usual_side(network: nn.Module) -> int:
    known: Any = getattr(network, "default_cfg", {})
    return known.get("input_size", (3, 224, 224))[1]


@torch.no_grad()
def _run(network: nn.Module, side: int) -> tuple[Tensor, Tensor]:
    """Return pooled features and maps of one image."""
    images = torch.zeros(1, 3, side, side, device="meta")
    return network(images), maps(network, images)


def line(error: Exception) -> str:
    """Return what an error of other code says, in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
