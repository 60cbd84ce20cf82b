"""The backbones that there are: ResNets, which need no torch here, and every timm model.

    check("vit_small_patch16_224")              # UserError names the nearest, if there is none
    is_transformer("vit_small_patch16_224")     # True
    megabytes("resnet50")                       # 90

A name with `_small` has the stem for views of 64 px and below: 3 x 3, no max-pooling, so that the
last maps are 4 x 4 and not 2 x 2. It takes no weights of ImageNet's stem. timm is imported for
other names only.
"""

from typing import Any, Literal, NamedTuple

from trainables.errors import UserError
from trainables.plugins import near
from trainables.processor import has_bfloat16


class Recipe(NamedTuple):
    """How transformers are trained, in place of SGD, which does not train them well.

    Rates, for a batch of 256: MoCo v3, DINO and SimMIM pretrain near 1e-4 to 1e-3, MAE fine-tunes
    at 1e-3; later ones are for a backbone that has learnt before. layer_decay: of fine-tuning, as
    BEiT (Bao et al., 2022) and MAE (He et al., 2022).
    """

    optimizer: str = "adamw"
    weight_decay: float = 0.05
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    rates_later: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)
    downstream_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    downstream_rates_later: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    layer_decay: float = 0.75

    def values(self, downstream: bool) -> dict[str, Any]:
        """Return what it has in place of a task's own, by the keys of a space."""
        tuned = self.downstream_rates, self.downstream_rates_later
        first, later = tuned if downstream else (self.rates, self.rates_later)
        found = {"optimizer": self.optimizer, "weight_decay": self.weight_decay}
        return {**found, "lr_range": list(first), "lr_range_later": list(later)}


TRANSFORMER = Recipe()


class Architecture(NamedTuple):
    block: str  # torchvision's class
    layers: list[int]
    megabytes: int  # of the weights in float32
    kernel: int = 7  # side of the first convolution, whose stride is 2
    pooled: bool = True  # whether max-pooling follows it


RESNETS = {
    "resnet10": Architecture("BasicBlock", [1, 1, 1, 1], 19),
    "resnet18": Architecture("BasicBlock", [2, 2, 2, 2], 43),
    "resnet34": Architecture("BasicBlock", [3, 4, 6, 3], 82),
    "resnet50": Architecture("Bottleneck", [3, 4, 6, 3], 90),
}
SMALL = {f"{name}_small": one._replace(kernel=3, pooled=False) for name, one in RESNETS.items()}
ARCHITECTURES = RESNETS | SMALL


def check(name: str) -> None:
    """Raise UserError if there is no such backbone; a timm name may have a tag of weights."""
    if name in ARCHITECTURES:
        return
    from trainables.networks import tags, timm_names

    architecture, _, tag = name.partition(".")
    names = [*ARCHITECTURES, *timm_names()]
    if architecture not in names:
        raise UserError(
            f"profile.backbone={name}: must be one of {', '.join(ARCHITECTURES)} or a model of "
            f"timm; try {near(architecture, names) or 'resnet18'}"
        )
    if tag and tag not in (known := tags(architecture)):
        without = near(tag, known) or next(iter(known), "")
        raise UserError(
            f"profile.backbone={name}: must have a tag that timm knows, one of "
            f"{', '.join(known) or 'none'}; try {'.'.join(filter(None, (architecture, without)))}"
        )


def is_transformer(name: str) -> bool:
    """Return whether a backbone is trained as transformers are: ViT, Swin, ConvNeXt, ..."""
    if name in ARCHITECTURES:
        return False
    from trainables.networks import facts

    return facts(name).layer_norm


def precision(name: str, on_gpu: bool) -> Literal["float32", "bfloat16"]:
    """Return the number format that trains a backbone fastest: bfloat16 where the device has it.

    Depthwise convolutions of EfficientNet and MobileNet are an exception: a processor trains them
    1.5 times as fast in float32. Not ConvNeXt's, among whose wide layers they cost little.
    """
    if on_gpu:
        return "bfloat16"
    if not has_bfloat16():
        return "float32"
    if name in ARCHITECTURES:
        return "bfloat16"
    from trainables.networks import facts

    known = facts(name)
    return "float32" if known.depthwise and not known.layer_norm else "bfloat16"


def megabytes(name: str) -> int:
    """Return the size of a backbone's weights in float32."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name].megabytes
    from trainables.networks import facts

    return facts(name).megabytes
