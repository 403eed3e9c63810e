"""Every module of the room is a step or infrastructure, and a name can reach nothing else."""

import subprocess
import sys

import pytest
from midtrain.errors import ConfigError
from midtrain.filters import catalogue
from midtrain.filters.exact_dedup import ExactDedup
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.language import Language
from midtrain.filters.rules import Barrier, Filter


def test_every_listed_name_is_a_step() -> None:
    names = catalogue.names()
    assert {"exact_dedup", "gopher_quality", "language"} <= set(names)
    assert names == sorted(names)
    for name in names:
        assert issubclass(catalogue.step(name), Filter | Barrier)
        assert isinstance(catalogue.step(name).version, int)


def test_names_give_their_classes() -> None:
    assert catalogue.step("gopher_quality") is GopherQuality
    assert catalogue.step("exact_dedup") is ExactDedup
    assert catalogue.step("language") is Language


def test_an_unknown_step_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean gopher_quality") as raised:
        catalogue.step("gopher_qualty")
    assert raised.value.exit_code == 2
    assert "exact_dedup" in str(raised.value.expected)


@pytest.mark.parametrize(
    "name", ["", "document", "catalogue", "rules", "os", "os.path", ".rules", "../config", "__init__", "language.py"]
)
def test_what_is_no_step_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown step"):
        catalogue.step(name)


def test_a_module_without_its_class_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("midtrain.filters.language.Language")
    with pytest.raises(ConfigError, match="no class Language"):
        catalogue.step("language")


def test_validation_loads_no_kernels() -> None:
    program = (
        "import sys\n"
        "from midtrain.filters import catalogue\n"
        "assert not {'numba', 'fasttext', 'pyarrow'} & set(sys.modules)\n"
        "for name in catalogue.names(): catalogue.step(name)\n"
        "catalogue.step('gopher_quality')(min_words=3), catalogue.step('language')(keep=('en',))\n"
        "print(*sorted({'numba', 'fasttext', 'torch', 'datatrove'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "")
