"""Truncation in sampling: better images of fewer kinds.

Two things have that name. BigGAN's draws numbers of normal latents again until they are small (Brock et al. 2019,
section 3.1). StyleGAN's draws styles to their mean (Karras et al. 2019, appendix B). Networks have one of them or none,
as `Networks.options` says.
"""

from collections.abc import Collection

import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from igan.types import Array, Context

# Of `Networks.options`:
OPTION = "truncation"  # the largest number of a latent,
PSI = "psi"  # how much of a style's distance to the mean is left,
PSI_LAYERS = "psi_layers"  # and in how many layers, of the first ones; without, in all;
NOISE = "noise"  # beside styles, 0 for no noise, 1 for each image's own, as without the option, 2 for one for all.


def truncated(latents: Array, context: Context) -> Array:
    """Returns latents of N(0, 1) as they are, or truncated where sampling asks for it. For a generator's beginning.

    >>> truncated(jnp.array([3.0]), context)  # Of training.
    Array([3.], dtype=float32)
    """
    threshold = context.options.get(OPTION)
    return latents if threshold is None else truncate(latents, threshold)


def truncate(latents: Array, threshold: float) -> Array:
    """Returns normal numbers as if each that is not in [-threshold, threshold] were drawn again until it is.

    That is the normal distribution given the interval. It is had without drawing again: a number with a share p of the
    distribution below it becomes the one with a share p of the truncated distribution below it. So one latent has one
    image, at every threshold, and images change little by little with the threshold.

    Args:
      latents: float [...] of N(0, 1).
      threshold: positive.

    >>> print([f"{number:.3f}" for number in truncate(jnp.array([-8.0, 0.0, 1.0]), 1.0)])
    ['-1.000', '-0.000', '0.622']
    """
    # The half below zero: in float32 small shares are exact, and those near one are not.
    least = ndtr(-jnp.asarray(threshold, latents.dtype))
    share = least + ndtr(-jnp.abs(latents)) * (1 - 2 * least)
    return jnp.sign(latents) * jnp.minimum(-ndtri(share), threshold)


def drawn_to_mean(
    w: Array, mean: Array, layers: int, psi: Array | float = 1.0, psi_layers: float | None = None
) -> Array:
    """Returns the styles of each layer, mean + psi (w - mean) in the first ones and w in those after them.

    Args:
      w: float [n, size].
      mean: float [size], of w in training.
      layers: how many there are.
      psi: 1 for w itself, 0 for the mean.
      psi_layers: how many of the first ones; None: all.

    Returns: float [n, layers, size].

    >>> drawn_to_mean(jnp.array([[3.0]]), jnp.array([1.0]), layers=3, psi=0.5, psi_layers=2)[0, :, 0]
    Array([2., 2., 3.], dtype=float32)
    """
    is_drawn = jnp.arange(layers) < (layers if psi_layers is None else psi_layers)
    strength = jnp.where(is_drawn, psi, 1.0).astype(w.dtype)[None, :, None]
    return mean + strength * (w[:, None] - mean)


def why_not(option: str, known: Collection[str]) -> str:
    """Returns why networks with these options cannot be asked for another one, and for what they can.

    >>> why_not("truncation", {"psi", "psi_layers", "noise"})
    'these networks have styles, which --psi=0.7 draws to their mean, and no --truncation, which draws latents again'
    """
    if PSI in known and option == OPTION:
        has = f"styles, which --{PSI}=0.7 draws to their mean, and no --{OPTION}, which draws latents again"
    elif OPTION in known and option in (PSI, PSI_LAYERS):
        has = f"normal latents, which --{OPTION}=0.5 draws again, and no --{option}, which is of styles"
    else:
        others = ", ".join(sorted(known)) or "none"
        has = f"no --{option}: of what can be asked for in sampling they have {others}"
    return f"these networks have {has}"
