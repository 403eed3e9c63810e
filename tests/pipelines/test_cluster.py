"""The Ray executor before Ray is there: what is refused at once, and what starts none (tests/cluster has the rest)."""

import pytest
from midtrain.errors import ConfigError
from midtrain.pipelines import cluster
from midtrain.pipelines.cluster import RayCluster

RAY_LOADED = """
import sys
from midtrain import cli
sys.argv[0] = "midtrain"
cli.main()
sys.exit("ray" in sys.modules)
"""


def test_a_run_with_nothing_to_do_starts_no_ray(workshop, processes):
    workshop.corpus()
    workshop.curate()
    recipe = str(workshop.yaml("recipe.yaml", workshop.recipe()))
    said = processes.end(processes.start("-c", RAY_LOADED, "curate", recipe, "--ray", "local"))
    assert (said.code, said.err) == (0, "")
    assert "nothing to do" in said.out


def test_without_ray_the_error_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="is not installed") as caught:
        RayCluster("local", None, print)
    assert caught.value.fix == "pip install ray"


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port"])
def test_what_is_no_address_is_said_before_anything_runs(address):
    with pytest.raises(ConfigError, match="is no address of a cluster"):
        RayCluster(address, None, print)


def test_a_cluster_that_was_never_joined_is_left_without_a_word(capsys):
    RayCluster("local", 2, print).close(failed=True)
    assert capsys.readouterr().out == ""
