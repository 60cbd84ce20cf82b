"""Specification of a stage: everything that decides its result, hashed into its key.

Identity (`StageSpec`) and runtime (`Runtime`) are different types, so no field has to be left out
of the hash. Inputs are named by their keys, so a key covers everything above it.
Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

FORMAT = 3  # version of keys and of files under a key; a store of another format is refused
PRETEXT, START, PROBE = "pretext", "start", "probe"  # kinds that chains have of themselves
CLASSIFY = "classify"  # the kind of fine-tuning that has a label curve and external test sets
EXTERNAL = "external"  # the kind that judges a finished fine-tuning elsewhere; its images' role
FEATURES = "features"  # the kind that judges features from elsewhere; the place of their file
BACKBONE, POOL, IMAGES, WEIGHTS = "backbone", "pool", "images", "weights"  # roles
DRAWN = "drawn_masks"  # the kind that draws masks with a finished segmenter
MASKS = "masks"  # the role of masks of the images: a data set of one channel, 255 inside
SCORE = "score"  # the role of a finished fine-tuning
Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Settings: TypeAlias = Mapping[str, Value]  # of a plug-in, as in its YAML file


@dataclass(frozen=True)
class FurtherData:
    """A data set whose images join the pool; where it lies is not part of it."""

    name: str  # a file in trainables/data/
    params: Settings


@dataclass(frozen=True)
class DataSpec:
    """Images, how they are decoded and how they are split; where they lie is not part of it."""

    name: str  # a file in trainables/data/
    params: Settings
    size: int  # side of the cached square, px
    channels: int  # 1 or 3
    val: float  # fractions of every class's images, in whole patient groups
    test: float  # 1: there is no other part
    seed: int  # of the split
    merge_duplicates: bool = False  # merge patient groups that share near-duplicates
    fit: str = "crop"  # how any shape becomes a square; see `images.fit.square`
    trim: bool = False  # cut borders
    window: tuple[float, ...] | None = None  # black and white of more than 8 bits
    # Not None: the pool, which is the training images, those without a label, and these.
    unlabelled: tuple[FurtherData, ...] | None = None
    masks: bool = False  # the masks of the images in their place

    def __post_init__(self) -> None:
        assert self.channels in (1, 3), self.channels

    @property
    def places(self) -> int:
        """How many places the images lie at, besides the data set's root."""
        return 1 if self.masks else len(self.unlabelled or ())


@dataclass(frozen=True)
class LRPolicy:
    """Learning rates to try for up to `steps` from the same weights; see `lr_range.POLICIES`.

    judge: what decides between the rates of a pretext task: its own score, or a frozen probe. grow:
    further rates on a side where the range's own end wins.
    """

    range: tuple[float, ...]  # rising
    steps: int
    name: str = "halving"
    judge: Literal["pretext", "probe"] = "pretext"
    grow: int = 0


@dataclass(frozen=True)
class Training:
    """Settings of every kind of training. steps: of the optimiser, each of `global_batch` images.

    fraction: of the labelled training images, whose labels are seen. augment: the modality's
    preset. trainable: all of the backbone, or `last_blocks=N`. layer_decay: factor of the learning
    rate from one block of the backbone to the one before. curve: frozen probes of a pretext task's
    full run, evenly spread.
    """

    backbone: str
    image_size: int  # side of a full view, px
    steps: int
    global_batch: int
    bn_groups: int  # BatchNorm groups of the global batch, whatever the number of workers
    precision: Literal["float32", "bfloat16"]
    optimizer: str
    weight_decay: float
    warmup: float  # fraction of the steps
    augment: Settings
    fraction: float
    lr: LRPolicy
    trainable: str = "all"
    layer_decay: float = 1.0
    curve: int = 0

    @property
    def probed(self) -> bool:
        """Whether the backbone of a pretext task is probed on the way, with labelled images."""
        return self.lr.judge == "probe" or self.curve > 0


@dataclass(frozen=True)
class KnownData:
    """A data set with the digest of its files and labels."""

    spec: DataSpec
    digest: str


@dataclass(frozen=True)
class StageSpec:
    """One node of the graph: whatever is trained, measured or made, by a kind of stage.

    kind: a file in trainables/kinds/. name: the pretext task, downstream task or start; the key
    begins with it. version: of the plug-in's code. training: None if nothing is trained. inputs:
    keys of stages by role, as `backbone`, `pool`; data: images by role, as `images`, `pool`.
    """

    kind: str
    name: str
    params: Settings
    version: str
    training: Training | None
    inputs: Mapping[str, str]
    data: Mapping[str, KnownData]
    seed: int
    format: int = FORMAT

    def key(self) -> str:
        return f"{self.name}-{digest(asdict(self))}"

    @property
    def trained(self) -> Training:
        """The settings of a kind of stage that trains."""
        assert self.training, self.kind
        return self.training


@dataclass(frozen=True)
class Runtime:
    """Where and how a stage runs: never hashed, changes no result beyond float tolerance."""

    device: str = "cpu"
    threads: int = 0  # per worker; 0: torch's own choice
    log_every: int = 10  # steps between reports
    checkpoint_seconds: float = 20.0


@dataclass(frozen=True)
class Measure:
    """One number of a downstream task, with its 95 % interval over patient groups, in `unit`."""

    value: float
    low: float
    high: float
    unit: str  # may be ""
    higher_is_better: bool

    @property
    def merit(self) -> float:
        """Return the value, signed so that higher is better; policies maximise it."""
        return self.value if self.higher_is_better else -self.value


@dataclass(frozen=True)
class Score:
    """A chain's measures by name; it is judged by the one named `objective`."""

    objective: str
    measures: Mapping[str, Measure]

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "Score":
        """Read a score, or a result that has one; KeyError or TypeError if there is none."""
        measures = {name: Measure(**known) for name, known in plain["measures"].items()}
        return cls(plain["objective"], measures)

    @property
    def judged(self) -> Measure:
        return self.measures[self.objective]

    @property
    def value(self) -> float:
        return self.judged.value

    @property
    def low(self) -> float:
        return self.judged.low

    @property
    def high(self) -> float:
        return self.judged.high

    @property
    def merit(self) -> float:
        return self.judged.merit


@dataclass(frozen=True)
class MeasureType:
    """A measure as its downstream task declares it; title: for people."""

    name: str
    title: str
    unit: str = "%"
    higher_is_better: bool = True

    @property
    def with_unit(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def measure(self, value: float, low: float, high: float) -> Measure:
        return Measure(value, low, high, self.unit, self.higher_is_better)

    def score(self, value: float, low: float, high: float) -> Score:
        """Return a score of this measure alone."""
        return Score(self.name, {self.name: self.measure(value, low, high)})

    def merit(self, value: float) -> float:
        """Return the value, signed so that higher is better; twice gives the value back."""
        return self.measure(value, value, value).merit


def canonical_json(value: Any) -> str:
    """Return equal texts for equal values: sorted keys, no spaces; ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
