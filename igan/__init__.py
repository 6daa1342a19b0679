"""GAN training in JAX and Flax; see README.md."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "__version__":  # Found when it is asked for: whoever imports igan does not start git.
        from igan.version import version

        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
