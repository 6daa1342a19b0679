"""Simulated people: skills on the logit scale that differ, biases, learning, attention checks."""

import numpy as np
from scipy.optimize import brentq

from igan.annotation.answers import Answer

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def logistic(value):
    return 1 / (1 + np.exp(-np.asarray(value, float)))


def true_accuracy(centre, spread, bias=0.0, slope=0.0, questions=1):
    """The mean over all people, both classes and all positions."""
    trend = slope * (np.arange(questions) / max(questions - 1, 1) - 0.5)
    skills = centre + spread * NODES[:, None, None] + trend[:, None] + np.array([bias, -bias])
    return float(np.average(logistic(skills).mean(axis=(1, 2)), weights=WEIGHTS))


def centre_of(accuracy, spread):
    """The skill in the middle of people whose mean accuracy is given."""
    return brentq(lambda centre: true_accuracy(centre, spread) - accuracy, -10, 10)


def right_answers(random, studies, people, questions, centre, spread, bias=0.0, slope=0.0):
    """Whether each answer is right, [studies, people, questions]; each question's class is drawn independently."""
    skill = centre + spread * random.normal(size=(studies, people, 1))
    trend = slope * (np.arange(questions) / max(questions - 1, 1) - 0.5)
    is_real = random.random((studies, people, questions)) < 0.5
    return random.random(is_real.shape) < logistic(skill + trend + np.where(is_real, -bias, bias))


def answer(person="p", position=0, image="i", generator="g", said_real=False, feedback=True, seconds=1.0, **rest):
    real = rest.pop("real", generator == "real")
    return Answer(person, position, image, generator, real, said_real, feedback, seconds, rest.pop("limit", None),
                  rest.pop("check", False))  # fmt: skip


def study(random, people=20, questions=40, centre=1.0, spread=0.5, effect=0.0, slope=0.0, images=200, hardness=0.0,
          generators=("dcgan",), bias=0.0, checks=0, careless=(), real_share=0.5, arms=None):  # fmt: skip
    """All answers of one study. `careless` are the people who fail all attention checks."""
    hard = {(name, place): hardness * random.normal() for name in (*generators, "real") for place in range(images)}
    answers = []
    for person in range(people):
        feedback = bool(random.random() < 0.5) if arms is None else bool(arms[person])
        skill = centre + spread * random.normal() + effect * feedback
        for position in range(questions):
            real = random.random() < real_share
            name = "real" if real else generators[random.integers(len(generators))]
            place = int(random.integers(images))
            trend = slope * (position / max(questions - 1, 1) - 0.5)
            right = random.random() < logistic(skill + trend - hard[name, place] + (-bias if real else bias))
            said_real = real == right
            seconds = float(random.lognormal(0.3, 0.5))
            answers.append(answer(f"p{person}", position, f"{name}{place}", name, said_real, feedback, seconds))
        for check in range(checks):
            said_real = f"p{person}" not in careless
            answers.append(
                answer(f"p{person}", questions + check, "c", "check", said_real, feedback, real=True, check=True)
            )
    return answers
