"""What Ray must find in the environment before it is imported, unless the user has set it."""

import os

EVERYWHERE = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not a copy made by uv
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune keeps quiet: the live view speaks
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less a group
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how long the end of a group goes unnoticed
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the command
}
HERE_ONLY = {
    "RAY_AUTH_MODE": "disabled",  # a cluster of this process alone
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare(address: str | None) -> None:
    for key, value in (EVERYWHERE if address else EVERYWHERE | HERE_ONLY).items():
        os.environ.setdefault(key, value)
