"""What igan needs of tensorboardX, without PyTorch.

tensorboardX imports PyTorch wherever it is installed, for functions that nobody calls here, which is almost half of the
time that `python -m igan.main` takes to start there. A module that is None cannot be imported.
"""
# ruff: noqa: E402

import sys
from typing import Any

_is_blocked = "torch" not in sys.modules
if _is_blocked:
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
# Not `SummaryWriter`: when the disk is full its writer thread dies silently, and the run then hangs on its queue.
from tensorboardX.event_file_writer import EventsWriter as EventsWriter  # For others.
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.summary import scalar as scalar

if _is_blocked:
    del sys.modules["torch"]

Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue] - generated, as are the others
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
Summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
