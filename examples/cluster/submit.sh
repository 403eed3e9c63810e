#!/usr/bin/env bash
# Hands a curation to a cluster as a Ray job, with midtrain as a wheel that is built here and now.
# Usage, from the root: RAY_ADDRESS=http://HEAD:8265 examples/cluster/submit.sh RECIPE.yaml [options of `midtrain curate`]
# The cluster needs midtrain's dependencies and this machine's versions of Python and Ray; of midtrain it needs nothing.
# The checkout itself is no working_dir or py_modules: it is the package, and Ray would ship it under another name.
set -euo pipefail

recipe=${1:?which recipe?}
shift
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m pip wheel "$root" --no-deps --quiet --wheel-dir "$folder"
cp "$recipe" "$folder/recipe.yaml" # its paths are the cluster's: absolute ones, or s3://
wheel=$(basename "$folder"/midtrain-*.whl)

# --no-deps: what the wheel needs is on the nodes already (see cloud.yaml, Dockerfile). Without it pip asks its index.
environment=$(
    cat <<JSON
{"pip": {"packages": ["\${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/$wheel"],
         "pip_install_options": ["--no-deps", "--disable-pip-version-check"]},
 "env_vars": {"PYTHONUNBUFFERED": "1"}}
JSON
)
"$python" -m ray.scripts.scripts job submit ${RAY_ADDRESS:+--address "$RAY_ADDRESS"} \
    --working-dir "$folder" --runtime-env-json "$environment" -- \
    python -m midtrain curate recipe.yaml --ray auto "$@"
