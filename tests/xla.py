"""How programs are compiled in tests: compiling takes most of a suite's time. Importing this does not import JAX."""

import os
from importlib.metadata import version

LONG = bool(os.environ.get("IGAN_LONG_TESTS"))
# Kernels as XLA generated them before compile in half of the time; jaxlib 0.12 knows the new way only.
OLD_KERNELS = "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") and not LONG else ""
# A program in one piece: in many, for many cores, all of it is an eighth more work. Two cores have two workers.
IN_ONE_PIECE = "" if LONG else "--xla_cpu_parallel_codegen_split_count=1"
# Of processes that compile as users' do.
AS_USERS = {"XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}


def flags(devices: int) -> str:
    """Returns XLA_FLAGS for so many virtual devices.

    >>> flags(8).split()[0]
    '--xla_force_host_platform_device_count=8'
    """
    return f"--xla_force_host_platform_device_count={devices} {IN_ONE_PIECE} {OLD_KERNELS}"
