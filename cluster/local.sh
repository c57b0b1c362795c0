#!/usr/bin/env bash
# A Ray head on this machine, loopback only, with token authentication.
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

_free_port() {
    python -c 'import socket; server = socket.create_server(("", 0)); print(server.getsockname()[1])'
}

start() {
    if [ -s "$_folder/pid" ] && kill -0 "$(cat "$_folder/pid")" 2>/dev/null; then
        echo "already running: $_folder" >&2
        exit 1
    fi
    umask 077
    mkdir -p "$_folder"
    python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$_folder/token"
    # The environment of the head is the environment of every job.
    local settings
    settings="$(python -c 'import sys; from supreme.runtime.environment import ENVIRONMENT
for name in sys.argv[1:]: print(f"{name}={ENVIRONMENT[name]}")' \
        RAY_DATA_USE_DATASOURCE_V2 RAY_TRAIN_HEALTH_CHECK_INTERVAL_S RAY_raylet_start_wait_time_s \
        RAY_free_objects_period_milliseconds RAY_num_workers_soft_limit OMP_WAIT_POLICY \
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
    agent="$(_free_port)"
    setsid ray start --head --block --node-ip-address=127.0.0.1 --port="$_port" \
        --dashboard-host=127.0.0.1 --dashboard-port="$_dashboard" \
        --ray-client-server-port="$client" --dashboard-agent-listen-port="$agent" \
        --num-cpus="${SUPREME_CPUS:-8}" --disable-usage-stats \
        >"$_folder/head.log" 2>&1 </dev/null &
    echo $! >"$_folder/pid"
    for _ in $(seq 360); do
        kill -0 "$(cat "$_folder/pid")" 2>/dev/null || break
        # The dashboard answers before the node is there.
        if grep -qs "Ray runtime started" "$_folder/head.log" &&
            curl -fs -H "Authorization: Bearer $(cat "$_folder/token")" \
                "http://127.0.0.1:$_dashboard/api/version" >/dev/null; then
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
