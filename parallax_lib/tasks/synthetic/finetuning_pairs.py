"""Training pairs from forge programs: a right source, and a target under the corpus's label noise, right or wrong.

Knows how often each plan token is drawn.  Knows nothing of tokenizers or models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from parallax_lib.tasks.synthetic import generator, house_style
from parallax_lib.tasks.synthetic.augment import dress, rename
from parallax_lib.tasks.synthetic.codegen import Spec

RIGHT_SHARE = 0.76  # of the plan tokens that label noise leaves alone


@dataclass(frozen=True)
class Pair:
    """One training example: translate `source` into `target`, which follows `plan`; `right` says if that works."""

    source: str
    target: str
    plan: tuple[str, ...]
    right: bool


def noisy_plan(
    spec: Spec, source_api: str, target_api: str, rng: random.Random, label_noise: float = 0.5, right_share: float = RIGHT_SHARE
) -> tuple[str, ...]:
    """The corpus's plan: per function `parallel` by label noise, else mostly a right strategy, sometimes any other."""
    assert source_api != target_api, (source_api, target_api)
    plan = []
    for stage in spec.stages:
        draw, right = rng.random(), generator.right_words(stage, target_api)
        others = [w for w in generator.strategies(stage, target_api) if w not in right and w != "parallel"]
        if draw < label_noise:
            plan.append("parallel")
        elif draw < label_noise + right_share * (1 - label_noise) or not others:
            plan.append(rng.choice(right))
        else:
            plan.append(rng.choice(others))
    return tuple(plan)


def training_pair(
    spec: Spec,
    source_api: str,
    target_api: str,
    rng: random.Random,
    label_noise: float = 0.5,
    dressed: bool = False,
    styled: bool = False,
    right_share: float = RIGHT_SHARE,
) -> Pair:
    """A source that is right and a target that follows the corpus's habits; `dressed`: in other names and with helpers;
    `styled`: in the manner of one of many authors (`house_style`), with a plan that is always right."""
    first = None if source_api == "serial" else generator.source_plan(spec, source_api, rng)
    drawn = (spec, source_api, target_api, rng, label_noise, right_share)
    plan = generator.source_plan(spec, target_api, rng) if styled else noisy_plan(*drawn)
    right = generator.is_right(spec, target_api, plan)
    dressing = random.Random(f"{spec.name} guise")
    if styled:
        style = random.Random(f"{spec.name} {source_api} {target_api} style")
        spec, author = house_style.prepare(spec, style, "cuda" in (source_api, target_api))
    spec = dress(spec, dressing) if dressed else spec
    both = ((source_api, first), (target_api, plan))
    if styled:
        texts = tuple(house_style.program(spec, author, api, words or ("serial",) * len(spec.stages)) for api, words in both)
    else:
        texts = tuple(generator.render(spec, api, words) for api, words in both)
    texts = rename(texts, spec, dressing, source_api == "cuda") if dressed else texts
    return Pair(*texts, plan, right)

