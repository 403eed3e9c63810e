"""The command line with a tenth of a second behind every step of training: `slow_steps.py train RUN.yaml`.

Who is to kill a run in its middle has seconds for it, however busy the machine is.
"""

import time

from midtrain import cli
from midtrain.trainer.metrics import Metrics

step = Metrics.step


def step_and_wait(metrics, row):
    step(metrics, row)
    time.sleep(0.1)


if __name__ == "__main__":
    Metrics.step = step_and_wait
    cli.main()
