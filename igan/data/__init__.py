"""Data sets in memory, and which of their examples carry a label."""

from igan.data.dataset import Dataset
from igan.data.sources import load
from igan.data.splits import labeled_indices

__all__ = ["Dataset", "labeled_indices", "load"]
