"""The examples for clusters: what they start, in which order and with what; one is run as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.cluster import SETTINGS
from ruamel.yaml import YAML

from tests.cluster import kernels
from tests.cluster.conftest import one_node
from tests.cluster.processes import free_port, is_free, token
from tests.sizes import whole_only

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "cluster"
SHIPPED = {name: value for name, value in SETTINGS.items() if re.match(r"RAY_(grpc|health)_", name)}
PATIENCE = 300  # seconds
# Stands for Python in the Slurm script: says what it was asked, and listens where a head would.
FAKE_PYTHON = f"""#!{sys.executable}
import os, socket, sys, time
asked = " ".join(sys.argv[1:])
with open(os.environ["SAID"], "a") as said:
    token = os.environ["RAY_AUTH_TOKEN_PATH"]
    print(os.environ["HOST"], os.environ["RAY_AUTH_MODE"], len(open(token).read()), asked, file=said, flush=True)
if " start " in asked:
    if "--head" in asked:
        port = next(word.split("=")[1] for word in sys.argv if word.startswith("--port="))
        listening = socket.create_server(("127.0.0.1", int(port)))
    time.sleep(400)
until = time.monotonic() + 400
while open(os.environ["SAID"]).read().count(" start ") < 3 and time.monotonic() < until:
    time.sleep(0.1)  # a real run lasts longer than srun takes to begin a node
sys.exit(int(os.environ.get("CODE", 0)))
"""
FAKE_SRUN = """#!/usr/bin/env bash
for word in "$@"; do
    case $word in --nodelist=*) export HOST=${word#*=} ;; esac
done
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


def documents(name):
    return list(YAML(typ="safe").load_all((EXAMPLES / name).read_text()))


def test_the_scripts_and_start_commands_set_what_is_shipped() -> None:
    for name in ("three_nodes.sh", "slurm.sbatch", "cloud.yaml"):
        text = (EXAMPLES / name).read_text()
        assert {key: value for key, value in re.findall(r"(RAY_\w+)=(\d+)", text) if key in SHIPPED} == SHIPPED, name


def test_the_cloud_file_is_one_that_the_launcher_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (cloud,) = documents("cloud.yaml")
    validate_config(prepare_config(cloud))
    assert cloud["head_node_type"] in cloud["available_node_types"]
    assert (ROOT / cloud["file_mounts"]["/home/ubuntu/constraints.txt"]).exists()
    for started in (cloud["head_start_ray_commands"], cloud["worker_start_ray_commands"]):
        assert all(command.startswith(". ~/ray.env; ") for command in started)


def test_the_job_on_kubernetes_has_what_its_definition_asks_for(tmp_path) -> None:
    recipe, volume, job = documents("kuberay-rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {one["name"]: one["value"] for one in container["env"]}.items() >= SHIPPED.items()
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    maps = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    assert (claims, maps) == ({volume["metadata"]["name"]}, {recipe["metadata"]["name"]})
    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["midtrain", "curate"]
    (name,) = recipe["data"]
    assert words[2] == f"{container['volumeMounts'][1]['mountPath']}/{name}"
    (tmp_path / name).write_text(recipe["data"][name])
    assert recipes.load(tmp_path / name).spec.output == "/corpora/curated"


def test_the_image_is_of_the_ray_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    (image,) = re.findall(r"^FROM rayproject/ray:([\d.]+)-", (EXAMPLES / "Dockerfile").read_text(), re.MULTILINE)
    assert image == documents("kuberay-rayjob.yaml")[2]["spec"]["rayClusterSpec"]["rayVersion"] == pinned.group(1)


@pytest.mark.parametrize("name", ["three_nodes.sh", "submit.sh", "slurm.sbatch"])
def test_the_scripts_are_ones(name: str) -> None:
    subprocess.run(["bash", "-n", EXAMPLES / name], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, EXAMPLES / name], check=True)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that runs the script where srun runs everything here; its exit code, and what Python was asked."""
    programs = {"srun": FAKE_SRUN, "scontrol": "#!/bin/sh\nprintf 'a\\nb\\nc\\n'\n", "python": FAKE_PYTHON}
    programs["hostname"] = "#!/bin/sh\necho 127.0.0.1 fe80::1\n"
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    number = next(one for one in range(os.getpid(), os.getpid() + 100) if is_free(port_of(one)))
    job = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "[a-c]", "SLURM_CPUS_PER_TASK": "5"}
    job["SLURM_MEM_PER_NODE"] = "1000"  # MiB
    job |= {"PYTHON": str(tmp_path / "python"), "SAID": str(tmp_path / "said")}
    job["PATH"] = f"{tmp_path}:{os.environ['PATH']}"

    def run(**more):
        command = ["bash", EXAMPLES / "slurm.sbatch", "recipe.yaml", "--set", "seed=1"]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **job, **more}, timeout=300, check=False)
        return done.returncode, (tmp_path / "said").read_text().splitlines()

    run.port = port_of(number)
    return run


def port_of(job: int) -> int:
    """Where the head of a job listens."""
    return 20000 + job % 10000


def test_the_slurm_script_starts_a_head_then_nodes_then_the_run_and_ends_them(slurm, tmp_path) -> None:
    began = time.monotonic()
    code, said = slurm()
    port = slurm.port
    assert code == 0
    assert said[0].startswith("a token 64 -m ray.scripts.scripts start --block --head --node-ip-address=127.0.0.1")
    assert f"--port={port} " in said[0]
    nodes = sorted(line for line in said[1:] if " start " in line)
    assert [line[:1] for line in nodes] == ["b", "c"]
    assert all(f"--address=127.0.0.1:{port} --num-cpus=5 --memory=900000000 " in line for line in nodes)
    (driver,) = (line for line in said if " midtrain " in line)
    assert driver == f"a token 64 -m midtrain curate recipe.yaml --ray 127.0.0.1:{port} --set seed=1"
    assert time.monotonic() - began < 200  # none of them, who sleep for twice as long, was waited for
    assert not list(tmp_path.glob(".ray-token*"))


def test_the_slurm_script_ends_with_the_code_of_the_run(slurm) -> None:
    assert slurm(CODE="2")[0] == 2


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(2 * PATIENCE)
def test_a_job_is_submitted_with_a_wheel_built_on_the_spot(tmp_path) -> None:
    recipe = (EXAMPLES / "recipe.yaml").read_text().replace("out/cluster/curated", f"{tmp_path}/out")
    (tmp_path / "mine.yaml").write_text(recipe)
    here = {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: without isolation
    with one_node(dashboard=free_port()) as head:
        address = f"http://127.0.0.1:{head.dashboard}"
        done = subprocess.run(
            ["bash", EXAMPLES / "submit.sh", tmp_path / "mine.yaml", "--set", "sources.0.count=60000"],
            cwd=tmp_path,
            env={**os.environ, **here, "RAY_ADDRESS": address, **token(head.folder / "token")},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["funnel"][0]["documents"] == 60_000 + 50_000


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(2 * PATIENCE)
@whole_only
def test_three_nodes_curate_the_example_and_are_gone_at_the_end(tmp_path, processes) -> None:
    small = ["--set", "sources.0.count=50000", "--set", "sources.1.count=20000"]
    recipe = str(EXAMPLES / "recipe.yaml")
    before = set(Path("/tmp").glob("three-*"))
    command = ["bash", EXAMPLES / "three_nodes.sh", recipe, "--set", f"output={tmp_path}/ray", *small, "--json"]
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    here = {"PYTHON": sys.executable, "PYTHONPATH": path, "PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **here, **kernels.put(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = run.communicate(timeout=PATIENCE)[1]
    finally:
        run.terminate()  # its nodes end with it, which they would not if it were killed
        run.wait(PATIENCE)
    assert run.returncode == 0, said
    assert set(Path("/tmp").glob("three-*")) <= before
    alone = ("--workers", "0", "--set", f"output={tmp_path}/here")
    assert processes.end(processes.start("-m", "midtrain", "curate", recipe, *alone, *small)).code == 0
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("ray", "here")]
    assert manifests[0] == manifests[1]
