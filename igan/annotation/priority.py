"""Who goes first on a busy machine: people who answer."""

import os

NICENESS = 5  # With 19 an owner waited for minutes where others computed on all cores.


def stand_back() -> None:
    """Lets people go first who answer meanwhile; for the whole life of a process that makes results or exports.

    >>> stand_back(); os.getpriority(os.PRIO_PROCESS, 0)  # doctest: +SKIP
    5
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
