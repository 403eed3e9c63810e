"""The wheel alone: built from a checkout of another name, unpacked, and run where the editable install is hidden."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 900  # seconds that one command may take on a machine that is busy elsewhere

# Runs at the start of every Python that has its folder on PYTHONPATH, the fork server of the workers among them. What
# is left of midtrain then is what stands on the path.
HIDE_EDITABLE = """
import sys
modules = {finder: getattr(finder, "__module__", "") for finder in sys.meta_path}
sys.meta_path[:] = [finder for finder, module in modules.items() if "__editable___midtrain" not in module]
"""

# Imports every module with torch hidden; prints where each came from, and what failed for what.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
sys.modules["torch"] = None
import midtrain
found, failed = {"midtrain": midtrain.__file__}, {}
for module in pkgutil.walk_packages(midtrain.__path__, "midtrain."):
    if module.name.endswith("__main__"):
        continue
    try:
        found[module.name] = importlib.import_module(module.name).__file__
    except ModuleNotFoundError as error:
        failed[module.name] = error.name
print(json.dumps([found, failed]))
"""

RECIPE = """\
name: small
output: out
sources:
  - {name: web, path: web.jsonl}
  - {name: chains, format: generated, tasks: [modular_chain], steps: [2, 3], count: 50}
steps:
  - length: {sources: [web], min_chunks: 5}
  - exact_dedup: {}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE)]


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs a command with `path` and nothing else as PYTHONPATH."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NUMBA"))}
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path.parent / "hide"), str(path)])
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git has or would take, in a folder called as an archive of GitHub is."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("checkout") / "midtrain-main"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it and nothing else; beside it what hides the editable install."""
    root = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(root), str(checkout)]
    built = run(*build, cwd=root)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = root.glob("midtrain-*.whl")
    put = run(*pip, "install", "--no-deps", "--no-index", "--target", root / "site", wheel, cwd=root)
    assert put.returncode == 0, put.stdout + put.stderr
    (root / "hide").mkdir()
    (root / "hide/sitecustomize.py").write_text(HIDE_EDITABLE)
    return root / "site"


def python(installed: Path, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return run(sys.executable, *arguments, cwd=cwd, path=installed)


def test_without_the_wheel_there_is_no_midtrain(installed: Path, tmp_path: Path) -> None:
    """Else the tests below could pass by way of the editable install."""
    (installed.parent / "empty").mkdir(exist_ok=True)
    ended = python(installed.parent / "empty", "-c", "import midtrain", cwd=tmp_path)
    assert "No module named 'midtrain'" in ended.stderr


def test_every_module_comes_from_the_wheel_and_fails_for_torch_alone(installed: Path, tmp_path: Path) -> None:
    ended = python(installed, "-c", IMPORT_ALL, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    found, failed = json.loads(ended.stdout)
    assert all(Path(file).is_relative_to(installed / "midtrain") for file in found.values())
    assert set(failed.values()) <= {"torch", "torch.distributed", "torch.utils"}
    assert all(name.startswith("midtrain.trainer.") for name in failed)
    in_source = {
        path.relative_to(ROOT)
        for room in ("demo", "filters", "mixtures", "pipelines", "trainer")
        for path in (ROOT / room).rglob("*.py")
    }
    names = {".".join(("midtrain", *path.with_suffix("").parts)).removesuffix(".__init__") for path in in_source}
    assert names <= found.keys() | failed.keys()
    assert "midtrain.trainer.run" in found


def test_only_the_package_is_installed(installed: Path) -> None:
    assert {path.name.split("-")[0] for path in installed.iterdir()} <= {"midtrain", "bin"}
    inside = {path.name for path in (installed / "midtrain").iterdir()}
    assert not inside & {"tests", "benchmarks", "experiments", "examples", "docs"}
    assert "py.typed" in inside


def test_the_command_answers(installed: Path, tmp_path: Path) -> None:
    ended = python(installed, "-m", "midtrain", "--help", cwd=tmp_path)
    assert ended.returncode == 0
    for verb in ("curate", "build", "train", "eval", "generate", "demo"):
        assert f"\n  {verb} " in ended.stdout
    script = run(installed / "bin/midtrain", "--version", cwd=tmp_path, path=installed)
    assert (script.returncode, script.stdout) == (0, "0.1.0\n")


def test_the_demo_has_its_files(installed: Path, tmp_path: Path) -> None:
    code = (
        "from midtrain.demo.run import HERE; from midtrain import config\n"
        "from midtrain.pipelines import recipe; from midtrain.mixtures import schema\n"
        "from midtrain.trainer.run import RunConfig\n"
        "recipe.load(HERE / 'recipe.yaml'); schema.load(HERE / 'mixture.yaml')\n"
        "for name in ('pretrain', 'midtrain', 'control'): config.load(HERE / f'{name}.yaml', RunConfig)\n"
        "print(HERE)"
    )
    ended = python(installed, "-c", code, cwd=tmp_path)
    assert (ended.returncode, ended.stdout.strip()) == (0, str(installed / "midtrain/demo")), ended.stderr
    packed = {path.name for path in (installed / "midtrain/demo").iterdir()}
    in_source = {path.name for path in (ROOT / "demo").iterdir() if path.is_file()}
    assert in_source - packed == set()


def test_workers_run_from_the_wheel_too(installed: Path, tmp_path: Path) -> None:
    words = "the river and the stone that be of paper with cloud engine winter to have"
    documents: list[dict[str, Any]] = [{"text": f"{words} {number % 60}"} for number in range(100)]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    ended = python(installed, "-m", "midtrain", "curate", "recipe.yaml", "--workers", "2", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    counts = json.loads(ended.stdout)["funnel"][-1]["sources"]
    assert (counts["web"]["kept"], counts["chains"]["kept"]) == (60, 50)
    # The kernels were compiled by a worker, into the folder of the module that it had imported.
    assert list((installed / "midtrain/filters/kernels/__pycache__").glob("length_kernels.*.nbi"))
