"""Stage specifications: from a space and a chain to the keys of its stages and score. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from search.chains.chain import SCRATCH, Chain
from search.chains.given import begun
from search.chains.images import (
    data_spec,
    draws_masks,
    external_spec,
    masks_spec,
    pool_roots,
    pool_spec,
)
from search.chains.lengths import FROM_SCRATCH, PUBLISHED, steps_of, tells, too_short, trial_of
from search.chains.node import FULL, Node, rates_in
from search.space import Downstream, Space, TaskChoice
from trainables.architectures import TRANSFORMER, is_transformer
from trainables.modality import augment_of
from trainables.plugins import load, version
from trainables.spec import (
    BACKBONE,
    DRAWN,
    EXTERNAL,
    FEATURES,
    FORMAT,
    IMAGES,
    MASKS,
    POOL,
    PRETEXT,
    PROBE,
    SCORE,
    START,
    WEIGHTS,
    KnownData,
    LRPolicy,
    MeasureType,
    Settings,
    StageSpec,
    Training,
)

TASKS, KINDS = "trainables.pretext", "trainables.kinds"
GROWTH = 2  # rates beyond an end of a range that wins; not where trials are too short to tell
NOTHING: Mapping[str, KnownData] = {}
ELSEWHERE = (  # in a space: decides no result that a policy asks for
    "store", "cache", "runtime", "budget", "repeats", "early_stop", "report", "controls",
    "label_curve", "test", "external", "published",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The specification of every stage of one space on one data set.

    Every stage of a chain tries its task's whole range, or the node's window of it. A repeat
    changes the seed of a chain's stages, probe and score, but not the split. weights: digests of
    the starts' files by name. external_digests: those of the external test sets. pool: the digest
    of the pool; None where there is no image without a label. features: digests of the files of
    features from elsewhere, by name. count: of the images to train on; pool_count: of the pool.
    They decide the lengths that are given as tables. masks: the digest of the images' masks, or of
    the file that draws them.
    """

    space: Space
    data_digest: str
    weights: Mapping[str, str] = field(default_factory=dict)
    external_digests: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    count: int = 0
    pool_count: int = 0
    masks: str | None = None

    def graph(self, node: Node) -> tuple[StageSpec, ...]:
        """Return all that is done for the node: inputs before what they are for, score last."""
        made = () if node.frozen else (self._made(), self.drawn())
        roots = [spec for spec in (self._start(node), *made) if spec]
        probes = [spec for spec in (self.probe(node),) if spec and not node.frozen]
        tuned = [self._tuned(node)] if node.external else []
        return (*roots, *self.stages(node), *probes, *tuned, self.score(node))

    def stages(self, node: Node) -> tuple[StageSpec, ...]:
        """Return the pretext stages of the node in order; none for a baseline."""
        last, specs = self._start(node), list[StageSpec]()
        for name in node.chain.tasks:
            last = self._stage(name, node, last)
            specs.append(last)
        return tuple(specs)

    def _stage(self, name: str, node: Node, parent: StageSpec | None) -> StageSpec:
        space, profile, task = self.space, self.space.profile, self.space.tasks[name]
        window, (first, later) = node.window(name), space.ranges[name]
        rates = rates_in(first if parent is None else later, window)
        steps = self._steps(task, node, parent is None)
        lr = self._lr(rates, profile.lr_steps, steps, window == FULL)
        training = self._probed(self._training(task, node, steps, profile.batch, lr))
        made, labelled = self._made(), {IMAGES: self._images} if training.probed else {}
        return StageSpec(
            kind=PRETEXT,
            name=name,
            params=task.params,
            version=f"{version(KINDS, PRETEXT)}.{version(TASKS, name)}",
            training=training,
            inputs=_keys({BACKBONE: parent, POOL: made}),
            data=labelled if made else {POOL: self._pool(node), **labelled},
            seed=space.seed + node.repeat,
        )

    def _probed(self, training: Training) -> Training:
        """Return the training of a stage with its judge, its learning curve, and their labels."""
        space, profile, lr = self.space, self.space.profile, training.lr
        judged = replace(lr, judge=space.judge if len(lr.range) > 1 else "pretext")
        found = replace(training, lr=judged, curve=profile.curve)
        return replace(found, fraction=profile.label_fraction) if found.probed else found

    @property
    def lengths(self) -> Mapping[str, tuple[int, int]]:
        """Steps of a task's stage, from a fresh backbone and from one that has learnt, by task."""
        tasks = [(task, Node(Chain((name,)))) for name, task in self.space.tasks.items()]
        return {t.name: (self._steps(t, n, True), self._steps(t, n, False)) for t, n in tasks}

    @property
    def short(self) -> tuple[str, ...]:
        """Lines on stages and a fine-tuning that are too short to matter."""
        tuned = {self.space.downstream.kind: self.tuned_steps()}
        kinds = 1 if self.space.max_length == 1 and self.space.grown_starts == (SCRATCH,) else 2
        return too_short({name: min(two[:kinds]) for name, two in self.lengths.items()}, tuned)

    def tuned_steps(self, fraction: float | None = None) -> int:
        """Return the length of a fine-tuning with this fraction of the labels, or the profile's."""
        profile = self.space.profile
        labelled = max(1, round((fraction or profile.label_fraction) * self.count))
        return steps_of(profile.downstream_steps, self.space.downstream.steps, labelled)

    def _steps(self, task: TaskChoice, node: Node, fresh: bool) -> int:
        """Return the length of a stage; its task's table is for a backbone that has learnt."""
        given, pooled = self.space.profile.steps, self.pool is not None and not node.without_pool
        times = FROM_SCRATCH if given == PUBLISHED and fresh else 1
        return times * steps_of(given, task.steps, self.pool_count if pooled else self.count)

    def _lr(self, rates: tuple[float, ...], given: int | None, steps: int, whole: bool) -> LRPolicy:
        """Return how a rate is chosen. whole: the range is no window, which has neighbours."""
        trial, policy = trial_of(given, steps), self.space.lr_policy
        grows = whole and policy != "full_range" and len(rates) > 1 and tells(trial, steps)
        return LRPolicy(rates, trial, policy, grow=GROWTH if grows else 0)

    def score(self, node: Node) -> StageSpec:
        """Return what the node is judged by: downstream task, external test set, frozen probe."""
        if node.frozen:
            probe = self.probe(node)
            assert probe, "the space has no probes"
            return probe
        return self.external(node, node.external) if node.external else self._tuned(node)

    def external(self, node: Node, name: str) -> StageSpec:
        """Return the judgement of the node's fine-tuned network on an external test set."""
        profile, chosen = self.space.profile, self.space.external[name]
        return StageSpec(
            kind=EXTERNAL,
            name=name,
            params={
                "objective": self.space.downstream.objective,
                "backbone": profile.backbone,
                "image_size": profile.image_size,
                "classes": dict(chosen.classes),
            },
            version=version(KINDS, EXTERNAL),
            training=None,
            inputs=_keys({SCORE: self._tuned(node)}),
            data={
                EXTERNAL: KnownData(external_spec(self.space, name), self.external_digests[name])
            },
            seed=self.space.seed,
        )

    def _tuned(self, node: Node) -> StageSpec:
        """Return the downstream task on the node's backbone, or on features from elsewhere."""
        space, profile, task = self.space, self.space.profile, self.space.downstream
        if node.chain.start in self.features:
            return self._features(node, None)
        fraction = node.labels or profile.label_fraction
        last = self._last(node)
        rates = task.lr_range_later if last and task.lr_range_later else task.lr_range
        steps = self.tuned_steps(fraction)
        lr = self._lr(rates, profile.downstream_lr_steps, steps, True)
        training = self._training(task, node, steps, profile.downstream_batch, lr)
        return StageSpec(
            kind=task.kind,
            name=task.kind,
            params={**task.params, "objective": task.objective},
            version=version(KINDS, task.kind),
            training=replace(training, fraction=fraction, layer_decay=self._layer_decay),
            inputs=_keys({BACKBONE: last, MASKS: self.drawn()}),
            data={IMAGES: self._images, **self._masks},
            seed=space.seed + node.repeat,
        )

    @property
    def _layer_decay(self) -> float:
        """Return the factor of fine-tuning's rates from block to block."""
        return TRANSFORMER.layer_decay if is_transformer(self.space.profile.backbone) else 1.0

    def probe(self, node: Node) -> StageSpec | None:
        """Return the probes of the node's frozen backbone; None where the space has none."""
        space, profile = self.space, self.space.profile
        if not space.probe:
            return None
        if node.chain.start in self.features:
            return self._features(node, "val" if node.labels else "train")
        judged = {"on": "val", "objective": space.downstream.objective} if node.labels else {}
        return StageSpec(
            kind=PROBE,
            name=PROBE,
            params={
                "backbone": profile.backbone,
                "image_size": profile.image_size,
                "fraction": node.labels or profile.label_fraction,
                "mean": space.data.augment["mean"],
                "std": space.data.augment["std"],
                **judged,
            },
            version=version(KINDS, PROBE),
            training=None,
            inputs=_keys({BACKBONE: self._last(node)}),
            data={IMAGES: self._images},
            seed=space.seed + node.repeat,
        )

    def _features(self, node: Node, on: str | None) -> StageSpec:
        """Return a judgement of features from elsewhere. on: of the probe; None for the score."""
        name, objective = node.chain.start, {"objective": self.space.downstream.objective}
        return StageSpec(
            kind=FEATURES,
            name=name,
            params={
                "sha256": self.features[name],
                "fraction": node.labels or self.space.profile.label_fraction,
                "on": on,
                **({} if on == "train" else objective),
            },
            version=version(KINDS, FEATURES),
            training=None,
            inputs={},
            data={IMAGES: self._images},
            seed=self.space.seed + node.repeat,
        )

    def _last(self, node: Node) -> StageSpec | None:
        """Return what made the node's backbone; None for a fresh one."""
        stages = self.stages(node)
        return stages[-1] if stages else self._start(node)

    def _start(self, node: Node) -> StageSpec | None:
        """Return the weights that the node begins with; None from scratch."""
        name, profile = node.chain.start, self.space.profile
        if name not in self.weights:
            return None
        known = {"sha256": self.weights[name], "backbone": profile.backbone}
        return self._root(START, name, {**known, "channels": self.space.data.channels})

    def _made(self) -> StageSpec | None:
        """Return the stage that makes the images of the pretext tasks, if one does."""
        made = self.space.data.pool
        if made is None:
            return None
        return self._root(made.kind, made.kind, made.params, {IMAGES: self._images})

    def drawn(self) -> StageSpec | None:
        """Return the stage that draws the masks, if one does."""
        if self.masks is None or not draws_masks(self.space):
            return None
        return self._root(DRAWN, DRAWN, {"sha256": self.masks}, {IMAGES: self._images})

    def _root(
        self, kind: str, name: str, params: Settings, data: Mapping[str, KnownData] = NOTHING
    ) -> StageSpec:
        return StageSpec(kind, name, params, version(KINDS, kind), None, {}, data, self.space.seed)

    def places(self, spec: StageSpec) -> Mapping[str, str]:
        """Return where the images and the weight file of a stage lie, by role."""
        elsewhere = self.space.external[spec.name] if spec.kind == EXTERNAL else None
        root = elsewhere.root if elsewhere else self.space.data.root
        images = dict.fromkeys(spec.data, root) if root else {}
        if POOL in spec.data and spec.data[POOL].spec.unlabelled is not None:
            roots = enumerate(pool_roots(self.space))
            images |= {f"{POOL} {k}": further for k, further in roots if further}
        if MASKS in spec.data and self.space.data.masks:
            images[f"{MASKS} 0"] = self.space.data.masks
        if spec.kind == DRAWN and self.space.data.masks:
            return images | {WEIGHTS: self.space.data.masks}
        if spec.kind == FEATURES:
            return images | {FEATURES: self.space.baselines.features[spec.name]}
        file = self.space.starts[spec.name].weights if spec.kind == START else None
        return images | ({WEIGHTS: file} if file else {})

    def _pool(self, node: Node) -> KnownData:
        """Return the images of the node's pretext tasks."""
        if self.pool is None or node.without_pool:
            return self._images
        return KnownData(pool_spec(self.space), self.pool)

    @property
    def _masks(self) -> Mapping[str, KnownData]:
        """Return the masks of the images as a role, where there are any and no stage makes them."""
        if self.masks is None or draws_masks(self.space):
            return {}
        return {MASKS: KnownData(masks_spec(self.space), self.masks)}

    @property
    def _images(self) -> KnownData:
        return KnownData(data_spec(self.space), self.data_digest)

    @property
    def measures(self) -> Mapping[str, MeasureType]:
        """What the downstream task declares; imports it, and so torch."""
        found: Mapping[str, MeasureType] = load(KINDS, self.space.downstream.kind).measures
        return found

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the measures that stand in the table beside the objective."""
        usual: tuple[str, ...] = load(KINDS, self.space.downstream.kind).shown
        given = self.space.report.measures
        return usual if given is None else given

    @property
    def objective(self) -> MeasureType:
        """The measure that chains are judged by; see `measures`."""
        return self.measures[self.space.downstream.objective]

    def title(self, name: str, unit: str) -> str:
        """Return a measure's title with its unit; `sensitivity/MEL`: of one class."""
        kind, _, label = name.partition("/")
        known = self.measures[kind].title if kind in self.measures else kind
        return ", ".join(filter(None, (known, unit, label)))

    def baselines(self) -> tuple[Node, ...]:
        """Return the baselines that can be run: scratch, weight files, features from elsewhere."""
        names = [name for name in self.space.starts if name == SCRATCH or name in self.weights]
        return tuple(Node(Chain((), name)) for name in (*names, *self.features))

    def frozen(self) -> tuple[Node, ...]:
        """Return the baselines as judged by their frozen probes; the first jobs of a search.

        None if there is one baseline, whose probe comes first by itself.
        """
        starts = self.baselines() if self.space.probe else ()
        return tuple(replace(start, frozen=True) for start in starts) if len(starts) > 1 else ()

    def identity(self) -> Mapping[str, object]:
        """Return everything that decides which results the search asks for; names its journal."""
        space = asdict(self.space)
        for elsewhere in ELSEWHERE:
            space.pop(elsewhere)
        for default in ("lr_judge", "repeats", "controls", "label_curve"):
            space["profile"].pop(default)
        for place in ("root", "unlabelled"):
            space["data"].pop(place)
        space.pop("pool")  # its digest covers it
        space["data"].pop("masks")  # the same
        more = {key: space.pop(key) for key in ("starts", "baselines", "max_starts")}
        nodes = [Node(Chain((), name)) for name in (*more["starts"], *self.features)]
        nodes += [Node(Chain((task,))) for task in self.space.tasks]
        versions = {str(node): [spec.version for spec in self.graph(node)] for node in nodes}
        return {
            "space": space, "versions": versions, "data": self.data_digest,
            "weights": dict(self.weights), "format": FORMAT,
            **({} if self.pool is None else {"pool": self.pool}),
            **({} if self.masks is None else {"masks": self.masks}),
            **begun(self.space, self.features),
        }  # fmt: skip

    def _training(
        self, task: TaskChoice | Downstream, node: Node, steps: int, batch: int, lr: LRPolicy
    ) -> Training:
        profile = self.space.profile
        assert profile.precision != "auto", "resolved by hardware.resolve"
        name = task.name if isinstance(task, TaskChoice) else ""
        return Training(
            backbone=profile.backbone,
            image_size=profile.image_size,
            steps=steps,
            global_batch=batch,
            bn_groups=profile.bn_groups,
            precision=profile.precision,
            optimizer=task.optimizer,
            weight_decay=task.weight_decay,
            warmup=profile.warmup,
            augment=augment_of(self.space.data.augment, name),
            fraction=1.0,
            lr=lr,
            trainable=self.space.starts[node.chain.start].trainable,
        )


def _keys(inputs: Mapping[str, StageSpec | None]) -> dict[str, str]:
    return {role: spec.key() for role, spec in inputs.items() if spec}
