"""Which shortcuts views leave: colours that find the other view, aliasing, places of patches.

    python tests/benchmarks/views.py ../shared/data/isic-mini/ISIC_2019_Training_Input
    python tests/benchmarks/views.py ../shared/data/cxr-covid-mini/images --modality xray

About a minute of one core for 1,025 images drawn from the folder by the seed. Nothing is
trained but linear models. `before` is what views were: same code, other numbers.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from trainables.augment import FullView, View, blur, most_blur, sample  # noqa: E402
from trainables.images.fit import square  # noqa: E402
from trainables.modality import Preset  # noqa: E402
from trainables.pretext import relative_location  # noqa: E402
from trainables.pretext.relative_location import CENTRE, Patches  # noqa: E402
from trainables.task import Context, Draw  # noqa: E402

SIZE, CROP, CELLS = 64, (0.2, 1.0), 4  # px of a view; area of crops; sides of a patch for the model
COLOURS = ("brightness", "contrast", "saturation", "hue", "grayscale", "solarise")
PUBLISHED = {
    "MoCo v2's": (0.4, 0.4, 0.4, 0.1, 0.2, 0.0),
    "BYOL's": (0.4, 0.4, 0.2, 0.1, 0.2, 0.2),
    "SwAV's": (0.8, 0.8, 0.8, 0.2, 0.2, 0.0),
}
RIDGE = 1e-3
GRIDS = ((0.15, 0.7), (0.0, 0.873), (0.1, 0.45), (0.05, 0.4), (0.0, 0.45), (0.1, 0.35))
Row = tuple[str, ...]


def read(folder: Path, side: int, count: int, channels: int) -> Tensor:
    """Return some images as the cache has them: uint8 [n, channels, side, side]."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    chosen = np.random.default_rng(0).permutation(len(files))[:count]
    mode = "L" if channels == 1 else "RGB"
    images = [np.array(Image.open(files[k]).convert(mode)) for k in sorted(chosen)]
    squares = np.stack([square(image, side, channels, "crop") for image in images])
    return torch.from_numpy(squares.reshape(len(images), side, side, channels)).permute(0, 3, 1, 2)


def context(images: Tensor, preset: Preset) -> Context:
    each = images.float().transpose(0, 1).flatten(1) / 255
    n, channels = images.shape[:2]
    mean, std = tuple(each.mean(1).tolist()), tuple(each.std(1).tolist())
    return Context(n, n, 1, 1, SIZE, channels, mean, std, preset, 0)


def colours(images: Tensor, preset: Preset) -> Iterator[Row]:
    """Yield how often channel means and deviations alone find an image's other view."""
    kinds = {"the modality's": preset}
    if preset.saturation:
        kinds |= {
            name: replace(preset, **dict(zip(COLOURS, values, strict=True)))
            for name, values in PUBLISHED.items()
        }
    lit = replace(preset, brightness=0.4, contrast=0.4, planckian=True)
    kinds |= {"planckian": lit, "fine-tuning": preset.mild()}
    for name, kind in kinds.items():
        view = View.of(context(images, replace(kind, tasks={})), CROP)
        both = view(images, Draw(0, 0, len(images), "cpu"), 2)
        known = torch.cat([both.mean((2, 3)), both.std((2, 3))], 1)
        first, second = ((known - known.mean(0)) / known.std(0)).unflatten(0, (-1, 2)).unbind(1)
        distance = torch.cdist(first, second)
        rank = (distance < distance.diagonal()[:, None]).sum(1)
        yield name, f"{(rank == 0).float().mean():.1%}", f"{int(rank.median()) + 1}"


def sharpness(x: Tensor) -> Tensor:
    """Return the energy above the frequencies that a mean over 3 x 3 px keeps."""
    return (x - F.avg_pool2d(x, 3, 1, 1))[..., 2:-2, 2:-2].square().mean()


def aliasing(images: Tensor) -> Iterator[Row]:
    """Yield the sharpness of whole images as views, over that of evaluated ones."""
    known = context(images, Preset())
    evaluated = sharpness(FullView(known.mean, known.std, SIZE)(images))
    upright = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]).expand(len(images), -1, -1)
    grid = F.affine_grid(upright, [len(images), 1, SIZE, SIZE], align_corners=False)
    normal = View.of(known, (1.0, 1.0)).colour
    one = torch.ones(len(images))
    matrix = torch.eye(images.shape[1]).expand(len(images), -1, -1)
    plain = normal.change(sample([images.float()], grid, one), one, one, matrix)
    yield "before, upright", f"{sharpness(plain) / evaluated:.2f}"
    for name, degrees in (("now, upright", 0.0), ("now, any angle", 180.0)):
        view = View.of(replace(known, augment=Preset(rotate=degrees)), (1.0, 1.0))
        found = view(images, Draw(0, 0, len(images), "cpu"))
        yield name, f"{sharpness(found) / evaluated:.2f}"
    view = FullView(known.mean, known.std, SIZE)(images)
    for name, most in (("strongest blur before", 2 / 224 * SIZE), ("now", most_blur(SIZE))):
        blurred = blur(view, torch.full((len(view),), most), most)
        yield name, f"{sharpness(blurred) / evaluated:.2f}"


def places(images: Tensor) -> Iterator[Row]:
    """Yield what linear models tell of a patch's place: of it alone, and with its centre."""
    half = len(images) // 2
    for border, crop in GRIDS:
        params = relative_location.Plugin.Params(border=border, crop=crop)
        patches = Patches(params, context(images, Preset()))
        made = patches(images, Draw(0, 0, len(images), "cpu"))
        seen = F.adaptive_avg_pool2d(made.flatten(0, 1), CELLS).flatten(1).unflatten(0, (-1, 9))
        around = torch.cat([seen[:, :CENTRE], seen[:, CENTRE + 1 :]], 1)
        centre = seen[:, CENTRE : CENTRE + 1].expand_as(around)
        kinds = (around, torch.cat([around, centre], 2), torch.cat([around, centre.roll(1, 0)], 2))
        yield f"border {border}, crop {crop}", *(f"{_linear(x, half):.3f}" for x in kinds)


def _linear(x: Tensor, half: int) -> float:
    """Return the accuracy on the second half of a ridge regression on the first; x: [n, 8, k]."""
    labels = torch.arange(8).repeat(len(x))
    flat, cut = x.flatten(0, 1).double(), 8 * half
    known = F.pad((flat - flat[:cut].mean(0)) / flat[:cut].std(0), (0, 1), value=1.0)
    first, wanted = known[:cut], F.one_hot(labels[:cut], 8).double()
    ridge = RIDGE * cut * torch.eye(first.shape[1], dtype=torch.double)
    weights = torch.linalg.solve(first.T @ first + ridge, first.T @ wanted)
    return float(((known[cut:] @ weights).argmax(1) == labels[cut:]).double().mean())


def table(title: str, heads: Row, rows: Iterable[Row]) -> None:
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the shortcuts that views leave.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="image files")
    parser.add_argument("--modality", default="dermoscopy", choices=["dermoscopy", "xray"])
    parser.add_argument("--count", type=int, default=1025, metavar="N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    preset = Preset.of(yaml.safe_load((ROOT / f"spaces/modality/{args.modality}.yaml").read_text()))
    channels = 1 if args.modality == "xray" else 3
    small, large = (read(args.folder, side, args.count, channels) for side in (96, 256))
    print(f"{len(small)} images of {args.folder.name}, views of {SIZE} px")
    heads = "colours", "find the other view", "median rank"
    table("Channel means and deviations", heads, colours(small, preset))
    for side, images in ((96, small), (256, large)):
        title = f"Energy of high frequencies over the evaluation's, cache of {side} px"
        table(title, ("views", "times"), aliasing(images))
        title = f"Linear models of {CELLS} x {CELLS} px of patches, cache of {side} px"
        heads = "grid", "the neighbour alone", "with its centre", "with another's centre"
        table(title, heads, places(images))


if __name__ == "__main__":
    main()
