"""Trains a run on the fake mixture, slowly: `train_fake.py RUN.yaml resume|new SECONDS_A_STEP step|evaluation N`.

Behind step N, or in the evaluation behind it, it writes `RUN.yaml.stays` and stays there until somebody removes the
file: whoever kills it, or sends it a signal, has all the time that a busy machine takes.
"""

import runpy
import sys
import time
from pathlib import Path

from midtrain.config import load
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train

FakeMixture = runpy.run_path(str(Path(__file__).with_name("fake_mixture.py")))["FakeMixture"]


def main(file: str, how: str, pause: str, where: str, number: str) -> int:
    def stay() -> None:
        there = Path(f"{file}.stays")
        there.touch()
        while there.exists():
            time.sleep(0.01)

    def report(progress):
        time.sleep(float(pause))
        if (where, progress.step) == ("step", int(number)):
            stay()

    def evaluate(model, step):
        for _ in range(10):
            time.sleep(float(pause))
        if (where, step) == ("evaluation", int(number)):
            stay()
        return {"weights": sum(float(parameter.sum()) for parameter in model.parameters())}

    result = train(load(file, RunConfig), resume=how == "resume", report=report, evaluate=evaluate, built=FakeMixture())
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
