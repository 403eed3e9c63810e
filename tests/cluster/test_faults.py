"""On three nodes, whatever breaks: the run ends, or goes on when it is started again, with the files it always has.

In CI a worker and the head break; in `make whole` all of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import faults, network
from tests.cluster.corpora import Corpora
from tests.cluster.faults import Moment
from tests.cluster.nodes import Cluster, three_nodes
from tests.sizes import sized, whole_only

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1500)]

GOES_ON_WITHIN = 60.0  # seconds after a link was cut, with the settings that are shipped
STANDS_STILL = 5.0  # seconds; tasks take a third of one, and a node is given up only after keepalives
RUNS = [  # benchmarks/faults.py does them all again and again
    ("worker killed", Moment(0.1)),
    ("head killed", Moment(0.4)),
]
MORE = [
    ("link down", Moment(0.15, node=2)),
    ("document eats", Moment(0)),
    ("raylet killed", Moment(0.2, node=1)),
    ("node returns", Moment(0.1, node=2)),
    ("link flaps", Moment(0.5, node=1, seconds=6)),
    ("driver killed", Moment(0.5)),
    ("disk full", Moment(0.6)),
    ("store fails", Moment(0.1)),
    ("document raises", Moment(0)),
    ("document crashes", Moment(0)),
]
CASES = [
    pytest.param(name, moment, id=f"{name}-{moment.share}", marks=[pytest.mark.measures] * name.startswith("link"))
    for name, moment in sized(RUNS + MORE, RUNS)
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for all runs; each finds it mended."""
    with three_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    """The corpora and what they come to undisturbed."""
    return Corpora(tmp_path_factory.mktemp("corpora"))


@pytest.mark.parametrize(("fault", "moment"), CASES)
def test_the_files_are_those_of_an_undisturbed_run(
    fault: str, moment: Moment, cluster: Cluster, made: Corpora, tmp_path: Path
) -> None:
    try:
        row = faults.do(fault, moment, cluster, made, tmp_path / "run")
    except faults.Unfit as why:
        pytest.skip(str(why))
    assert row.same, row.note
    if fault in ("worker killed", "document crashes", "document eats"):  # else a task may just have ended
        assert row.lost > 0
    if fault.startswith("link"):
        assert row.gap < GOES_ON_WITHIN
    if fault == "link down":  # what the node had under way is waited for, then found lost or, on the common disk, done
        assert row.gap > STANDS_STILL


@whole_only
def test_where_no_namespace_is_permitted_links_alone_cannot_be_cut(
    made: Corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_permitted", lambda name: "not permitted")
    with three_nodes() as cluster:
        assert [node.place.address for node in cluster.nodes] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        with pytest.raises(faults.Unfit, match="no link can be cut: not permitted"):
            faults.do("link down", Moment(0.1), cluster, made, tmp_path / "link")
        assert faults.do("raylet killed", Moment(0.1), cluster, made, tmp_path / "raylet").same
