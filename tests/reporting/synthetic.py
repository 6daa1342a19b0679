"""Work directories as training leaves them, with made-up but plausible numbers."""

import json

import numpy as np
from PIL import Image

VERSIONS = {"igan": "0.1.0", "python": "3.11.9", "jax": "0.10.2", "flax": "0.12.8"}
PROTOCOL = "openai-is; Inception-2015 (pt 6726825d); TF1 bilinear to 299; 50,000 samples; 10 splits in order"


def make_run(
    workdir, dataset="cifar10", variant="", errors=(), labels=None, test_examples=10_000, seed=1, steps=1200,
    finished=True, summary=True, scores=None, curve_of_score=None, samples=False, experiment=None, settings=None,
    points=2,
):  # fmt: skip
    """A work directory with `points` evaluations, whose errors fall to `errors`; raw errors are two more."""
    workdir.mkdir(parents=True)
    random = np.random.default_rng([seed, len(variant), steps])
    lines = []
    for point in range(1, points + 1):
        step = steps * point // points
        share = point / points
        common = {"step": step, "epoch": step / 600, "seconds": 10.0 * point}
        noise = random.normal(0, 0.02, 3)
        losses = {
            "d/minimax": 0.45 + 0.3 * np.exp(-4 * share) + noise[0],
            "d/semi_supervised": 0.02 + 0.6 * np.exp(-6 * share) + abs(noise[1]) / 5,
            "g/minimax": 0.9 - 0.3 * np.exp(-4 * share) + noise[2],
        }
        lines.append(common | losses)
        if curve_of_score:
            name, final = curve_of_score
            lines.append(common | {f"scores/{name}": final * (1 - 0.8 * np.exp(-5 * share)) + noise[0] * 3})
        if errors:
            factor = 1 + (points - point) / max(points - 1, 1)
            values = [round(factor * error) for error in errors]
            raw = {"test_errors_raw": [value + 2 for value in values], "ensemble_errors": min(values) - 4}
            lines.append(common | {"test_errors": values, "test_examples": test_examples} | raw)
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {
        "experiment": experiment or dataset,
        "variant": variant,
        "seed": seed,
        "replicas": max(len(errors), 1),
        "labels_per_class": (labels or 0) // 10,
        "epochs": steps // 600,
        "data": {"name": "mnist" if dataset == "mnist5k" else dataset},
        "techniques": {"semi_supervised": {"enabled": labels is not None}},
    }
    (workdir / "config.json").write_text(json.dumps(config | (settings or {})))
    if summary:
        content = {
            "dataset": dataset,
            "data_origin": f"{dataset} of tensorflow-datasets",
            "test_examples": test_examples,
            "replicas": max(len(errors), 1),
            "epochs": steps // 600,
            "steps": steps,
            "finished": finished,
            "seconds": 10.0 * points,
            "device": "1 x NVIDIA H100",
            "versions": VERSIONS,
        }
        if errors:
            content |= {"test_errors": list(errors), "test_errors_raw": [error + 2 for error in errors]}
            content |= {"ensemble_errors": min(errors) - 4, "labels_per_class": labels // 10}
        if scores:
            content["scores"] = scores
        (workdir / "summary.json").write_text(json.dumps(content))
    if samples:
        (workdir / "samples").mkdir()
        for step in (0, steps):
            pixels = random.integers(0, 255, [33, 33, 3], np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(workdir / "samples" / f"step_{step:08d}.png")
    return workdir


def score(value, std=None, protocol=PROTOCOL):
    return {"value": value, "std": std, "protocol": protocol}
