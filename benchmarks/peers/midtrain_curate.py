"""midtrain as a whole program: curates a recipe in this process after a small one that loads its kernels.

`midtrain_curate.py RECIPE SMALL`: tells the user seconds of RECIPE with children, the bytes that the process held
before it and at most while it ran (without page cache), and with --ids what is kept, and each dropped document's
partner. Costs the two curations.
"""

import json
import resource
import sys
from pathlib import Path

import pyarrow.parquet as pq
from midtrain.manifest import Manifest
from midtrain.pipelines import budget
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.curate import curate
from midtrain.pipelines.processes import local
from midtrain.pipelines.read_parts import read_part
from midtrain.progress import Progress
from midtrain.storage import Location


def user() -> float:
    return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def tasks_peak(output: Location) -> int:
    """The most that the process held in any task: each measures anew."""
    events = map(json.loads, Path(str(output), "events.jsonl").read_text().splitlines())
    return max((event["memory"] for event in events if event["event"] == "task_finished"), default=0)


def main() -> None:
    recipe, small = (recipes.load(path) for path in sys.argv[1:3])
    curate(small, local(0), Progress(shown=False))
    budget.release()
    baseline = budget.held("self")
    budget.reset_peak()
    started = user()
    curated = curate(recipe, local(0), Progress(shown=False))
    seconds = user() - started
    told = {"user": seconds, "baseline": baseline, "peak": max(tasks_peak(recipe.output), budget.peak())}
    told["stages"] = [[name, counts["documents"], counts["kept"]] for name, counts in curated.stages]
    if "--ids" in sys.argv:
        output = Path(str(recipe.output))
        parts = [output / file.path for file in Manifest.read(output).files]
        told["kept"] = [one for part in parts for batch in read_part(part, ["id"]) for one in batch["id"].to_pylist()]
        dropped = [
            row for path in output.glob("stages/*/dropped/part-*.parquet") for row in pq.read_table(path).to_pylist()
        ]
        told["partners"] = {row["id"]: row["partner"] for row in dropped}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
