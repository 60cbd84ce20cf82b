"""Environment variables that must be set before Ray is imported.

Ray's processes and workers inherit them. The token is kept only there, where no other user can read
it: in no file and on no command line.
"""

import os
import secrets

# Defaults, which the user's own values override.
EVERYWHERE = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not a copy by uv
    "RAY_AIR_NEW_OUTPUT": "0",  # the live view replaces Tune's output
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # saves a process in each worker group
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # delay until the end of a worker group is noticed
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "THP_MEM_ALLOC_ENABLE": "1",  # huge pages for tensors: a processor trains 1.1 times as fast
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the command
}
HERE_ONLY = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Forced for a private Ray, whatever the shell sets for a cluster.
CLOSED = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # binds Ray's sockets to loopback, on Linux too
}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare(address: str | None) -> None:
    """Set the variables for the cluster at the address, or for a private Ray (None)."""
    if address is None:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(CLOSED)
        if not any(os.environ.get(name) for name in TOKENS):
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    for key, value in (EVERYWHERE if address else EVERYWHERE | HERE_ONLY).items():
        os.environ.setdefault(key, value)
