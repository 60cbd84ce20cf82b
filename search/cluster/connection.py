"""The connection to Ray: a private Ray on this machine, or a cluster by its address.

environment.prepare(address)  # before Ray is imported
cluster = Cluster(address)
resources = cluster.connect()
"""

import logging
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc
import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private.gcs_utils import create_gcs_channel
from ray._private.services import canonicalize_bootstrap_address_or_die

from search.console import exit
from trainables.errors import UserError, first_line
from trainables.processor import cores

SLOT = "driver_slot"
Init: TypeAlias = Callable[..., object]  # `ray.init` with the options of every search
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
ANSWER_SECONDS = 10.0  # timeout for the head node
log = logging.getLogger(__name__)


class Cluster:
    """A connection to Ray, opened by the first `connect`. address: None for this machine."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.namespace = f"search-{uuid.uuid4().hex[:8]}"

    def connect(self) -> dict[str, float]:
        """Connect, and return the cluster's resources; UserError if it can't be joined."""
        if not ray.is_initialized():
            init = partial(
                ray.init,
                namespace=self.namespace, log_to_driver=False, logging_level=logging.ERROR,
            )  # fmt: skip
            if self.address is None:
                _start(init)
            else:
                _join(self.address, init)
        return ray.cluster_resources()

    def nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start(init: Init) -> None:
    """Start a private Ray; its files are readable by this user only, and removed at exit."""
    private = tempfile.mkdtemp(prefix="search-", dir=get_default_system_temp_dir())
    exit.discard(Path(private))
    cpus, folder = cores(), f"{private}/ray"  # a subfolder: Ray makes its own public
    slots = {SLOT: 2.0 * cpus + 2}
    start = partial(
        init,
        address="local", num_cpus=cpus, include_dashboard=False, resources=slots, _temp_dir=folder,
    )  # fmt: skip
    with exit.children_spared():
        try:
            start()
        except ray.exceptions.AuthenticationError as error:
            raise UserError(
                f"RAY_AUTH_TOKEN_PATH: must name a file with a token ({first_line(error)}); try "
                "unsetting it"
            ) from None
        except Exception as error:  # a slow start has no exception of its own
            log.warning("Ray did not start: %s; trying once more", error)
            ray.shutdown()
            start()


def _join(address: str, init: Init) -> None:
    try:
        _check(address)
        init(address=address)
    except (grpc.RpcError, OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(_refusal(address, error)) from None
    if not ray.cluster_resources().get(SLOT):
        raise UserError(
            f"--address={address}: its head must have the resource `{SLOT}`, which trials use; try "
            f"starting it as in cluster.yaml: ray start --head --resources='{{\"{SLOT}\": 32}}'"
        )


def _check(address: str) -> None:
    """Ping the head: `ray.init` would retry for 20 to 90 s and hide the reason."""
    with create_gcs_channel(canonicalize_bootstrap_address_or_die(address)) as channel:
        channel.unary_unary(ALIVE)(b"", timeout=ANSWER_SECONDS)  # an empty request


def _refusal(address: str, error: Exception) -> str:
    code = error.code() if isinstance(error, grpc.RpcError) else None
    if code == grpc.StatusCode.UNAUTHENTICATED or isinstance(
        error, ray.exceptions.AuthenticationError
    ):
        return (
            f"--address={address}: must have its token on this machine; try copying the head's "
            "~/.ray/auth_token to the same path, or set RAY_AUTH_TOKEN_PATH "
            "(RAY_AUTH_MODE=disabled if it has none)"
        )
    reason = code.name.lower() if code else first_line(error)
    return (
        f"--address={address}: must be HOST:PORT of a running head, or `auto` ({reason}); try "
        "cluster.yaml, or leave it out to use this machine"
    )
