"""The connection to Ray: a private Ray on this machine, or a cluster by its address.

environment.prepare(address)  # before Ray is imported
cluster = Cluster(address)
resources = cluster.connect()
"""

import logging
import tempfile
import uuid
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private.gcs_utils import create_gcs_channel
from ray._private.services import canonicalize_bootstrap_address_or_die

from search.console import exit
from trainables.errors import UserError
from trainables.processor import cores

SLOT = "driver_slot"
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
            common: dict[str, Any] = {"namespace": self.namespace, "log_to_driver": False}
            common |= {"logging_level": logging.ERROR}
            if self.address is None:
                _start(common)
            else:
                _join(self.address, common)
        return ray.cluster_resources()

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each live Ray node."""
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start(common: dict[str, Any]) -> None:
    """Start a private Ray; its files are readable by this user only, and removed at exit."""
    private = tempfile.mkdtemp(prefix="search-", dir=get_default_system_temp_dir())
    exit.discard(Path(private))
    cpus = cores()
    local: dict[str, Any] = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    local |= {"resources": {SLOT: 2.0 * cpus + 2}}
    local |= {"_temp_dir": f"{private}/ray"}  # a subfolder: Ray makes its own public
    with exit.children_spared():
        try:
            ray.init(**local, **common)
        except ray.exceptions.AuthenticationError as error:
            raise UserError(f"RAY_AUTH_TOKEN_PATH: {_first(error)}") from None
        except Exception as error:  # too slow a start raises nothing more specific
            log.warning("Ray did not start: %s; trying once more", error)
            ray.shutdown()
            ray.init(**local, **common)


def _join(address: str, common: dict[str, Any]) -> None:
    try:
        _check(address)
        ray.init(address=address, **common)
    except (grpc.RpcError, OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"--address={address}: {_explained(error)}") from None
    if not ray.cluster_resources().get(SLOT):
        raise UserError(
            f"--address={address}: its head must have the resource `{SLOT}`, which trials use; try "
            f"starting it as in cluster.yaml: ray start --head --resources='{{\"{SLOT}\": 32}}'"
        )


def _check(address: str) -> None:
    """Ping the head: `ray.init` would retry for 20 to 90 s and hide the reason."""
    with create_gcs_channel(canonicalize_bootstrap_address_or_die(address)) as channel:
        channel.unary_unary(ALIVE)(b"", timeout=ANSWER_SECONDS)  # an empty request


def _explained(error: Exception) -> str:
    code = error.code() if isinstance(error, grpc.RpcError) else None
    if code == grpc.StatusCode.UNAUTHENTICATED or isinstance(
        error, ray.exceptions.AuthenticationError
    ):
        return (
            "must have its token on this machine; try copying the head's ~/.ray/auth_token to the "
            "same path, or set RAY_AUTH_TOKEN_PATH (RAY_AUTH_MODE=disabled if it has none)"
        )
    reason = code.name.lower() if code else _first(error)
    return (
        f"must be HOST:PORT of a running head, or `auto` ({reason}); try cluster.yaml, or leave it "
        "out to use this machine"
    )


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
