"""The tasks that lightly has too, as its documentation trains them: transform, heads and loss.

Backbone, optimiser, batch and precision are our stage's; the augmentations have our parameters.
lightly is an optional dependency: `uv sync --group bench`.
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

from trainables.augment import LEAST_BLUR, most_blur
from trainables.backbone import Backbone
from trainables.bench.images import Images
from trainables.bench.pipelines import Loaded, Row
from trainables.bench.public import Views
from trainables.plugins import name_of
from trainables.pretext import byol, moco, swav
from trainables.processor import cores
from trainables.schema import read
from trainables.spec import StageSpec
from trainables.task import Context
from trainables.training import optimisers as optim
from trainables.training.loop import context
from trainables.training.step import peak

EMA = 0.99


class Lightly(Loaded):
    """A task of `METHODS`."""

    def __init__(self, stage: StageSpec, images: Images, device: torch.device) -> None:
        method, training = METHODS[stage.name], stage.trained
        data, params = images.prepared, read(method.task.Params, stage.params)
        count = len(data.names)
        ctx = context(stage, count, data.mean, data.std)
        views = partial(_listed, method.transform(params, ctx))
        super().__init__(images.files, views, training.global_batch, device, cores())
        torch.manual_seed(stage.seed)
        self.model = method(Backbone(training.backbone), params, ctx)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        rate, decay = peak(training.lr.range[0], training), training.weight_decay
        self.optimizer = optim.build(training.optimizer, trained, rate, decay)
        self.bfloat16 = training.precision == "bfloat16"

    def train(self, views: Views, positions: Tensor) -> Row:  # noqa: ARG002
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.model(views["views"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach().reshape(())}


class MoCo(nn.Module):
    task = moco.Plugin

    @staticmethod
    def transform(p: moco.Plugin.Params, ctx: Context) -> Any:
        least = ctx.crop(p.crop)[0]
        return transforms.MoCoV2Transform(ctx.image_size, min_scale=least, **_augmentations(ctx))

    def __init__(self, backbone: Backbone, p: moco.Plugin.Params, ctx: Context) -> None:
        super().__init__()
        head = modules.MoCoProjectionHead(backbone.width, backbone.width, moco.DIMENSIONS)
        self.encoder = nn.Sequential(backbone, head)
        self.slow = copy.deepcopy(self.encoder)
        deactivate_requires_grad(self.slow)
        queue = p.queue or moco.queue_size(ctx.images, ctx.global_batch)
        self.loss = losses.NTXentLoss(p.temperature, memory_bank_size=(queue, moco.DIMENSIONS))

    def forward(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.encoder, self.slow, EMA)
        query = self.encoder(views[0])
        with torch.no_grad():
            key = self.slow(views[1])
        return self.loss(query.float(), key.float())


class SwaV(nn.Module):
    task = swav.Plugin

    @staticmethod
    def transform(p: swav.Plugin.Params, ctx: Context) -> Any:
        large = ctx.crop(p.crop, swav.LARGE_CROP)
        small = p.small_crop or ctx.augment.small_crop or swav.SMALL_CROP
        return transforms.SwaVTransform(
            crop_sizes=(ctx.image_size, swav.small_size(ctx.image_size)),
            crop_counts=(swav.LARGE, p.small_crops),
            crop_min_scales=(large[0], small[0]),
            crop_max_scales=(large[1], small[1]),
            **_augmentations(ctx),
        )

    def __init__(self, backbone: Backbone, p: swav.Plugin.Params, ctx: Context) -> None:
        super().__init__()
        head = modules.SwaVProjectionHead(backbone.width, backbone.width, swav.DIMENSIONS)
        self.encoder = nn.Sequential(backbone, head)
        self.prototypes = modules.SwaVPrototypes(swav.DIMENSIONS, p.sizes(ctx)[0])
        self.loss = losses.SwaVLoss(p.temperature, p.iterations, p.epsilon)

    def forward(self, views: list[Tensor]) -> Tensor:
        self.prototypes.normalize()
        features = [nn.functional.normalize(self.encoder(view), dim=1) for view in views]
        scores = [self.prototypes(feature).float() for feature in features]
        return self.loss(scores[: swav.LARGE], scores[swav.LARGE :])


class BYOL(nn.Module):
    task = byol.Plugin

    @staticmethod
    def transform(p: byol.Plugin.Params, ctx: Context) -> Any:
        given = {**_augmentations(ctx), "min_scale": ctx.crop(p.crop)[0]}
        first = transforms.BYOLView1Transform(ctx.image_size, **given)
        inverted = ctx.augment.solarise
        second = transforms.BYOLView2Transform(ctx.image_size, solarization_prob=inverted, **given)
        return transforms.BYOLTransform(first, second)

    def __init__(self, backbone: Backbone, p: byol.Plugin.Params, ctx: Context) -> None:  # noqa: ARG002
        super().__init__()
        width, out = backbone.width, byol.DIMENSIONS
        head = modules.BYOLProjectionHead(width, 2 * width, out)
        self.encoder = nn.Sequential(backbone, head)
        self.slow = copy.deepcopy(self.encoder)
        deactivate_requires_grad(self.slow)
        self.predict = modules.BYOLPredictionHead(out, 2 * width, out)
        self.loss = losses.NegativeCosineSimilarity()

    def forward(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.encoder, self.slow, EMA)
        ours = [self.predict(self.encoder(view)).float() for view in views]
        with torch.no_grad():
            theirs = [self.slow(view).float() for view in views]
        return (self.loss(ours[0], theirs[1]) + self.loss(ours[1], theirs[0])) / 2


def _augmentations(ctx: Context) -> Any:
    """Return the keyword arguments of lightly's transforms."""
    p = ctx.augment
    return {
        "cj_bright": p.brightness, "cj_contrast": p.contrast, "cj_sat": p.saturation,
        "cj_hue": p.hue, "random_gray_scale": p.grayscale, "gaussian_blur": p.blur,
        "sigmas": (LEAST_BLUR, most_blur(ctx.image_size)),
        "hf_prob": p.hflip / 2, "vf_prob": p.vflip / 2,
        "rr_prob": float(p.rotate > 0), "rr_degrees": p.rotate,
        "normalize": {"mean": list(ctx.mean), "std": list(ctx.std)},
    }  # fmt: skip


def _listed(transform: Callable[[Image.Image], list[Tensor]], image: Image.Image) -> Views:
    return {"views": list(transform(image))}


METHODS: dict[str, Any] = {name_of(kind.task): kind for kind in (MoCo, SwaV, BYOL)}
