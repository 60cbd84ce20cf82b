"""Specification of a stage: everything that decides its result, hashed into its key.

Identity (`StageSpec`, `DownstreamSpec`) and runtime (`Runtime`) are different types, so no field
has to be left out of the hash. A parent is named by its key, so a key covers the whole chain.
Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

FORMAT = 1  # version of keys and of files under a key; a store of another format is refused
Value: TypeAlias = "bool | int | float | str | list[Value] | None"
Settings: TypeAlias = Mapping[str, Value]  # of a plug-in, as in its YAML file


@dataclass(frozen=True)
class DataSpec:
    """Images, how they are decoded and how they are split; where they lie is not part of it."""

    name: str  # a file in trainables/data/
    params: Settings
    size: int  # side of the cached square, px
    channels: int  # 1 or 3
    val: float  # fractions of every class's images, in whole patient groups
    test: float
    seed: int  # of the split
    merge_duplicates: bool = False  # merge patient groups that share near-duplicates

    def __post_init__(self) -> None:
        assert self.channels in (1, 3), self.channels


@dataclass(frozen=True)
class LRPolicy:
    """Learning rates to try for up to `epochs` from the same weights; see `lr_range.POLICIES`."""

    range: tuple[float, ...]  # rising
    epochs: float
    name: str = "halving"


@dataclass(frozen=True)
class Training:
    """Settings of every kind of training. An epoch is one pass over the images trained on."""

    backbone: str
    image_size: int  # side of a full view, px
    epochs: float
    global_batch: int
    bn_groups: int  # BatchNorm groups of the global batch, whatever the number of workers
    precision: Literal["float32", "bfloat16"]
    optimizer: str
    weight_decay: float
    warmup: float  # fraction of the steps
    lr: LRPolicy


@dataclass(frozen=True)
class StageSpec:
    """One training run of one pretext task, from the parent's backbone or from scratch."""

    pretext: str
    params: Settings
    augment: Settings
    training: Training
    data: DataSpec
    data_digest: str
    seed: int
    version: str  # of the task's code
    parent: str | None  # key of the parent stage
    format: int = FORMAT

    def key(self) -> str:
        return f"{self.pretext}-{digest(asdict(self))}"


@dataclass(frozen=True)
class DownstreamSpec:
    """The downstream task: fine-tune the parent's backbone and score it on validation."""

    training: Training
    augment: Settings
    objective: str  # the measure that decides the best epoch
    label_fraction: float
    class_balanced: bool
    probes: bool
    data: DataSpec
    data_digest: str
    seed: int
    version: str
    parent: str | None  # key of a stage; None: from scratch
    weights: str | None = None  # digest of a weight file to start from (ImageNet)
    format: int = FORMAT

    def key(self) -> str:
        return f"downstream-{digest(asdict(self))}"


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
