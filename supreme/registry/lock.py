"""One process at a time changes a registered model, on whatever host of those that share the tracking store.

The lock is a registered model `<name>.lock`: its name is unique in the store, so that only one process can
create it. The owner renews a tag while it works; a lock whose tag stays the same for :data:`STALE_S` belongs
to a process that is gone, and is taken over.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from supreme import log
from supreme.tracking.server import TrackingError, address, connect

#: A lock that is not renewed for so long has lost its owner.
STALE_S = 60.0
#: How often the owner renews it.
RENEW_S = 10.0
#: How long others are waited for.
WAIT_S = 1200.0
_POLL_S = 0.3

_OWNER, _RENEWED = "supreme.lock_owner", "supreme.lock_renewed"

logger = log.get("registry")


@contextmanager
def exclusive(model: str, tracking_uri: str | None) -> Iterator[Callable[[], None]]:
    """Hold the lock of a registered model for the block.

    Yields:
        A check to call right before a change that must not happen twice: it raises `TrackingError` if the
        lock was taken over meanwhile, as happens to a process that was suspended for more than a minute.

    Raises:
        TrackingError: another process holds it for :data:`WAIT_S`.
    """
    client, name, owner = connect(tracking_uri), f"{model}.lock", uuid.uuid4().hex
    _acquire(client, name, owner, tracking_uri)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(client, name, done), daemon=True, name="registry-lock")
    renewing.start()

    def check() -> None:
        if _owner(client, name)[0] != owner:
            raise TrackingError(
                f"{address(tracking_uri)}: another process has taken over the lock of {model}, which this "
                "one had not renewed in time; run the same command again"
            )

    try:
        yield check
    finally:
        done.set()
        renewing.join()
        with suppress(MlflowException, TrackingError):  # it goes stale by itself
            if _owner(client, name)[0] == owner:
                client.delete_registered_model(name)


def _acquire(client: MlflowClient, name: str, owner: str, tracking_uri: str | None) -> None:
    deadline = time.monotonic() + WAIT_S
    # Two that wait do not find it stale at the same moment.
    patience_s = STALE_S * random.uniform(1, 1.5)
    last, since, is_waiting = ("", ""), time.monotonic(), False
    while True:
        try:
            client.create_registered_model(name, tags={_OWNER: owner, _RENEWED: "0"})
            return
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        state = _owner(client, name)
        if state[0] == owner:  # the answer to an earlier request was lost
            return
        if state != last:
            last, since = state, time.monotonic()
        elif state[0] and time.monotonic() - since > patience_s:
            logger.warning("the lock %s has lost its owner and is taken over", name)
            if _owner(client, name) == state:
                _delete(client, name)
            continue
        if time.monotonic() > deadline:
            raise TrackingError(
                f"{address(tracking_uri)}: another process has been changing this model for {WAIT_S:.0f} s; "
                f"if there is none, delete the registered model {name}"
            )
        if not is_waiting:
            logger.info("another process is changing this model: waiting for %s", name)
            is_waiting = True
        time.sleep(random.uniform(_POLL_S / 2, _POLL_S))


def _owner(client: MlflowClient, name: str) -> tuple[str, str]:
    """Owner and last renewal of a lock; empty where there is none."""
    try:
        tags = client.get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return "", ""
    return tags.get(_OWNER, "unknown"), tags.get(_RENEWED, "")


def _delete(client: MlflowClient, name: str) -> None:
    with suppress(MlflowException):  # another process was faster
        client.delete_registered_model(name)


def _renew(client: MlflowClient, name: str, done: threading.Event) -> None:
    count = 0
    while not done.wait(RENEW_S):
        count += 1
        # A lock that is lost, or a server that is away, shows in the owner's next request.
        with suppress(MlflowException, TrackingError):
            client.set_registered_model_tag(name, _RENEWED, str(count))
