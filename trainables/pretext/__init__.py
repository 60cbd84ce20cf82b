"""The pretext tasks. One file here and one YAML in `spaces/task/` make one task.

A task subclasses `trainables.task.Task` as `Plugin`: an `nn.Module` around a backbone. It writes
- `Params`: its parameters, a frozen dataclass of typed, bounded fields (the YAML has the defaults),
  with a `check` against the data where needed;
- `forwards`: how often it calls the backbone in a step, and how many views that sees of each image;
- `__init__` (heads, buffers), `forward` (views and loss) and `chance_level`;
- where needed `start`, `before_step`, `after_step`, `warm_steps`, `score`; `augmentations`, those
  of the modality that its views use, if not all; and `shortcut`, which tells how well it answers
  without what the answer should need.

Rules that make a result the same on any number of ranks, and bit-equal after a resume:
- Everything remembered between steps is a parameter or a persistent buffer: only `state_dict()` is
  checkpointed.
- All randomness comes from `batch.draw`, never from torch's global generator (so no `nn.Dropout`).
- Views of one image stand side by side, as `view(images, batch.draw, 2)` makes them, so that a
  BatchNorm group holds the same images on any number of ranks.
- The loss is a mean over this rank's images. What spans the global batch goes through
  `trainables.training.distributed`, and every rank makes the same update.
"""
