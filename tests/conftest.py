"""The suite runs in two processes (pyproject.toml), a file's tests together; one thread each."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in children
