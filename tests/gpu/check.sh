#!/usr/bin/env bash
# Check a machine with a GPU in under five minutes; without Ray, MLflow, Hydra or Optuna.
#
#     tests/gpu/check.sh [--small] [--out DIR] [--data PATH --dataset NAME]
#
# Writes DIR/check.json, one table, after every row. PYTHON names the interpreter.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" "$root/tests/gpu/check.py" "$@"
