"""Environment variables that every job sets for the libraries it uses."""

from __future__ import annotations

import os
import sys

#: Defaults for libraries; a variable that is already set wins.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_RAISE_ORIGINAL_MAP_EXCEPTION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How soon what waits for Ray hears Ctrl-C and SIGTERM; by default a second.
    "RAY_get_check_signal_interval_milliseconds": "100",
    # Ctrl-C ends a sweep; Tune would stop its trials and go on as if they were done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's box of settings and its hints; the sweep prints a line a trial and a table.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A trial's reports are in its own folder and on the tracking server.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # By default half a minute, which a busy machine does not keep.
    "RAY_raylet_start_wait_time_s": "180",
    # What Ray Data has used is freed at once. By default a second later: at a full reading speed that is
    # gigabytes, which are written to disk where they do not fit into the object store.
    "RAY_free_objects_period_milliseconds": "0",
    # Idle processes beyond the cores end. By default one stays for each logical CPU, wakes 150 times a second
    # and takes the core from a training step: of two workers on two cores, two in a hundred of it.
    "RAY_num_workers_soft_limit": str(os.cpu_count() or 1),
    # Ray's Prometheus port listens on all interfaces and answers anybody.
    "RAY_enable_metrics_collection": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    # Torch's profiler talks about itself.
    "KINETO_LOG_LEVEL": "6",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that is away is waited for about a minute (by default four, sixteen where it accepts only).
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "TOKENIZERS_PARALLELISM": "false",
}

#: In addition where a job starts a Ray of its own, which nobody else is to reach. Ray takes 127.0.0.1 for the
#: address of a network interface, and then listens on all interfaces, unless it knows that there is one host.
OWN_SESSION = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
}
