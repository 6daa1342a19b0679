"""A logistic model of the answers in which people and images both differ, through statsmodels."""

import warnings
from typing import NamedTuple

import numpy as np

from igan.annotation.votes import Votes
from igan.errors import UserError


class Mixed(NamedTuple):
    """Standard deviations on the logit scale, and the share right of a person and an image in the middle."""

    people: float
    images: float
    accuracy: float


def mixed(votes: Votes) -> Mixed:
    """Fits right answers ~ 1 + (1 | person) + (1 | image) by variational Bayes.

    A factored posterior makes the intercept's own interval far too narrow, so only the estimates are returned.

    Raises UserError without statsmodels, or with fewer than two people or images.
    """
    try:
        from scipy.sparse import csr_matrix
        from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM
    except ImportError as error:
        raise UserError("--mixed needs statsmodels: pip install statsmodels, or leave --mixed away") from error
    people, images = len(votes.people), len(votes.images)
    if min(people, images) < 2:
        raise UserError(f"--mixed needs two people and two images, and there are {people} and {images}: leave it away")
    rows = np.arange(votes.count)
    columns = np.concatenate([votes.person, people + votes.image])
    design = csr_matrix((np.ones(2 * votes.count), (np.tile(rows, 2), columns)), (votes.count, people + images))
    ident = np.repeat([0, 1], [people, images])
    right = votes.right.astype(np.float64)
    model = BinomialBayesMixedGLM(right, np.ones((votes.count, 1)), design, ident)
    size = 1 + 2 + people + images
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of convergence: L-BFGS stops at its precision.
        fitted = model.fit_vb(np.zeros(size), np.full(size, 0.5), fit_method="L-BFGS-B")
    spreads = np.exp(fitted.vcp_mean)
    return Mixed(float(spreads[0]), float(spreads[1]), float(1 / (1 + np.exp(-fitted.fe_mean[0]))))
