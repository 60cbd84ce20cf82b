#!/usr/bin/env bash
# Does pretraining pay? Chains, singles and starts on several seeds, without Ray, sized by minutes.
#
#     tests/gpu/pays.sh --minutes 6 --out DIR [--data PATH --dataset NAME] [--chains a>b,...]
#     tests/gpu/pays.sh --small --out DIR      # on a CPU, in a minute: does it work?
#     tests/gpu/pays.sh --table --out DIR      # rows with intervals; needs the whole project
#     tests/gpu/pays.sh --table --out DIR --figure FILE      # the same, and their picture
#
# DIR/rows.jsonl has a row for every finished fine-tuning; the same command goes on where it was
# cut. PYTHON names the interpreter; see check.sh for a machine without pydantic.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" "$root/tests/gpu/pays.py" "$@"
