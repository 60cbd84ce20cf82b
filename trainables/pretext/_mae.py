"""MAE's masked autoencoder on a vision transformer of timm (He et al., 2022).

The encoder sees the visible patches alone; a small decoder tells the pixels of the hidden ones, of
which each has mean 0 and variance 1, by their squared distance. The decoder is half as wide as the
encoder and a third as deep, with heads of 32 numbers: 512 and 8 for ViT-L, as published.

Difference from the authors' code: the encoder keeps the position embeddings of its model, learned
or not, so that weights from elsewhere and later stages fit; the decoder's are fixed, as theirs.
"""

import torch
import torch.nn.functional as F
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from trainables.backbone import Backbone, used
from trainables.errors import UserError
from trainables.pretext.mim import Method, Plugin, patches, take
from trainables.task import Context, Draw

HEAD = 32  # numbers of a head of the decoder
EPSILON = 1e-6


class MAE(Method):
    """Hides patches of the transformer."""

    crop = (0.2, 1.0)
    ratio = 0.75

    def __init__(self, backbone: Backbone, params: Plugin.Params, context: Context) -> None:
        net = backbone.net
        assert isinstance(net, VisionTransformer)
        self.unit: int = net.patch_embed.patch_size[0]
        if params.unit not in (None, self.unit):
            raise UserError(
                f"tasks.mim.params.unit={params.unit}: must be null with a transformer, which "
                f"hides its own patches of {self.unit} px; try null"
            )
        side = context.image_size // self.unit
        super().__init__(side**2, params.ratio)
        used(backbone, context.empty, lambda view: encode(net, view, self.every(view)))
        width, depth = HEAD * max(1, round(net.embed_dim / 2 / HEAD)), max(1, len(net.blocks) // 3)
        self.embed = nn.Linear(net.embed_dim, width)
        self.token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.place: Tensor
        self.register_buffer("place", build_sincos2d_pos_embed([side, side], width), False)
        blocks = [Block(width, width // HEAD, qkv_bias=True) for _ in range(depth)]
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width)
        self.decode = nn.Linear(width, context.channels * self.unit**2)

    def every(self, view: Tensor) -> Tensor:
        return torch.arange(self.patches, device=view.device).expand(len(view), -1)

    def forward(self, backbone: Backbone, view: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        hidden, visible = self.order(draw)
        assert isinstance(backbone.net, VisionTransformer)
        known = self.embed(encode(backbone.net, view, visible))
        first = known.shape[1] - visible.shape[1]  # tokens of no patch
        shape = (-1, -1, known.shape[2])
        tokens = self.token.to(known.dtype).expand(len(view), self.patches, -1)
        tokens = tokens.scatter(1, visible[:, :, None].expand(*shape), known[:, first:])
        tokens = self.norm(self.blocks(torch.cat([known[:, :first], tokens + self.place], 1)))
        told = self.decode(take(tokens[:, first:], hidden)).float()
        return told, normal(take(patches(view, self.unit), hidden))

    def error(self, told: Tensor, true: Tensor) -> Tensor:
        return F.mse_loss(told, true)


def encode(net: VisionTransformer, view: Tensor, visible: Tensor) -> Tensor:
    """Return the tokens of no patch and those of the visible patches: [b, first + v, width].

    view: [b, c, size, size]; visible: [b, v], positions row by row.
    """
    tokens = net._pos_embed(net.patch_embed(view))
    first = net.num_prefix_tokens
    known = torch.cat([tokens[:, :first], take(tokens[:, first:], visible)], 1)
    return net.fc_norm(net.norm(net.blocks(net.norm_pre(known))))


def normal(x: Tensor) -> Tensor:
    """Return patches of mean 0 and variance 1 each: [b, k, values]."""
    return (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True) + EPSILON).sqrt()
