#!/usr/bin/env bash
# A Ray head on this machine with token authentication. What it listens on: cluster/README.md.
#
#   cluster/local.sh start     start it and print how to submit a job
#   cluster/local.sh stop      stop what `start` started, and nothing else
#   source cluster/local.sh    address, token and environment (.venv) of the running head in this shell
#
# SUPREME_CLUSTER: folder of token, address and pid (default ~/.supreme/cluster); SUPREME_PORT, SUPREME_DASHBOARD_PORT.
# SUPREME_CPUS: logical CPUs (default 8: training workers, Ray Data and trials need one each, also on two cores).

_folder="${SUPREME_CLUSTER:-$HOME/.supreme/cluster}"
_port="${SUPREME_PORT:-6379}"
_dashboard="${SUPREME_DASHBOARD_PORT:-8265}"

export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$_folder/token"
export RAY_ADDRESS="http://127.0.0.1:$_dashboard"
export RAY_USAGE_STATS_ENABLED=0
_bin="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin"
if [ -d "$_bin" ]; then export PATH="$_bin:$PATH"; fi

if [ "${BASH_SOURCE[0]}" != "$0" ]; then return 0; fi
set -euo pipefail
unset RAY_ADDRESS

# Ray's workers listen between these.
_first_worker_port=10002
_last_worker_port=19999

_free_port() {
    python -c 'import socket, sys
low, high, *used = map(int, sys.argv[1:])
ports = (socket.create_server(("127.0.0.1", 0)).getsockname()[1] for _ in range(1000))
print(next(port for port in ports if not low <= port <= high and port not in used))' \
        "$_first_worker_port" "$_last_worker_port" "$_port" "$_dashboard" "$@"
}

_check_port() {
    if ! [[ "$2" =~ ^[0-9]{1,5}$ ]] || [ "$2" -lt 1024 ] || [ "$2" -gt 65535 ]; then
        echo "$1=$2 is not a port between 1024 and 65535" >&2
        exit 2
    elif [ "$2" -ge "$_first_worker_port" ] && [ "$2" -le "$_last_worker_port" ]; then
        echo "$1=$2: Ray's workers listen on $_first_worker_port to $_last_worker_port: choose another port" >&2
        exit 2
    fi
}

start() {
    if [ -s "$_folder/pid" ] && kill -0 "$(cat "$_folder/pid")" 2>/dev/null; then
        echo "already running: $_folder" >&2
        exit 1
    fi
    _check_port SUPREME_PORT "$_port"
    _check_port SUPREME_DASHBOARD_PORT "$_dashboard"
    if [ "$_port" = "$_dashboard" ]; then
        echo "SUPREME_PORT and SUPREME_DASHBOARD_PORT are both $_port: choose two" >&2
        exit 2
    fi
    umask 077
    mkdir -p "$_folder"
    rm -f "$_folder/token" # which may have been readable for others
    python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$_folder/token"
    # The environment of the head is the environment of every job.
    local settings
    settings="$(python -c 'import sys; from supreme.runtime.environment import ENVIRONMENT, OWN_SESSION
for name, value in ({name: ENVIRONMENT[name] for name in sys.argv[1:]} | OWN_SESSION).items(): print(f"{name}={value}")' \
        RAY_DATA_USE_DATASOURCE_V2 RAY_TRAIN_HEALTH_CHECK_INTERVAL_S RAY_raylet_start_wait_time_s \
        RAY_free_objects_period_milliseconds RAY_num_workers_soft_limit RAY_enable_metrics_collection OMP_WAIT_POLICY \
        MLFLOW_DISABLE_TELEMETRY MLFLOW_ALLOW_PICKLE_DESERIALIZATION DO_NOT_TRACK)"
    export $settings
    # Only what this head starts has it, so `stop` can find all of it.
    export SUPREME_HEAD="$_folder"
    # Of its own: what a job starts looks there for its cluster, and must not find another Ray of this machine.
    mktemp -d /tmp/ray.XXXXXX >"$_folder/temp"
    RAY_TMPDIR="$(cat "$_folder/temp")"
    export RAY_TMPDIR
    # Two heads on one machine must not want the same ports; the client server cannot be left out.
    local client agent
    client="$(_free_port)"
    agent="$(_free_port "$client")"
    setsid ray start --head --block --node-ip-address=127.0.0.1 --port="$_port" \
        --dashboard-host=127.0.0.1 --dashboard-port="$_dashboard" \
        --ray-client-server-port="$client" --dashboard-agent-listen-port="$agent" \
        --min-worker-port="$_first_worker_port" --max-worker-port="$_last_worker_port" \
        --num-cpus="${SUPREME_CPUS:-8}" --disable-usage-stats \
        >"$_folder/head.log" 2>&1 </dev/null &
    echo $! >"$_folder/pid"
    for _ in $(seq 360); do
        kill -0 "$(cat "$_folder/pid")" 2>/dev/null || break
        # The dashboard answers before the node is there.
        if grep -qs "Ray runtime started" "$_folder/head.log" && _answers; then
            cat <<EOF
Ray is up on 127.0.0.1:$_dashboard. In another shell:
  source cluster/local.sh
  ray job submit --working-dir . -- python jobs/pipeline.py --config demo root=$PWD/runs
EOF
            exit 0
        fi
        sleep 0.5
    done
    stop # what is left of it
    echo "Ray did not come up; see $_folder/head.log" >&2
    exit 1
}

# The token goes through standard input: arguments can be read by every user of this machine.
_answers() {
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$_folder/token")" |
        curl -fs --config - "http://127.0.0.1:$_dashboard/api/version" >/dev/null
}

stop() {
    if [ ! -s "$_folder/pid" ]; then
        echo "nothing was started from $_folder" >&2
        exit 1
    fi
    # `ray start --block` ends its own children; `ray stop` would end every Ray on this machine.
    kill -TERM -- "-$(cat "$_folder/pid")" 2>/dev/null || true
    for _ in $(seq 20); do
        kill -0 -- "-$(cat "$_folder/pid")" 2>/dev/null || break
        sleep 0.25
    done
    kill -KILL -- "-$(cat "$_folder/pid")" 2>/dev/null || true
    # Jobs have their own process groups and may outlive their cluster.
    kill -KILL $(_started) 2>/dev/null || true
    rm -f "$_folder/pid" "$_folder/token"
}

_started() {
    grep -lzsFx "SUPREME_HEAD=$_folder" /proc/[0-9]*/environ | cut -d/ -f3
}

case "${1:-}" in
start) start ;;
stop)
    stop
    rm -rf "$(cat "$_folder/temp")"
    ;;
*)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
