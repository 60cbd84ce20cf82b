"""Files that a space names: weights of starts, and features from elsewhere."""

from collections.abc import Mapping
from pathlib import Path

from search.chains.chain import SCRATCH
from search.space import Space
from trainables.architectures import megabytes
from trainables.durable import file_digest
from trainables.errors import UserError
from trainables.spec import FEATURES, START


def digest_of(name: str, path: str, kind: str = START) -> str:
    """Return the sha256 (16 digits) of a start's file or of features; UserError if unreadable."""
    where = f"starts.{name}"
    wanted = "weights of profile.backbone as .safetensors or .pth, or null"
    if kind == FEATURES:
        where, wanted = f"baselines.features.{name}", "a Parquet file of image and vector, or none"
    try:
        return file_digest(Path(path))[:16]
    except OSError as error:
        raise UserError(
            f"{where}={path}: must be a file to read ({error.strerror}); try {wanted} to leave the "
            "row out"
        ) from None


def begun(space: Space, features: Mapping[str, str]) -> Mapping[str, object]:
    """Return what decides where chains begin; nothing for all of them from scratch.

    features: digests of features from elsewhere, by name.
    """
    starts = {
        name: [one.chains, one.trainable]
        for name, one in space.starts.items()
        if name in space.run_starts and (one.chains, one.trainable) != (name == SCRATCH, "all")
    }
    given = {"starts": starts, "max_starts": space.max_starts, "features": dict(features)}
    return {key: value for key, value in given.items() if value}


def backbone_bytes(name: str) -> int:
    """Return a backbone's size on disk in float32."""
    return megabytes(name) << 20
