"""Weight files as they come: unwrapped, renamed, and made to fit a network.

Known: state dicts of timm, torchvision, DINO, MoCo, MMPretrain and lightly, and of any code whose
network has the same tensors in the same order. What is missing in the network is refused.
"""

import argparse
import re
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.errors import UserError

State = dict[str, Tensor]
# Where a checkpoint has its weights, the better of two first: a teacher is an average of students.
WRAPPERS = ("state_dict", "model_state_dict", "teacher", "model", "student", "network", "net")
SLOW = re.compile("momentum|target|encoder_k|student|_ema")  # a network beside the one wanted
HEAD = re.compile(
    "fc|heads?|head_dist|classifier|last_linear|linear|mlp|proj\\w*|neck|predictor|prediction\\w*|"
    "prototypes?|queue\\w*|decoder\\w*|mask_token|aux\\w*|AuxLogits|_fc|contrastive_head|logit_scale"
)
COUNT = "num_batches_tracked"
RENAMED = {  # vision transformers of torchvision and MMPretrain, as timm names them
    r"^(encoder\.layers\.encoder_layer_|layers\.)(\d+)\.": r"blocks.\2.",
    r"\.(ln_?)([12])\.": r".norm\2.",
    r"\.self_attention\.in_proj_": ".attn.qkv.",
    r"\.self_attention\.out_proj\.": ".attn.proj.",
    r"\.(mlp\.(0|linear_1)|ffn\.layers\.0\.0)\.": ".mlp.fc1.",
    r"\.(mlp\.(3|linear_2)|ffn\.layers\.1)\.": ".mlp.fc2.",
    r"^(conv_proj|patch_embed\.projection)\.": "patch_embed.proj.",
    r"^class_token$": "cls_token",
    r"^encoder\.pos_embedding$": "pos_embed",
    r"^(encoder\.ln|ln1)\.": "norm.",
}


def read_file(path: Path, start: str) -> tuple[State, list[str]]:
    """Return the tensors of a file, and a note where they lay deeper in it."""
    where = f"starts.{start}={path}"
    try:
        if path.suffix == ".safetensors":
            return load_file(path), []
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO's and MAE's settings
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost any type for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{where}: must be a whole .safetensors or weights-only .pth file "
            f"({reason or type(error).__name__}); try fetching it again or, if you trust it, "
            "torch.load(..., weights_only=False) in a safe place and "
            "safetensors.torch.save_file(state_dict, PATH)"
        ) from None
    return _unwrapped(found, where)


def _unwrapped(found: Any, where: str) -> tuple[State, list[str]]:
    path = []
    while isinstance(found, dict):
        inner = next((key for key in WRAPPERS if isinstance(found.get(key), dict)), None)
        if inner is None:
            break
        path.append(inner)
        found = found[inner]
    tensors = found.items() if isinstance(found, dict) else ()
    state = {k: v for k, v in tensors if isinstance(k, str) and torch.is_tensor(v)}
    if not state:
        raise UserError(f"{where}: must hold named tensors; try saving a state_dict()")
    return state, [f"read from {'.'.join(path)}"] if path else []


def fitted(tensors: State, network: nn.Module, where: str) -> tuple[State, list[str]]:
    """Return the network's state dict from these tensors, and notes on what was changed.

    UserError, which begins with `where`, if one is missing, or the file has others than heads.
    """
    own = network.state_dict()
    prefix, state, ordered = _best(tensors, network, own)
    notes = [f"{prefix}* taken"] if prefix else []
    notes += ["tensors named by their order"] if ordered else []
    others = [key for key in state if key not in own]
    extra = [key for key in others if not _is_head(key)]
    heads = dict.fromkeys(key.partition(".")[0] for key in others)
    state, changed = _adapted(state, own)
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape] + sorted(extra)
    if wrong:
        raise UserError(
            f"{where}: must fit profile.backbone ({len(wrong)} of its and the file's tensors "
            f"differ, first {wrong[0]}); try the weights of that network"
        )
    if heads:
        notes.append(f"left out: {', '.join(heads)}")
    return {key: state[key] for key in own}, notes + changed


def _best(tensors: State, network: nn.Module, own: Mapping[str, Tensor]) -> tuple[str, State, bool]:
    """Return the prefix of most of the network's tensors, what is under it, whether by order."""
    parts = [key.split(".") for key in tensors]
    counted = Counter(".".join(p[:k]) + "." for p in parts for k in range(1, min(len(p), 4)))
    known = ["", *(prefix for prefix, count in counted.items() if count > len(own) // 3)]
    below = {one: _converted(_below(tensors, one), network) for one in known}

    def merit(prefix: str) -> tuple[int, bool, int]:
        return (len(below[prefix].keys() & own.keys()), not SLOW.search(prefix), -len(prefix))

    most = max(known, key=merit)
    if not below[most].keys() & own.keys():
        for one in sorted(known, key=merit, reverse=True):
            if ordered := _in_order(_below(tensors, one), own):
                return one, ordered, True
    return most, below[most], False


def _below(tensors: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _converted(state: State, network: nn.Module) -> State:
    """Rename what other libraries call otherwise; timm's own function resizes positions."""
    named = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMED.items() if hasattr(network, "patch_embed") else ():
            name = re.sub(pattern, replacement, name)
        named[name] = value
    module = import_module(type(network).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    try:
        return dict(convert(dict(named), network)) if convert else named
    except Exception:  # not a file that the function knows: compared as it is
        return named


def _in_order(state: State, own: Mapping[str, Tensor]) -> State | None:
    """Return the tensors under the network's names, if shapes and kinds agree one by one."""
    wanted = {k: v for k, v in own.items() if not k.endswith(COUNT)}
    given = {k: v for k, v in state.items() if not k.endswith(COUNT) and not _is_head(k)}
    kinds = [[(k.rpartition(".")[2], v.shape) for k, v in one.items()] for one in (given, wanted)]
    if kinds[0] != kinds[1]:
        return None
    heads = {key: value for key, value in state.items() if _is_head(key)}
    return dict(zip(wanted, given.values(), strict=True)) | heads


def _is_head(key: str) -> bool:
    return HEAD.fullmatch(key.partition(".")[0]) is not None


def _adapted(state: State, own: Mapping[str, Tensor]) -> tuple[State, list[str]]:
    """Fill counts that are missing and make the stem take the channels of the images."""
    state, notes = dict(state), []
    counts = [key for key in own if key.endswith(COUNT) and key not in state]
    state |= {key: own[key] for key in counts}
    if counts:
        notes.append(f"{len(counts)} {COUNT} filled")
    for key, value in own.items():
        given = state.get(key)
        if given is None or given.ndim != 4 or given.shape == value.shape:
            continue
        if given.shape[1] == 3 and given.sum(1, keepdim=True).shape == value.shape:
            state[key] = given.sum(1, keepdim=True)
            notes.append(f"{key} summed over 3 channels")
        elif given.shape[1] == 1 and given.expand(-1, 3, -1, -1).shape == value.shape:
            state[key] = given.repeat(1, 3, 1, 1) / 3  # the same answer to a grey image
            notes.append(f"{key} spread over 3 channels")
    return state, notes
