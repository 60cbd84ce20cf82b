"""A finished search as files: the published ISIC-2019 table, with the rest made up.

Real files in a real folder; only the training is missing.
"""

import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from search import report
from search.chains.chain import Chain
from search.chains.node import FRESH, Node
from search.chains.plan import Plan
from search.report.summary import Summary, build
from search.report.table import Table
from search.results.records import ChainResult, Repeat, RunInfo
from search.space.budget import Budget
from search.space.schema import (
    Data,
    Downstream,
    Policy,
    Profile,
    RuntimeChoice,
    Space,
    Start,
    TaskChoice,
)
from tests.measures import BALANCED, scored
from trainables.spec import Measure, Score, StageSpec

PUBLISHED = {
    "relative_location": 69.52,
    "relative_location>odc": 70.68,
    "relative_location>odc>moco": 75.00,
    "relative_location>moco": 74.10,
    "relative_location>moco>odc": 74.38,
    "moco": 72.74,
    "moco>odc": 72.72,
    "moco>odc>relative_location": 67.00,
    "moco>relative_location": 66.72,
    "moco>relative_location>odc": 69.80,
    "odc": 63.52,
    "odc>relative_location": 68.23,
    "odc>relative_location>moco": 73.36,
    "odc>moco": 75.44,
    "odc>moco>relative_location": 65.73,
    "imagenet": 73.76,
    "scratch": 49.27,
}
CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]
RATES = (0.003, 0.01, 0.03, 0.1)
EPOCHS = 12
STARTS = ("scratch", "imagenet")


@dataclass(frozen=True)
class FolderStore:
    """The two methods of StageStore that the report uses."""

    root: Path

    def path(self, key: str) -> Path:
        return self.root / key

    def manifest(self, key: str) -> dict[str, Any] | None:
        path = self.path(key) / "manifest.json"
        return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Search:
    """Everything the report is made from."""

    plan: Plan
    results: list[ChainResult]
    info: RunInfo
    store: FolderStore

    @property
    def table(self) -> Table:
        """Every chain compared with the winner."""
        best = self.info.best_chain
        return report.build(self.results, self.store, self.plan.objective, best)

    def write(self, out: Path, pictures: bool = True) -> dict[str, Any]:
        """The whole report, or without figures and page, which take longest; its summary."""
        found = report.write(self.table, self.plan, self.info, self.store, out)
        if pictures:
            report.illustrate(found, self.plan, self.store, out)
        return found.as_json()

    @property
    def summary(self) -> Summary:
        return build(self.table, self.info, self.store)

    def repeated(self, scores: Mapping[str, Sequence[float]]) -> "Search":
        """The same search with the scores of further seeds, chain by chain."""
        results = []
        for result in self.results:
            again = scores.get(str(result.chain), ())
            repeats = [self._trained(result.chain, k, score) for k, score in enumerate(again, 1)]
            results.append(replace(result, repeats=tuple(repeats)))
        return replace(self, results=results)

    def fresh(self, scores: Mapping[str, Sequence[float]]) -> "Search":
        """The same search with the scores of fresh seeds, chain by chain."""
        results = []
        for result in self.results:
            again = scores.get(str(result.chain), ())
            fresh = [self._trained(result.chain, FRESH + k, one) for k, one in enumerate(again)]
            results.append(replace(result, fresh=tuple(fresh)))
        return replace(self, results=results)

    def controlled(self, chain: str, scores: Sequence[float]) -> "Search":
        """The same search with a control of these scores, one a seed."""
        first, *again = (self._trained(Chain.parse(chain), k, one) for k, one in enumerate(scores))
        control = ChainResult(
            Chain.parse(chain), "done", first.score, stage_key=first.stage_key, control=True,
            downstream_key=first.downstream_key, probe_key=first.probe_key, repeats=tuple(again),
        )  # fmt: skip
        return replace(self, results=[*self.results, control])

    def _trained(self, chain: Chain, repeat: int, score: float) -> Repeat:
        """A training of a chain with another seed, in the store."""
        node = Node(chain).again(repeat)
        spec, stages = self.plan.score(node), self.plan.stages(node)
        rng = np.random.default_rng(repeat)
        if stages:
            _write_stage(self.store, stages[-1], rng)
        _write_score(self.store, spec, score, rng, CLASSES)
        return Repeat(
            repeat % FRESH, scored(score, score - 1.9, score + 1.8), spec.key(),
            _write_probe(self.store, self.plan, node, score), stages[-1].key() if stages else None,
        )  # fmt: skip

    def without(self, status: str, reason: str, *names: str) -> "Search":
        """The same search with these chains failed, pruned or not run."""
        changed = [
            replace(r, status=status, reason=reason, score=None, order=None)
            if str(r.chain) in names
            else r
            for r in self.results
        ]
        return replace(self, results=changed)

    def only(self, *names: str) -> "Search":
        """A smaller search of these chains."""
        return replace(self, results=[r for r in self.results if str(r.chain) in names])


@pytest.fixture(scope="session")
def make_search(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Search]:
    def make(
        classes: list[str] | None = None,
        scores: Mapping[str, float] | None = None,
        **changes: object,
    ) -> Search:
        """Chain -> score, in the order in which they were found; the published ones by default."""
        root = tmp_path_factory.mktemp("study") / "store"
        root.mkdir()
        made = finished(root, scores or PUBLISHED, classes or CLASSES)
        return replace(made, info=replace(made.info, **changes))

    return make


def finished(root: Path, scores: Mapping[str, float], classes: list[str]) -> Search:
    """Everything that a search with these scores leaves in the folder."""
    store = FolderStore(root)
    chains = [Chain.parse(name, STARTS) for name in scores]
    tasks = {task: None for chain in chains for task in chain.tasks}
    plan = Plan(_space(tuple(tasks)), "d" * 16, {"imagenet": "i" * 16})
    results = [
        replace(_finished(store, plan, chain, score, classes), order=place)
        for place, (chain, score) in enumerate(zip(chains, scores.values(), strict=True))
    ]
    return Search(plan, results, _info(), store)


@pytest.fixture(scope="session")
def search(make_search: Callable[..., Search]) -> Search:
    return make_search()


@pytest.fixture(scope="session")
def repeated(make_search: Callable[..., Search]) -> Search:
    """The search with two more seeds of three chains and the baselines; odc>moco was lucky."""
    return make_search().repeated(
        {
            "odc>moco": (73.0, 73.6), "relative_location>odc>moco": (74.6, 75.6),
            "moco": (72.0, 73.2), "scratch": (48.0, 50.1), "imagenet": (73.0, 74.0),
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def judged(repeated: Search) -> Search:
    """The repeated search with fresh seeds of the best chain and the starts; the chain is better.

    The policy recommends relative_location>odc>moco.
    """
    best = "relative_location>odc>moco"
    fresh = repeated.fresh(
        {best: (74.9, 74.2, 75.1), "imagenet": (70.1, 69.6, 70.6), "scratch": (49.0, 48.5, 50.0)}
    )
    return replace(fresh, info=replace(fresh.info, best_chain=best))


@pytest.fixture(scope="session")
def led(make_search: Callable[..., Search]) -> Search:
    """A small search in which scratch leads, on selection seeds and on fresh ones."""
    scores = {"moco": 30.0, "odc": 28.0, "odc>moco": 31.2, "scratch": 35.9, "imagenet": 33.0}
    seeds = {
        "odc>moco": (29.8, 30.5), "moco": (29.0, 29.9), "odc": (27.1, 28.2),
        "scratch": (34.8, 36.3), "imagenet": (32.1, 33.4),
    }  # fmt: skip
    fresh = {
        "odc>moco": (29.1, 28.7, 29.9), "scratch": (35.5, 35.0, 36.1),
        "imagenet": (32.9, 32.1, 33.5),
    }  # fmt: skip
    return make_search(scores=scores, best_chain="odc>moco").repeated(seeds).fresh(fresh)


@pytest.fixture(scope="session")
def compared(repeated: Search) -> Table:
    """The one table of the repeated search, with every chain compared with the best."""
    return repeated.table


@pytest.fixture(scope="session")
def written(
    judged: Search, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The whole report of the judged search: its folder and the summary."""
    out = tmp_path_factory.mktemp("run")
    return out, judged.write(out)


def _info() -> RunInfo:
    return RunInfo(
        space="isic3", data="isic2019 at /data/isic", demo=False, policy="exhaustive",
        profile="cpu", device="CPU, 2 cores", stages_trained=15, stages_reused=0,
        stages_pruned=0, stages_naive=33, wall_seconds=3725.0, interrupted=False,
        started="2026-01-31T09:30:00+00:00",
    )  # fmt: skip


def _space(tasks: tuple[str, ...]) -> Space:
    return Space(
        name="isic3",
        tasks={name: TaskChoice(name, lr_range=RATES) for name in tasks},
        max_length=len(tasks),
        lr_policy="halving",
        seed=0,
        repeats=1,
        controls=False,
        label_curve=False,
        lr_judge="pretext",
        test=True,
        budget=Budget(),
        early_stop=2.0,
        store="runs/store",
        cache="runs/cache",
        data=Data("isic2019", "/data/isic", 3, 0.15, 0.15, False),
        downstream=Downstream("classify", BALANCED.name, (0.003, 0.01, 0.03)),
        profile=Profile(
            name="cpu", backbone="resnet10", image_size=64, cache_size=72, precision="float32",
            bn_groups=4, batch=64, steps=120, lr_steps=20, warmup=0.05, downstream_batch=64,
            downstream_steps=12 * EPOCHS, downstream_lr_steps=24, label_fraction=0.3,
            curve=0, lr_judge="pretext", repeats=1, controls=False, label_curve=False,
            budget=None,
        ),
        policy=Policy("exhaustive", {}),
        runtime=RuntimeChoice(1, None, None, None, 10, 20.0, 2),
        probe=True,
        starts={"scratch": Start(), "imagenet": Start("resnet.safetensors", chains=False)},
    )  # fmt: skip


def _finished(
    store: FolderStore, plan: Plan, chain: Chain, score: float, classes: list[str]
) -> ChainResult:
    stages, downstream = plan.stages(Node(chain)), plan.score(Node(chain))
    rng = np.random.default_rng(round(100 * score))
    if stages:
        _write_stage(store, stages[-1], rng)
    _write_score(store, downstream, score, rng, classes)
    if start := downstream.inputs.get("backbone") if not stages else None:
        store.path(start).mkdir(exist_ok=True)
        _write_weights(store.path(start), rng)
    return ChainResult(
        chain, "done", scored(score, score - 1.9, score + 1.8),
        stage_key=stages[-1].key() if stages else None, downstream_key=downstream.key(),
        probe_key=_write_probe(store, plan, Node(chain), score),
    )  # fmt: skip


def _write_stage(store: FolderStore, spec: StageSpec, rng: np.random.Generator) -> None:
    """A stage whose rate 0.03 wins; 0.1, on the edge, for moco."""
    best = 3 if spec.name == "moco" else 2
    rows = [
        {
            "step": step, "epoch": step / 20, "lr": RATES[best], "images_per_second": 160.0,
            "loss": 1 + 3 * math.exp(-step / 30) + rng.normal(0, 0.03),
        }
        for step in range(10, 121, 10)
    ]  # fmt: skip
    diverges = spec.name == "odc"
    trials = [_trial(rate, index, best, diverges, rng) for index, rate in enumerate(RATES)]
    result = {
        "loss": rows[-1]["loss"], "lr": RATES[best], "lr_index": best, "lr_at_edge": best == 3,
        "images_per_second": 160.0, "seconds": 100.0, "lr_seconds": 20.0, "steps": 120,
        "accuracy": 0.5, "chance_level": 0.125,
    }  # fmt: skip
    probes = [
        {"step": step, "macro_auroc": 75 + step / 20, "knn": 30.0, "rankme": 40.0}
        for step in (0, 60, 120)
    ]
    confusion = None
    if spec.name == "relative_location":
        confusion = (rng.integers(5, 20, (8, 8)) + 60 * np.eye(8, dtype=int)).tolist()
    found = {"lr_range": trials, "train": rows, "confusion": confusion, "probes": probes}
    folder = _commit(store, spec, result, found)
    _write_weights(folder, rng)


def _write_weights(folder: Path, rng: np.random.Generator) -> None:
    weights = {"conv1.weight": rng.normal(0, 0.1, (64, 3, 7, 7)).astype(np.float32)}
    save_file(weights, folder / "backbone.safetensors")


def _trial(
    rate: float, index: int, best: int, diverges: bool, rng: np.random.Generator
) -> dict[str, Any]:
    diverged = diverges and index == 3
    score = None if diverged else 0.62 - 0.08 * abs(index - best) + rng.normal(0, 0.02)
    scores = {"10": None if score is None else 0.5, "40": score}
    if index == 0:  # left behind, though it was ahead
        scores = {"10": 0.9}
    return {
        "lr": rate, "steps": 40 if len(scores) == 2 else 10, "scores": scores, "diverged": diverged,
        "loss": [2.0, 1.5], "reason": "",
    }  # fmt: skip


def _write_score(
    store: FolderStore,
    spec: StageSpec,
    score: float,
    rng: np.random.Generator,
    classes: list[str],
) -> None:
    rows = [
        {
            "epoch": epoch, "step": 12 * epoch, "lr": 0.01,
            "loss": 0.4 + 1.6 * math.exp(-epoch / 4),
            "objective": score - 30 * math.exp(-epoch / 3) + rng.normal(0, 0.4),
        }
        for epoch in range(1, EPOCHS + 1)
    ]  # fmt: skip
    trials = [
        {"lr": r, "steps": 20, "scores": {"20": s}, "diverged": False, "loss": []}
        for r, s in ((0.003, score - 6), (0.01, score - 3), (0.03, score - 4))
    ]
    result = {"best_epoch": EPOCHS, "lr": 0.01, "lr_at_edge": False, "seconds": 50.0}
    folder = _commit(store, spec, result, {"lr_range": trials, "train": rows})
    (folder / "meta.json").write_text(json.dumps({"classes": classes}))
    _write_weights(folder, rng)
    for split, count in (("val", 2400), ("test", 1200)):
        _write_predictions(folder / f"{split}.parquet", score / 100, count, rng, len(classes))


def _write_probe(store: FolderStore, plan: Plan, node: Node, score: float) -> str:
    spec = plan.probe(node)
    found = {"linear": score - 9, "knn": score - 12}
    measures = {k: Measure(v, v - 1, v + 1, "%", True) for k, v in found.items()}
    _commit(store, spec, {"seconds": 1.0}, {}, asdict(Score("linear", measures)))
    return spec.key()


def _write_predictions(
    path: Path, recall: float, count: int, rng: np.random.Generator, classes: int
) -> None:
    """Predictions whose balanced accuracy is the recall, as near as the images allow."""
    order = np.random.default_rng(0)  # the images are the same whatever the chain
    shares = 1 / np.arange(1, classes + 1)
    labels = order.choice(classes, count, p=shares / shares.sum())
    easy = order.random(count) + rng.random(count)  # chains mostly fail on the same images
    shown = (labels + rng.integers(1, classes, count)) % classes
    for k, hits in enumerate(_hits(np.bincount(labels, minlength=classes), recall)):
        right = np.flatnonzero(labels == k)
        right = right[np.argsort(easy[right])[:hits]]
        shown[right] = labels[right]
    scores = np.full((count, classes), 0.01)
    scores[np.arange(count), shown] = 0.9
    columns: dict[str, Any] = {"image": [f"image{i}" for i in range(count)]}
    columns |= {"group": [f"lesion{i // 2}" for i in range(count)], "label": labels}
    columns |= {f"p{k}": scores[:, k] for k in range(classes)}
    pq.write_table(pa.table(columns), path)


def _hits(counts: np.ndarray, recall: float) -> list[int]:
    """Right images of each class: below the recall, then up to it, coarse classes first."""
    hits = np.floor(recall * counts).astype(int)
    for k in np.argsort(counts):
        if (((hits + (np.arange(len(counts)) == k)) / counts).mean()) <= recall:
            hits[k] += 1
    return hits.tolist()


def _commit(
    store: FolderStore,
    spec: StageSpec,
    result: dict[str, Any],
    history: dict[str, Any],
    score: dict[str, Any] | None = None,
) -> Path:
    folder = store.path(spec.key())
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"key": spec.key(), "spec": asdict(spec), "result": result, "seconds": 100.0}
    manifest["score"] = score
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def load_snippet(path: Path) -> Any:
    """Import a written `load.py`."""
    spec = importlib.util.spec_from_file_location("load_best", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
