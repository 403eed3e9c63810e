#!/usr/bin/env bash
# Three Ray nodes on this machine, on three loopback addresses, and a curation on them: what a cluster does, without one.
# Usage, from the root: examples/cluster/three_nodes.sh [RECIPE.yaml [more options of `midtrain curate`]]
# PYTHON names an interpreter that has midtrain installed; by default that of `make setup`. Linux alone: elsewhere 127.0.0.2 is no address of the machine.
set -euo pipefail

recipe=${1:-examples/cluster/recipe.yaml}
shift $(($# > 0 ? 1 : 0))
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
port=${PORT:-6399}
folder=$(mktemp -d /tmp/three-XXXXXX) # short: sockets below it have paths of at most 107 bytes
nodes=()

# Ends what was started here, by process id: `ray stop` would end every Ray of the machine.
end() {
    for process in $(below "${nodes[@]}") "${nodes[@]}"; do
        kill -KILL "$process" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
below() {
    local process child
    for process in "$@"; do
        for child in $(cat "/proc/$process/task/$process/children" 2>/dev/null); do
            echo "$child"
            below "$child"
        done
    done
}
trap end EXIT
trap 'exit 130' INT TERM

# A token of its own: without one `ray start` may refuse, or make one in the home folder.
(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
# A node that is lost without a word is noticed within half a minute.
export RAY_grpc_client_keepalive_time_ms=10000 RAY_grpc_client_keepalive_timeout_ms=10000
export RAY_health_check_period_ms=5000 RAY_health_check_timeout_ms=10000 RAY_health_check_failure_threshold=3
export RAY_USAGE_STATS_ENABLED=0

# start_node NUMBER OPTION...: a node of one CPU at 127.0.0.NUMBER, with a folder and ports of its own.
start_node() {
    local number=$1
    shift
    "$python" -m ray.scripts.scripts start --block "$@" \
        --node-ip-address="127.0.0.$number" --num-cpus=1 --object-store-memory=100000000 \
        --temp-dir="$folder/$number" --disable-usage-stats \
        --min-worker-port=$((20000 + number * 200)) --max-worker-port=$((20199 + number * 200)) \
        >"$folder/log-$number" 2>&1 &
    nodes+=($!)
    for _ in $(seq 600); do
        grep -q "Ray runtime started" "$folder/log-$number" && return
        kill -0 "${nodes[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$folder/log-$number" >&2
    echo "node 127.0.0.$number did not start" >&2
    exit 1
}

start_node 2 --head --port="$port" --include-dashboard=false
start_node 3 --address="127.0.0.2:$port"
start_node 4 --address="127.0.0.2:$port"
echo "three nodes: 127.0.0.2 (head), 127.0.0.3, 127.0.0.4; logs in $folder while they run" >&2
"$python" -m midtrain curate "$recipe" --ray "127.0.0.2:$port" "$@"
