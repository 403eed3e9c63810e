"""Trains a run on the fake mixture, slowly enough to be killed: `train_fake.py RUN.yaml resume|new SECONDS_A_STEP`."""

import runpy
import sys
import time
from pathlib import Path

from midtrain.config import load
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train

FakeMixture = runpy.run_path(str(Path(__file__).with_name("fake_mixture.py")))["FakeMixture"]


def main(file: str, how: str, pause: str) -> int:
    def report(progress):
        time.sleep(float(pause))

    def evaluate(model, step):
        for _ in range(10):
            time.sleep(float(pause))
        return {"weights": sum(float(parameter.sum()) for parameter in model.parameters())}

    result = train(load(file, RunConfig), resume=how == "resume", report=report, evaluate=evaluate, built=FakeMixture())
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
