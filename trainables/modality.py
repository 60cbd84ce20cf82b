"""The augmentations that a modality allows. No torch here: the search checks spaces with it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from trainables.schema import Fraction, Schema, read
from trainables.spec import Settings

Mean = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=3)]
Std = Annotated[list[Annotated[float, Field(ge=0.001, le=1)]], Field(min_length=1, max_length=3)]


@dataclass(frozen=True)
class Preset(Schema):
    """A modality's augmentations (`spaces/modality/*.yaml`) in torchvision's units."""

    hflip: bool = False
    vflip: bool = False
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # degrees to either side; 180: any angle
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # turns to either side
    grayscale: Fraction = 0.0
    blur: Fraction = 0.0
    mean: Mean | None = None  # 0..1, one per channel; None: measured on the training images
    std: Std | None = None

    @classmethod
    def of(cls, preset: Settings) -> "Preset":
        return read(cls, preset, "data.augment")

    def mild(self) -> "Preset":
        """Return the preset of fine-tuning: half the colour changes, no grayscale, no blur."""
        halves = {n: getattr(self, n) / 2 for n in ("brightness", "contrast", "saturation", "hue")}
        return Preset(self.hflip, self.vflip, self.rotate, **halves)
