"""Trains a GAN: python -m igan.main --config=experiments/mnist.py

The config is a Python file with get_config(); a variant follows a colon (experiments/mnist.py:unsupervised), and any
field can be overridden: --config.seed=2 --config.techniques.feature_matching.enabled=False. The fields and their
meaning are in igan/config.py; --dry_run prints them as they would be used, and trains nothing.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from igan import train
from igan.errors import RunError, UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "experiment[:variant], e.g. experiments/mnist.py")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "where the run's files go; a run that is there is resumed (default: runs/<experiment>-<time>)"
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print config, networks and plan; train nothing, write nothing")


def main(arguments: Sequence[str]) -> None:
    config = CONFIG.value
    name = Path(flags.FLAGS["config"].config_filename).stem
    workdir = Path(WORKDIR.value or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    train.run(config, workdir)

if __name__ == "__main__":
    app.run(main)
