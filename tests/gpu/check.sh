#!/usr/bin/env bash
# Check a machine with a GPU in under five minutes; without Ray, MLflow, Hydra or Optuna.
#
#     tests/gpu/check.sh [--small] [--out DIR] [--data PATH --dataset NAME]
#
# Writes DIR/check.json, one table, after every row. PYTHON names the interpreter. On a machine that
# has PyTorch but not pydantic, carry it there as a folder, and put that on PYTHONPATH:
#
#     uv pip install --target site --only-binary :all: --python-version 3.12 \
#         --python-platform x86_64-manylinux_2_28 pydantic
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" "$root/tests/gpu/check.py" "$@"
