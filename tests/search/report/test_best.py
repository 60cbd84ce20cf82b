"""The winner's folder: the snippet loads the weights, the card says what they are."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from safetensors.torch import save_file

from search.chains.chain import Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.report import best
from search.space import load
from tests.search.report.conftest import load_snippet
from trainables.augment import FullView
from trainables.backbone import Backbone
from trainables.images.fit import square


def _written(search: Any, out: Path, name: str = "resnet10", channels: int = 3) -> Backbone:
    """A report whose recommended chain has real weights of this architecture."""
    backbone = Backbone(name, channels)
    row = search.table.recommended
    weights = best.chosen(row, search.store)
    save_file(backbone.net.state_dict(), search.store.path(weights.stage) / best.BACKBONE)
    space = search.plan.space
    plan = replace(
        search.plan,
        space=replace(
            space,
            profile=replace(space.profile, backbone=name),
            data=replace(space.data, channels=channels),
        ),
    )
    meta = search.store.path(weights.score) / "meta.json"
    statistics = {"mean": [0.4, 0.5, 0.6][:channels], "std": [0.1, 0.2, 0.3][:channels]}
    meta.write_text(json.dumps(json.loads(meta.read_text()) | statistics))
    _write(replace(search, plan=plan), out)
    return backbone


def _write(search: Any, out: Path) -> None:
    best.write(search.summary, search.plan, search.store, out / "best")


def _chains(make_search: Callable[..., Any]) -> Any:
    """A search in which no start has a score."""
    return make_search(scores={"moco": 30.0, "odc": 28.0, "odc>moco": 31.2})


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet10", 3), ("resnet50", 1), ("vit_tiny_patch16_224", 3), ("tf_efficientnet_lite0", 1)],
)
def test_snippet_gives_the_same_features(
    make_search: Callable[..., Any], tmp_path: Path, name: str, channels: int
) -> None:
    ours = _written(_chains(make_search), tmp_path, name, channels).eval()
    module = load_snippet(tmp_path / "best" / best.SNIPPET)
    theirs = module.backbone().eval()
    images = torch.randint(0, 256, (2, channels, 64, 64), dtype=torch.uint8)
    ready = module.preprocess(images)
    side = [
        square(one.permute(1, 2, 0).squeeze(2).numpy(), module.SIDE, channels) for one in images
    ]
    view = FullView(module.MEAN, module.STD, module.SIZE)
    assert torch.equal(ready, view(torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2)))
    with torch.inference_mode():
        assert torch.allclose(theirs(ready), ours(ready), atol=1e-5)


def test_snippet_runs_as_a_command(make_search: Callable[..., Any], tmp_path: Path) -> None:
    _written(_chains(make_search), tmp_path)
    script = str(tmp_path / "best" / best.SNIPPET)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "resnet10 loaded: 512 features an image\n"


def test_card(written: tuple[Path, dict[str, Any]]) -> None:
    text = (written[0] / "best" / best.CARD).read_text()
    for said in (
        "# resnet10: `relative_location>odc>moco`",
        "was better than imagenet on test.**",
        "**before** fine-tuning, without a classifier. Trained with the first fresh seed.",
        "moco 0.1*",
        "The planned comparison: ",
        "mean not recorded",
        "Not a medical device",
    ):
        assert said in text.replace("\\>", ">")
    assert "$" not in text
    assert "DEMONSTRATION" not in text


def test_the_weights_are_those_of_the_first_fresh_seed(
    judged: Any, led: Any, written: Any, tmp_path: Path
) -> None:
    row = judged.table.recommended
    stage = judged.store.path(row.fresh_stage_keys[0])
    copied = (written[0] / "best" / best.BACKBONE).read_bytes()
    assert copied == (stage / best.BACKBONE).read_bytes()
    assert row.fresh_stage_keys[0] != row.stage_key
    _write(led, tmp_path)
    scratch = led.table.row("scratch")
    tuned = led.store.path(scratch.fresh_keys[0]) / best.BACKBONE
    assert (tmp_path / "best" / best.BACKBONE).read_bytes() == tuned.read_bytes()
    assert "fine-tuned **from scratch**" in (tmp_path / "best" / best.CARD).read_text()


def test_a_start_with_weights_is_copied_as_it_is_stored(search: Any, tmp_path: Path) -> None:
    """Without several seeds the leading start is recommended."""
    _write(search, tmp_path)
    start = search.plan.score(Node(Chain((), "imagenet"))).inputs["backbone"]
    stored = search.store.path(start) / best.BACKBONE
    assert (tmp_path / "best" / best.BACKBONE).read_bytes() == stored.read_bytes()
    assert "weights of a start as they were given" in (tmp_path / "best" / best.CARD).read_text()


def test_a_card_without_weights_says_so(make_search: Callable[..., Any], tmp_path: Path) -> None:
    search = _chains(make_search)
    _write(search, tmp_path)
    stage = best.chosen(search.table.recommended, search.store).stage
    (search.store.path(stage) / best.BACKBONE).unlink()
    _write(search, tmp_path)
    assert [path.name for path in (tmp_path / "best").iterdir()] == [best.CARD]
    assert "no weights" in (tmp_path / "best" / best.CARD).read_text()


HOSTILE = [
    '"""; import os; os.abort() #', "'''\n", "a\nimport os", "{os}", "\\", "$mean", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("chain", HOSTILE)
def test_no_name_of_a_chain_is_code_in_the_snippet(search: Any, chain: str) -> None:
    plain = ast.parse(best.snippet(search.plan, "odc>moco", {}))
    module = ast.parse(best.snippet(search.plan, chain, {}))
    assert [type(node) for node in ast.walk(module)] == [type(node) for node in ast.walk(plain)]
    assigned = next(node for node in module.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assigned.value)[0] == chain


def test_no_name_is_markup_in_the_card(make_search: Callable[..., Any], tmp_path: Path) -> None:
    """Rendered with raw HTML allowed, it has no tag that the card of plain names has not."""
    names = ["<script>x</script>", "a`b", "| c |", "[d](http://e)", "![f](g)\n# h", "$chain"]
    tags = []
    for classes, said in (list("abcdef"), "plain"), (names, " ".join(names)):
        out = tmp_path / str(len(tags))
        _write(make_search(classes=classes, data=said, space=said), out)
        card = (out / "best" / best.CARD).read_text(encoding="utf-8")
        parser = MarkdownIt("commonmark", {"html": True}).enable("table")
        tags.append(re.findall(r"</?[a-z0-9]+", parser.render(card)))
    assert tags[0] == tags[1]


def test_demo_card_warns(search: Any, tmp_path: Path) -> None:
    _write(replace(search, info=replace(search.info, demo=True, data="demo")), tmp_path)
    assert "the numbers mean nothing" in (tmp_path / "best" / best.CARD).read_text()


def test_no_score_no_folder(search: Any, tmp_path: Path) -> None:
    nothing = search.without("failed", "no disk", "scratch", "imagenet")
    made = nothing.only("scratch", "imagenet").write(tmp_path)
    assert (made["best_chain"], made["best_score"], made["recommended"]) == (None, None, None)
    assert not (tmp_path / "best").exists()


def test_the_card_has_the_length_of_every_stage_of_the_chain(search: Any) -> None:
    plan = Plan(load("isic3", ["profile=gpu"]), "d", count=1000)
    known = {row.chain: best._steps(row, plan) for row in search.table.scored}
    assert known["odc>moco"] == "20,000, 3,000", "four times as long from scratch"
    assert known["scratch"] == "published"
