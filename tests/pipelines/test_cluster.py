"""The Ray executor before Ray is there: what is refused at once, and what starts none (tests/cluster has the rest)."""

import sys

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


def test_a_result_that_is_complete_needs_no_cluster(workshop, midtrain):
    workshop.corpus()
    recipe = workshop.yaml("recipe.yaml", workshop.recipe())
    said = midtrain("curate", recipe, "--ray", "127.0.0.1:1")
    assert (said.code, "no Ray cluster answers" in said.err) == (2, True)
    workshop.curate()
    assert midtrain("curate", recipe, "--ray", "127.0.0.1:1").code == 0


def test_ray_has_workers_of_its_own():
    with pytest.raises(ConfigError, match="processes of their own"):
        RayCluster("local", 0, None, print)


def test_without_ray_the_error_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="is not installed") as caught:
        RayCluster("local", None, None, print)
    assert caught.value.fix == "pip install ray"


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port"])
def test_what_is_no_address_is_said_before_anything_runs(address):
    with pytest.raises(ConfigError, match="is no address of a cluster"):
        RayCluster(address, None, None, print)


def test_a_cluster_that_was_never_joined_is_left_without_a_word(capsys):
    RayCluster("local", 2, None, print).close(failed=True)
    assert capsys.readouterr().out == ""


def test_the_memory_of_a_cluster_is_not_ours_to_say():
    with pytest.raises(ConfigError, match="say how much memory they have") as caught:
        RayCluster("auto", None, 10**9, print)
    assert "ray start --memory" in caught.value.fix


class Nodes:
    """What of Ray a joined cluster is asked for: nodes, and a function to run."""

    def __init__(self, *resources):
        self.resources = resources

    def nodes(self):
        return [{"Alive": True, "Resources": found} for found in self.resources]

    def remote(self, **options):
        return lambda function: function

    def shutdown(self):
        pass


@pytest.fixture
def joined(monkeypatch):
    """Makes clusters of these nodes; what they say is kept."""
    said = []

    def make(*resources, workers=None):
        monkeypatch.setattr(cluster, "find_spec", lambda name: "there")
        monkeypatch.setitem(sys.modules, "ray", Nodes(*resources))
        monkeypatch.setattr(cluster, "_join", lambda ray, address, staging: "127.0.0.1:8265")
        return RayCluster("auto", workers, None, said.append), said

    return make


def test_the_dashboard_is_told_once(joined, toys, tmp_path):
    found, said = joined({"CPU": 4.0})
    found.begin(toys.Squares(tmp_path))
    found.begin(toys.Squares(tmp_path, label="next"))
    assert said == ["Ray dashboard: http://127.0.0.1:8265"]
    assert (found.slots, found.capacity) == (4, 8)
    found.close(failed=False)


def test_a_node_holds_as_many_tasks_as_its_memory(joined, toys, tmp_path, monkeypatch):
    monkeypatch.setattr(toys.Squares, "memory", lambda self: 10**9)
    found, _ = joined({"CPU": 4.0, "memory": 2.5e9}, {"CPU": 2.0, "memory": 9e9}, {"CPU": 0.0, "memory": 9e9})
    found.begin(toys.Squares(tmp_path))
    assert found.slots == 2 + 2
    found, _ = joined({"CPU": 4.0, "memory": 9e9}, workers=3)
    found.begin(toys.Squares(tmp_path))
    assert (found.slots, found.capacity) == (3, 3)


def test_a_task_that_no_node_holds_is_refused(joined, toys, tmp_path, monkeypatch):
    monkeypatch.setattr(toys.Squares, "memory", lambda self: 4 * 10**9)
    found, _ = joined({"CPU": 4.0, "memory": 2.5e9})
    with pytest.raises(ConfigError, match="squares, on the largest node") as caught:
        found.begin(toys.Squares(tmp_path))
    assert "4GB" in caught.value.expected
