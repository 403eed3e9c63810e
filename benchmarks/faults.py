"""A cluster of three nodes broken at random while it curates: what each fault costs, and that the files are the same.

A survival that was tried once at one moment says little of the next; here faults and moments are drawn anew, and the
numbers in docs/cluster.md come from it.
Costs about 30 s a run on two cores, as root or where namespaces are permitted to all.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # behind all else: names of the root are not to hide those of packages

from tests.cluster import faults  # noqa: E402
from tests.cluster.corpora import Corpora  # noqa: E402
from tests.cluster.nodes import three_nodes  # noqa: E402

RUNS = 12
LATEST = 0.85  # of all tasks: behind it a node may have none any more
LONGEST_OUTAGE = 60.0  # seconds of a link
HEADER = f"{'fault':18}{'when':28}{'lost':>5}{'re-runs':>9}{'seconds':>9}{'gap s':>7}  same hashes"


def draw(rng: random.Random, names: list[str], runs: int) -> list[tuple[str, faults.Moment]]:
    """Faults in random order, each about as often as any other, at random moments."""
    bag: list[str] = []
    drawn = []
    for _ in range(runs):
        bag = bag or rng.sample(names, len(names))
        moment = faults.Moment(rng.uniform(0.02, LATEST), rng.choice(faults.OTHERS), rng.uniform(2, LONGEST_OUTAGE))
        drawn.append((bag.pop(), moment))
    return drawn


def attempt(fault: str, moment: faults.Moment, *where: object) -> faults.Row:
    """Does one fault; what fails is a row that says so."""
    try:
        return faults.do(fault, moment, *where)
    except faults.Unfit as why:
        return faults.Row(fault, "not possible here", 0, 0, 0.0, 0.0, True, str(why))
    except AssertionError as failed:
        return faults.Row(fault, str(moment), 0, 0, 0.0, 0.0, False, _short(failed))


def _short(failed: AssertionError) -> str:
    """The first and the last line of what failed: between them stand whole outputs."""
    lines = str(failed).strip().splitlines() or ["a check failed"]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults whose name begins so")
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    names = [name for name in faults.FAULTS if name.startswith(arguments.only)]
    if not names:
        parser.error(f"no fault begins with {arguments.only}; there are: {', '.join(faults.FAULTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nodes and namespaces go too
    rows = []
    with tempfile.TemporaryDirectory() as temporary, three_nodes() as cluster:
        folder = Path(temporary)
        made = Corpora(folder / "corpora")
        print(HEADER, flush=True)
        for number, (fault, moment) in enumerate(draw(random.Random(arguments.seed), names, arguments.runs)):
            row = attempt(fault, moment, cluster, made, folder / f"run-{number}")
            rows.append(asdict(row))
            numbers = f"{row.lost:5}{row.reruns:9}{row.seconds:9.1f}{row.gap:7.1f}"
            print(f"{row.fault:18}{row.when:28}{numbers}  {'yes' if row.same else 'NO'} {row.note}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if not all(row["same"] for row in rows):
        sys.exit("a run did not come to what an undisturbed one does")


if __name__ == "__main__":
    main()
