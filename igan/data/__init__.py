"""Data sets in memory or as streams of batches, and which of their examples carry a label."""

from igan.data.dataset import Dataset
from igan.data.sources import load, open_stream
from igan.data.splits import labeled_indices
from igan.data.stream import Stream

__all__ = ["Dataset", "Stream", "labeled_indices", "load", "open_stream"]
