"""What Ray must find in the environment before it is imported.

Ray's processes and workers inherit it. The token stands there alone, which only this user can
read: in no file and on no command line.
"""

import os
import secrets

# Unless the user has set it.
EVERYWHERE = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not a copy made by uv
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune keeps quiet: the live view speaks
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less a group
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how long the end of a group goes unnoticed
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the command
}
HERE_ONLY = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# For a Ray of this search alone, whatever the shell says for some cluster.
CLOSED = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too Ray's sockets are on loopback then
}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare(address: str | None) -> None:
    """Set up for the cluster at the address, or for a Ray of this search alone (None)."""
    if address is None:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(CLOSED)
        if not any(os.environ.get(name) for name in TOKENS):
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    for key, value in (EVERYWHERE if address else EVERYWHERE | HERE_ONLY).items():
        os.environ.setdefault(key, value)
