"""How fast a training step is, against what limits it and against public pipelines.

python -m trainables.bench --help
"""
