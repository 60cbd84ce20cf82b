"""Backbones of each family: maps, pooled features, frozen blocks, rates by layer, BatchNorm."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d

from search.space import hardware
from search.space import load as space_of
from trainables import architectures, networks
from trainables.backbone import Backbone, GroupedBatchNorm, group_batch_norm
from trainables.errors import UserError
from trainables.task import Task
from trainables.training import optimisers

FAMILIES = {
    "resnet10": (32, 5),
    "convnext_atto": (32, 5),
    "vit_tiny_patch16_224": (16, 13),
    "tf_efficientnet_lite0": (32, 8),
    "swin_tiny_patch4_window7_224": (32, 5),
    "deit_tiny_distilled_patch16_224": (16, 13),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_have_the_stride_and_the_blocks_hold_every_parameter(name):
    stride, count = FAMILIES[name]
    backbone = Backbone(name, 1).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        maps, pooled = backbone.maps(x), backbone(x)
    assert maps.shape == (2, backbone.map_width, 64 // stride, 64 // stride)
    assert pooled.shape == (2, backbone.width)
    assert backbone.stride == stride
    blocks = backbone.blocks()
    held = [id(p) for block in blocks for p in block]
    assert len(blocks) == count
    assert sorted(held) == sorted(map(id, backbone.parameters()))


def test_the_maps_of_a_vision_transformer_are_its_patches_row_by_row():
    network = networks.built("vit_tiny_patch16_224", 3).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        tokens, maps = network.forward_features(x), networks.maps(network, x)
    assert torch.equal(maps[0, :, 1, 2], tokens[0, 1 + 4 + 2])


def test_batch_norm_with_an_activation_equals_a_slow_oracle():
    torch.manual_seed(0)
    norm = BatchNormAct2d(3, act_layer=torch.nn.ReLU6)
    slow, x = copy.deepcopy(norm), torch.randn(8, 3, 4, 4) * 5
    parts = [copy.deepcopy(slow).train() for _ in range(4)]
    expected = torch.cat([own(part.clone()) for own, part in zip(parts, x.chunk(4), strict=True)])
    group_batch_norm(norm, 4)
    assert isinstance(norm, GroupedBatchNorm)
    torch.testing.assert_close(norm.train()(x.clone()), expected)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(own, name) for own in parts]).mean(0)
        torch.testing.assert_close(getattr(norm, name), mean)
    slow.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm.eval()(x.clone()), slow.eval()(x.clone()))


@pytest.mark.parametrize("name", ["resnet10", "tf_efficientnet_lite0", "convnext_atto"])
def test_frozen_blocks_keep_weights_and_statistics_in_copies_too(name):
    backbone = Backbone(name)
    backbone.train_last(1)
    group_batch_norm(backbone, 1)
    before = copy.deepcopy(backbone.net.state_dict())
    frozen = {id(p) for block in backbone.blocks()[:-1] for p in block}
    names = {k for k, p in backbone.net.named_parameters() if id(p) in frozen}
    for one in (backbone, copy.deepcopy(backbone).requires_grad_(False)):
        one.train()(torch.rand(4, 3, 64, 64))
        moved = {k for k, v in one.net.state_dict().items() if not torch.equal(v, before[k])}
        owners = {name.rpartition(".")[0] for name in names}
        assert not {k for k in moved if k.rpartition(".")[0] in owners}
    backbone(torch.rand(4, 3, 64, 64)).sum().backward()
    given = {k for k, p in backbone.net.named_parameters() if p.grad is not None}
    assert given
    assert not given & names


def test_more_blocks_than_there_are_and_other_texts_are_refused():
    from trainables.backbone import blocks_of

    with pytest.raises(UserError, match=r"last_blocks=9: must be at most 5, .*; try last_blocks=4"):
        Backbone("resnet10").train_last(9)
    for text in ("some", "last_blocks=0", "last_blocks=x"):
        with pytest.raises(UserError, match="must be all or last_blocks=N"):
            blocks_of(text)


def test_the_rate_falls_by_layer_and_embeddings_have_no_weight_decay():
    backbone = Backbone("vit_tiny_patch16_224")
    task = Task.__new__(Task)
    torch.nn.Module.__init__(task)
    task.backbone, task.head = backbone, torch.nn.Linear(192, 2)
    groups = optimisers.layer_decayed(task.parameter_groups(), backbone.blocks(False), 0.5)
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    decay = {id(p): g.get("weight_decay") for g in groups for p in g["params"]}
    net = backbone.net
    assert scale[id(task.head.weight)] == 1
    assert scale[id(net.norm.weight)] == scale[id(net.blocks[11].mlp.fc1.weight)] == 0.5
    assert scale[id(net.blocks[0].mlp.fc1.weight)] == 0.5**12
    assert scale[id(net.pos_embed)] == scale[id(net.patch_embed.proj.weight)] == 0.5**13
    assert decay[id(net.pos_embed)] == decay[id(net.cls_token)] == 0
    assert decay[id(net.norm.weight)] == decay[id(net.patch_embed.proj.bias)] == 0
    assert decay[id(net.patch_embed.proj.weight)] is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "vgg1",
            "or a model of timm; try vg",
        ),
        ("vit_smal_patch16_224", r".*; try vit_small_patch16_224$"),
        ("resnet50.a1_in1", r"must have a tag .*; try resnet50\.a1_in1k$"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, said):
    with pytest.raises(UserError, match=rf"^profile\.backbone={name}: .*{said}"):
        architectures.check(name)


def test_a_network_that_gives_no_maps_or_takes_no_such_image_is_refused():
    with pytest.raises(UserError, match=r"coat_mini: must give feature maps"):
        Backbone("coat_mini")
    with pytest.raises(UserError, match=r"image_size=70: .*; try profile\.image_size=64$"):
        networks.check_sides("vit_tiny_patch16_224", 70)
    with pytest.raises(UserError, match=r"^tasks\.swav: must make views .*, not of 72 px"):
        networks.check_sides(
            "vit_tiny_patch16_224", 160, lambda s: (s, s * 72 // 160), "tasks.swav"
        )


def test_transformers_are_trained_with_adamw_unless_the_space_says_so_itself():
    def resolved(*more):
        return hardware.resolve(space_of("isic3", ["profile=smoke", *more]), 0)

    vit = resolved("profile.backbone=vit_tiny_patch16_224", "tasks.odc.optimizer=adamw")
    assert (vit.tasks["moco"].optimizer, vit.tasks["moco"].weight_decay) == ("adamw", 0.05)
    assert vit.ranges["moco"] == architectures.TRANSFORMER[2:4]
    assert vit.downstream.lr_range_later == architectures.TRANSFORMER.downstream_rates_later
    assert vit.ranges["odc"] == resolved().ranges["odc"]
    assert resolved().tasks["moco"].optimizer == "sgd"
