"""Runs a recipe stage by stage, each in a worker of its own from the fork server, and prints what each came to as JSON.

A program, because a plan is to be held against fresh processes: `measured.py RECIPE.yaml`.
"""

import multiprocessing
import sys

import orjson
from midtrain.pipelines import budget, curate, executor, recipe
from midtrain.pipelines.estimates import in_order


def work(stage, send):
    peaks, results = [], []
    for task in range(stage.tasks()):
        budget.reset_peak()
        results.append(stage.run(task))
        peaks.append(budget.peak())
        stage.write_marker(task, results[-1])
    counts = stage.complete(results).counts
    disk = sum(path.stat().st_size for path in stage.folder.rglob("*") if path.is_file())
    documents = counts["documents"]
    came_to = {"tasks": len(results), "documents": documents, "kept": counts.get("kept", documents)}
    send.send({"stage": stage.name, "memory": max(peaks), "disk": disk, **came_to})


def main():
    executor.start_fork_server()
    context = multiprocessing.get_context("forkserver")
    found = []
    for stage in in_order(curate.plan(recipe.load(sys.argv[1]))[-1]):
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
