"""Runs a recipe stage by stage, each in a worker of its own from the fork server, and prints what each came to as JSON.

A program, because a plan is to be held against fresh processes: `measured.py RECIPE.yaml MIN_SPLIT [MIXTURE.yaml]`;
with a mixture its stages are measured, and the recipe is run as a whole before.
"""

import multiprocessing
import sys

import orjson
from midtrain.mixtures import schema
from midtrain.pipelines import budget, build_stages, curate, inputs, processes, recipe
from midtrain.pipelines.estimates import in_order
from midtrain.pipelines.executor import InProcess
from midtrain.pipelines.stage import Tally
from midtrain.progress import Progress


def work(stage, send):
    peaks, results, planned = [], [], stage.memory()
    for task in range(stage.tasks()):
        budget.reset_peak()
        results.append(stage.run(task))
        peaks.append(budget.peak())
        stage.write_marker(task, results[-1])
    counts = stage.complete(Tally(results)).counts
    disk = sum(path.stat().st_size for path in stage.folder.rglob("*") if path.is_file())
    documents = counts.get("documents", 0)
    came_to = {"tasks": len(results), "documents": documents, "kept": counts.get("kept", documents)}
    told = {"stage": stage.name, "memory": max(peaks), "planned": planned, "disk": disk}
    send.send({**told, **came_to})


def stages():
    loaded = recipe.load(sys.argv[1])
    if len(sys.argv) == 3:
        return in_order(curate.plan(loaded)[-1])
    curate.curate(loaded, InProcess(), Progress(shown=False))
    found = build_stages.stages_of(schema.load(sys.argv[3], ()))
    return [stage for shards in found.shards for stage in in_order(shards)]


def main():
    processes.start_fork_server()
    context = multiprocessing.get_context("forkserver")
    found = []
    inputs.MIN_SPLIT = int(sys.argv[2])
    for stage in stages():
        stage.folder.mkdir(parents=True, exist_ok=True)
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(stage, send))
        process.start()
        send.close()
        found.append(receive.recv())
        process.join()
    sys.stdout.write(orjson.dumps(found).decode())


if __name__ == "__main__":
    main()
