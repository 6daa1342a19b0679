"""Orthogonal regularisation of the generator (Brock et al. 2019, "BigGAN", equation 3).

The generator's cost gains strength * |W^T W * (1 - I)|^2 for the kernel W of each of its layers: filters are drawn
apart from each other, and how long they are is free. The paper finds that it makes more generators fit for truncated
latents. W is [inputs, filters], a convolution's with its places among the inputs, as it is trained: before spectral
normalisation. Tables of classes, biases, and the scales of normalisations are left alone.

The released code adds the gradient 2 s (W W^T * (1 - I)) W, half of the penalty's own; its strength s = 2 * strength.

`orthogonal` is an ordinary optax wrapper and works without the rest of igan.
"""

import functools
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import optax

from igan.errors import FLOAT32_MAX, UserError
from igan.game.technique import Technique
from igan.types import Array, Params


def make(strength: float = 1e-4) -> Technique:
    """Returns orthogonal regularisation of the generator.

    Args:
      strength: factor of the penalty, at least 0; the paper's is 1e-4.

    Raises UserError for a strength that is negative or not finite.
    """
    if not isinstance(strength, numbers.Real) or not 0 <= strength < FLOAT32_MAX:
        raise UserError(f"techniques.orthogonal.strength is {strength}, expected a finite number of at least 0")
    return Technique(generator_optimizer=functools.partial(orthogonal, strength=float(strength)))


def penalty(kernel: Array) -> Array:
    """Returns |W^T W * (1 - I)|^2, the sum of the squared products of any two different filters.

    Args:
      kernel: float [..., filters].

    >>> penalty(jnp.array([[3.0, 4.0], [0.0, 1.0]])).item()  # Twice 12 * 12.
    288.0
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    products = matrix.T @ matrix
    return jnp.sum(jnp.square(products - jnp.diag(jnp.diag(products))))


def slope(kernel: Array) -> Array:
    """Returns the gradient of `penalty`, 4 W (W^T W * (1 - I)).

    By whichever product is smaller: a first layer has many more filters than inputs.

    >>> slope(jnp.array([[3.0, 4.0], [0.0, 1.0]]))
    Array([[192., 144.],
           [ 48.,   0.]], dtype=float32)
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    inputs, filters = matrix.shape
    products = (matrix @ matrix.T) @ matrix if inputs < filters else matrix @ (matrix.T @ matrix)
    return 4 * (products - matrix * jnp.sum(jnp.square(matrix), axis=0)).reshape(kernel.shape)


def orthogonal(optimizer: optax.GradientTransformation, strength: float = 1e-4) -> optax.GradientTransformation:
    """Returns the optimiser of a cost that gains strength * `penalty` of each kernel.

    Kernels are the leaves called "kernel" with two axes or more. The gradient is added once a step, however many parts
    of a batch there are, and before the inner optimiser sees it.

    >>> import jax.numpy as jnp, optax
    >>> from igan.techniques.orthogonal import orthogonal
    >>> params = {"kernel": jnp.array([[1.0, 1.0], [0.0, 1.0]])}
    >>> optimizer = orthogonal(optax.sgd(0.1), strength=0.1)
    >>> updates, _ = optimizer.update({"kernel": jnp.zeros((2, 2))}, optimizer.init(params), params)
    >>> updates["kernel"]
    Array([[-0.04, -0.04],
           [-0.04, -0.  ]], dtype=float32)

    Raises ValueError where `update` is called without the parameters.
    """
    inner = optax.with_extra_args_support(optimizer)

    def update(updates: Params, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[Params, Any]:
        if params is None:
            raise ValueError("orthogonal needs the parameters: call update(gradients, state, params), with params")

        def add(path: Any, gradient: Array, leaf: Array) -> Array:
            is_kernel = path[-1].key == "kernel" and leaf.ndim > 1 and math.prod(leaf.shape)
            return gradient + (strength * slope(leaf)).astype(gradient.dtype) if is_kernel else gradient

        return inner.update(jax.tree_util.tree_map_with_path(add, updates, params), state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(inner.init, update)
