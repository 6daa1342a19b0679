"""The results that the paper prints, for the tables that stand beside them.

Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, "Improved Techniques for Training GANs", 2016.
"""

from typing import NamedTuple

Interval = tuple[float, float]  # Mean and standard deviation over 10 label draws.


class SemiSupervised(NamedTuple):
    """Test errors by the number of labels, of single models and of ensembles of 10 models."""

    title: str  # What the data set is called there.
    percent: bool  # Whether the errors are per cent of the test set, or counts of its examples.
    errors: dict[int, Interval]
    ensemble: dict[int, Interval]


SEMI_SUPERVISED = {
    "mnist": SemiSupervised(  # Table 1.
        "MNIST",
        False,
        {20: (1677, 452), 50: (221, 136), 100: (93, 6.5), 200: (90, 4.2)},
        {20: (1134, 445), 50: (142, 96), 100: (86, 5.6), 200: (81, 4.3)},
    ),
    "cifar10": SemiSupervised(  # Table 2.
        "CIFAR-10",
        True,
        {1000: (21.83, 2.01), 2000: (19.61, 2.09), 4000: (18.63, 2.32), 8000: (17.72, 1.82)},
        {1000: (19.22, 0.54), 2000: (17.25, 0.66), 4000: (15.59, 0.47), 8000: (14.87, 0.89)},
    ),
    "svhn_cropped": SemiSupervised(  # Figure 5.
        "SVHN", True, {500: (18.44, 4.8), 1000: (8.11, 1.3), 2000: (6.16, 0.58)}, {1000: (5.88, 1.0)}
    ),
}
SEMI_SUPERVISED["svhn"] = SEMI_SUPERVISED["svhn_cropped"]

# Table 3: Inception scores of CIFAR-10 samples, in the order of the paper, with its own number of digits.
ABLATION = {
    "ours": "8.09 ± .07",
    "-vbn+bn": "7.54 ± .07",
    "-l+ha": "6.86 ± .06",
    "-ls": "6.83 ± .06",
    "-l": "4.36 ± .04",
    "-mbf": "3.87 ± .03",
}
ABLATION_REAL_DATA = "11.24 ± .12"
ABLATION_PROTOCOL = "Inception score of 50,000 samples by the Inception-2015 network, ± its std over 10 splits"


class People(NamedTuple):
    """How often people told generated images from real ones."""

    title: str
    right: float  # The share of right answers.
    answers: int | None  # None: not stated.
    at_least: bool = False


PEOPLE = (  # Section 6: the number of people, and whether they got feedback, are not stated.
    People("MNIST", 0.524, 2000),
    People("CIFAR-10", 0.787, None),
    People("CIFAR-10, top 1 % by Inception score", 0.714, None),
    People("CIFAR-10, the authors themselves", 0.95, None, at_least=True),
)
