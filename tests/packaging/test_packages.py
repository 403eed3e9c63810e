"""What pyproject.toml packs against what stands in the folders: an editable install hides what a wheel would lack."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from midtrain.pipelines.cluster import SHIPPED

ROOT = Path(__file__).parents[2]
NEVER_PACKED = {"tests", "benchmarks", "experiments", "examples", "docs", "build", "dist", "out", "runs"}
SOURCES = {".py", ".pyc", ".nbi", ".nbc"}  # the last two are Numba's cache
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def packages() -> set[str]:
    """Every folder with an `__init__.py`, as the name it is imported by."""
    tops = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in NEVER_PACKED]
    folders = [init.parent.relative_to(ROOT) for top in tops for init in top.rglob("__init__.py")]
    return {"midtrain", *(".".join(("midtrain", *folder.parts)) for folder in folders)}


def data_files(package: str) -> list[str]:
    """Names of the files in a package's own folder that are no Python."""
    folder = ROOT.joinpath(*package.split(".")[1:])
    return [path.name for path in folder.iterdir() if path.is_file() and path.suffix not in SOURCES]


def test_every_package_is_listed_and_every_listed_package_is_there() -> None:
    listed = SETUPTOOLS["packages"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == packages()
    assert SETUPTOOLS["package-dir"] == {"midtrain": "."}


@pytest.mark.parametrize("package", sorted(set(SETUPTOOLS["packages"]) - {"midtrain"}))
def test_every_data_file_of_a_package_is_packed(package: str) -> None:
    patterns = SETUPTOOLS["package-data"].get(package, [])
    lost = [name for name in data_files(package) if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert lost == []


@pytest.mark.parametrize("package", sorted(set(SETUPTOOLS["packages"]) - {"midtrain"}))
def test_every_data_file_of_a_package_is_shipped_to_a_cluster(package: str) -> None:
    assert [name for name in data_files(package) if not any(fnmatch(name, pattern) for pattern in SHIPPED)] == []


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_every_pattern_finds_a_file(package: str) -> None:
    assert package in SETUPTOOLS["packages"]
    for pattern in SETUPTOOLS["package-data"][package]:
        assert any(fnmatch(name, pattern) for name in data_files(package)), pattern


def test_the_types_are_packed() -> None:
    assert "py.typed" in SETUPTOOLS["package-data"]["midtrain"]
