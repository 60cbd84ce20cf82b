"""Stage specifications: from a space and a chain to the keys of its stages and score. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from search.chains.chain import BASELINES, IMAGENET, SCRATCH
from search.chains.node import Node, rates_in
from search.space import Downstream, Space, TaskChoice
from trainables.architectures import ARCHITECTURES
from trainables.downstream.measures import MEASURES
from trainables.errors import UserError
from trainables.plugins import version
from trainables.spec import DataSpec, DownstreamSpec, LRPolicy, MeasureType, StageSpec, Training
from trainables.training.lr_range import planned

PRETEXT, DOWNSTREAM = "trainables.pretext", ("trainables.downstream", "finetune")


def data_spec(space: Space) -> DataSpec:
    data = space.data
    return DataSpec(
        name=data.name,
        params=data.params,
        size=space.profile.cache_size,
        channels=data.channels,
        val=data.val,
        test=data.test,
        seed=space.seed,
        merge_duplicates=data.merge_duplicates,
    )


@dataclass(frozen=True)
class Plan:
    """The specification of every stage and every score of one space on one data set.

    Every stage tries its task's whole range, or the node's window of it. A repeat changes the seed
    of every stage and of the score, but not the split.
    """

    space: Space
    data_digest: str
    imagenet_digest: str | None = None

    def stages(self, node: Node) -> tuple[StageSpec, ...]:
        """Return the specifications of the node's stages in order; none for a baseline."""
        specs: list[StageSpec] = []
        space, profile = self.space, self.space.profile
        for name in () if node.chain[0] in BASELINES else node.chain:
            task = space.tasks[name]
            rates = rates_in(task.lr_range, node.window(name))
            lr = LRPolicy(rates, profile.lr_epochs, space.lr_policy)
            spec = StageSpec(
                pretext=name,
                params=task.params,
                augment=space.data.augment,
                training=self._training(task, profile.epochs, profile.batch, lr),
                data=data_spec(space),
                data_digest=self.data_digest,
                seed=space.seed + node.repeat,
                version=version(PRETEXT, name),
                parent=specs[-1].key() if specs else None,
            )
            specs.append(spec)
        return tuple(specs)

    def downstream(self, node: Node) -> DownstreamSpec:
        """Return the specification of the node's score; a baseline is the chain of its name."""
        space, profile, stages = self.space, self.space.profile, self.stages(node)
        task = space.downstream
        lr = LRPolicy(task.lr_range, profile.downstream_lr_epochs, space.lr_policy)
        return DownstreamSpec(
            training=self._training(task, profile.downstream_epochs, profile.downstream_batch, lr),
            augment=space.data.augment,
            objective=task.objective,
            label_fraction=profile.label_fraction,
            class_balanced=task.class_balanced,
            probes=task.probes,
            data=data_spec(space),
            data_digest=self.data_digest,
            seed=space.seed + node.repeat,
            version=version(*DOWNSTREAM),
            parent=stages[-1].key() if stages else None,
            weights=self.imagenet_digest if node.chain == (IMAGENET,) else None,
        )

    @property
    def objective(self) -> MeasureType:
        return MEASURES[self.space.downstream.objective]

    def baselines(self) -> tuple[Node, ...]:
        """Return the baselines that can be run: `imagenet` needs a weight file."""
        names = BASELINES if self.imagenet_digest else (SCRATCH,)
        return tuple(Node((name,)) for name in names)

    def identity(self) -> Mapping[str, object]:
        """Return everything that decides which results the search asks for; names its journal."""
        space = asdict(self.space)
        for elsewhere in ("store", "cache", "runtime", "budget", "repeats", "early_stop", "report"):
            space.pop(elsewhere)
        space["data"].pop("root")
        for name, task in space["tasks"].items():
            task["version"] = version(PRETEXT, name)
        space["downstream"]["version"] = version(*DOWNSTREAM)
        return {"space": space, "data": self.data_digest, "imagenet": self.imagenet_digest}

    def _training(
        self, task: TaskChoice | Downstream, epochs: float, batch: int, lr: LRPolicy
    ) -> Training:
        profile = self.space.profile
        assert profile.precision != "auto", "resolved by hardware.resolve"
        return Training(
            backbone=profile.backbone,
            image_size=profile.image_size,
            epochs=epochs,
            global_batch=batch,
            bn_groups=profile.bn_groups,
            precision=profile.precision,
            optimizer=task.optimizer,
            weight_decay=task.weight_decay,
            warmup=profile.warmup,
            lr=lr,
        )


def file_digest(path: str) -> str:
    """Return the sha256 of a weight file (16 digits); UserError if it can't be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UserError(
            f"baselines.imagenet={path}: must be a file to read ({error.strerror}); try a "
            "torchvision or timm ResNet as .safetensors or .pth, or null to leave the row out"
        ) from None


def backbone_bytes(name: str) -> int:
    """Return a backbone's size on disk in float32; generous for one that is not known."""
    return (ARCHITECTURES[name].megabytes if name in ARCHITECTURES else 200) << 20


@dataclass(frozen=True)
class Cost:
    """Seconds of one worker group, from image counts and images per second."""

    stage: float
    score: float


def estimate(space: Space, images: int) -> Cost:
    """Estimate the cost of a stage and a score; a pretext image costs about two labelled ones."""
    profile = space.profile
    ranges = [task.lr_range for task in space.tasks.values()]
    trials = sum(_trials(space, rates, profile.lr_epochs) for rates in ranges) / len(ranges)
    stage = images * (profile.epochs + trials) * 2
    labelled = images * profile.label_fraction
    trials = _trials(space, space.downstream.lr_range, profile.downstream_lr_epochs)
    score = labelled * (profile.downstream_epochs + trials)
    return Cost(stage / profile.images_per_second, score / profile.images_per_second)


def _trials(space: Space, rates: tuple[float, ...], epochs: float) -> float:
    """Return the epochs that the LR policy trains in total."""
    return planned(LRPolicy(rates, epochs, space.lr_policy), 1000) / 1000 * epochs
