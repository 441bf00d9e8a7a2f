"""Writes tests/fixtures/statistics.json: figures of numpy for the statistics of an evaluation.

    python tests/reference/make_statistics_fixture.py

Made with numpy 2.4. The script needs no other package.
"""

import itertools
import json
import pathlib

import numpy

ROUNDS = 200_000
OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "statistics.json"


def interval(rng, values):
    draws = rng.integers(len(values), size=(ROUNDS, len(values)))
    return numpy.quantile(values[draws].mean(1), [0.025, 0.975]).tolist()


def case(rng, values):
    shares = [0.0, 0.025, 0.3, 0.5, 0.77, 1.0]
    return {
        "values": values.tolist(),
        "mean": values.mean(),
        "std": values.std(ddof=1),
        "sem": values.std(ddof=1) / numpy.sqrt(len(values)),
        "shares": shares,
        "quantiles": numpy.quantile(values, shares).tolist(),
        "interval": interval(rng, values),
    }


def sign_flip(rng, differences):
    count = len(differences)
    observed = abs(differences.sum())
    if count <= 14:
        signs = numpy.array(list(itertools.product([1, -1], repeat=count)))
    else:
        signs = rng.choice([1, -1], size=(ROUNDS, count))
    return float((abs(signs @ differences) >= observed - 1e-12).mean())


def paired(rng, first, second):
    return {
        "first": first.tolist(),
        "second": second.tolist(),
        "mean": (first - second).mean(),
        "p": sign_flip(rng, first - second),
    }


def holm(p):
    """statsmodels' multipletests(p, method="holm"), by its formula."""
    order = numpy.argsort(p)
    steps = (len(p) - numpy.arange(len(p))) * p[order]
    adjusted = numpy.empty(len(p))
    adjusted[order] = numpy.minimum(numpy.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def write(out):
    """Write the fixture to a file."""
    rng = numpy.random.default_rng(0)
    p = rng.uniform(size=7) ** 3
    fixture = {
        "cases": [case(rng, rng.normal(0.5, 0.12, 32)), case(rng, rng.exponential(size=9))],
        "paired": [
            paired(rng, rng.normal(0.55, 0.1, n), rng.normal(0.5, 0.1, n)) for n in (8, 13, 40)
        ],
        "holm": {"p": p.tolist(), "adjusted": holm(p)},
    }
    out.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    write(OUT)
