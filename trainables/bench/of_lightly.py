"""The tasks that the package lightly has, as its documentation trains them: transform, heads, loss.

Backbone, optimiser, batch and precision are those of our stage; the augmentations have our
parameters. lightly is an optional dependency: `uv sync --group bench`.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import lightly.loss as losses
import lightly.transforms as transforms
import torch
from lightly.models import modules
from lightly.models.utils import deactivate_requires_grad, update_momentum
from PIL import Image
from torch import Tensor, nn

from trainables.augment import BLUR, Preset
from trainables.backbone import Backbone
from trainables.bench.images import Images
from trainables.bench.pipelines import Loaded, Row
from trainables.bench.public import Views
from trainables.pretext import moco, swav
from trainables.spec import StageSpec
from trainables.task import Context
from trainables.training import optimisers as optim

EMA = 0.99


class Lightly(Loaded):
    """A task of `METHODS`."""

    def __init__(
        self, stage: StageSpec, ctx: Context, images: Images, device: torch.device, cores: int
    ) -> None:
        model, training = METHODS[stage.pretext], stage.training
        views = partial(_listed, model.transform(stage, ctx))
        super().__init__(images, views, training.global_batch, device, cores)
        torch.manual_seed(stage.seed)
        self.model = model(Backbone(training.backbone), stage, ctx)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        rate, decay = training.lr.range[0], training.weight_decay
        self.optimizer = optim.build(training.optimizer, trained, rate, decay)
        self.bfloat16 = training.precision == "bfloat16"

    def train(self, views: Views, positions: Tensor) -> Row:  # noqa: ARG002
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.model(views["views"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach().reshape(())}


class Momentum(nn.Module):
    """A network and its slower copy."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.slow = network, copy.deepcopy(network)
        deactivate_requires_grad(self.slow)

    def follow(self) -> None:
        update_momentum(self.network, self.slow, EMA)


class MoCo(nn.Module):
    @staticmethod
    def transform(stage: StageSpec, ctx: Context) -> Any:
        least = stage.params["crop"][0]
        return transforms.MoCoV2Transform(ctx.image_size, min_scale=least, **_augmentations(ctx))

    def __init__(self, backbone: Backbone, stage: StageSpec, ctx: Context) -> None:
        super().__init__()
        head = modules.MoCoProjectionHead(backbone.width, backbone.width, moco.DIMENSIONS)
        self.encoder = Momentum(nn.Sequential(backbone, head))
        queue = stage.params["queue"] or moco.queue_size(ctx.images, ctx.global_batch)
        bank = (queue, moco.DIMENSIONS)
        self.loss = losses.NTXentLoss(stage.params["temperature"], memory_bank_size=bank)

    def forward(self, views: list[Tensor]) -> Tensor:
        self.encoder.follow()
        query = self.encoder.network(views[0])
        with torch.no_grad():
            key = self.encoder.slow(views[1])
        return self.loss(query.float(), key.float())


class SwaV(nn.Module):
    @staticmethod
    def transform(stage: StageSpec, ctx: Context) -> Any:
        large, small = stage.params["crop"], stage.params["small_crop"]
        return transforms.SwaVTransform(
            crop_sizes=(ctx.image_size, swav.small_size(ctx.image_size)),
            crop_counts=(swav.LARGE, stage.params["small_crops"]),
            crop_min_scales=(large[0], small[0]),
            crop_max_scales=(large[1], small[1]),
            **_augmentations(ctx),
        )

    def __init__(self, backbone: Backbone, stage: StageSpec, ctx: Context) -> None:
        super().__init__()
        width, p = backbone.width, stage.params
        head = modules.SwaVProjectionHead(width, width, swav.DIMENSIONS)
        self.encoder = nn.Sequential(backbone, head)
        self.prototypes = modules.SwaVPrototypes(swav.DIMENSIONS, swav.sizes(p, ctx)[0])
        self.loss = losses.SwaVLoss(p["temperature"], p["iterations"], p["epsilon"])

    def forward(self, views: list[Tensor]) -> Tensor:
        self.prototypes.normalize()
        features = [nn.functional.normalize(self.encoder(view), dim=1) for view in views]
        scores = [self.prototypes(feature).float() for feature in features]
        return self.loss(scores[: swav.LARGE], scores[swav.LARGE :])


class BYOL(nn.Module):
    @staticmethod
    def transform(stage: StageSpec, ctx: Context) -> Any:
        given = _augmentations(ctx) | {"min_scale": stage.params["crop"][0]}
        first = transforms.BYOLView1Transform(ctx.image_size, **given)
        second = transforms.BYOLView2Transform(ctx.image_size, solarization_prob=0.0, **given)
        return transforms.BYOLTransform(first, second)

    def __init__(self, backbone: Backbone, stage: StageSpec, ctx: Context) -> None:  # noqa: ARG002
        super().__init__()
        width = backbone.width
        head = modules.BYOLProjectionHead(width, 2 * width, 256)
        self.encoder = Momentum(nn.Sequential(backbone, head))
        self.predict = modules.BYOLPredictionHead(256, 2 * width, 256)
        self.loss = losses.NegativeCosineSimilarity()

    def forward(self, views: list[Tensor]) -> Tensor:
        self.encoder.follow()
        ours = [self.predict(self.encoder.network(view)).float() for view in views]
        with torch.no_grad():
            theirs = [self.encoder.slow(view).float() for view in views]
        return (self.loss(ours[0], theirs[1]) + self.loss(ours[1], theirs[0])) / 2


def _augmentations(ctx: Context) -> dict[str, Any]:
    p = Preset.of(ctx.augment)
    return {
        "cj_bright": p.brightness,
        "cj_contrast": p.contrast,
        "cj_sat": p.saturation,
        "cj_hue": p.hue,
        "random_gray_scale": p.grayscale,
        "gaussian_blur": p.blur,
        "sigmas": tuple(share * ctx.image_size for share in BLUR),
        "hf_prob": p.hflip / 2,
        "vf_prob": p.vflip / 2,
        "rr_prob": float(p.rotate > 0),
        "rr_degrees": p.rotate,
        "normalize": {"mean": list(ctx.mean), "std": list(ctx.std)},
    }


def _listed(transform: Callable[[Image.Image], Any], image: Image.Image) -> Views:
    return {"views": list(transform(image))}


METHODS: dict[str, Any] = {"moco": MoCo, "swav": SwaV, "byol": BYOL}  # what lightly has of ours
