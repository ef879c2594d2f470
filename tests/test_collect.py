"""Where rollouts branch off, and which of their latents are perturbed."""

import numpy as np
import pandas as pd
import pytest

from parallax_lib import collect, models, rewards
from parallax_lib.kernels import Kernel, Task
from parallax_lib.params import UserError, load

TEXT = "int main() { return 0; }"
TASK = Task(Kernel("k", "f", "minibench", {"serial": TEXT, "omp": TEXT}, ("1",), (("1",),)), "serial", "omp")


def settings(**given):
    latent = {"steps": 3, "proposal": "gaussian", "unit": "absolute", "sigma": 1000.0}
    return load("x", latent=latent, decode={"max_new_tokens": 2}, collect=given)


def test_depths_say_where_rollouts_branch_off_and_how_often():
    assert collect.branches(settings()) == [(-1, 0), (0, 0), (1, 0), (2, 0)]
    assert collect.branches(settings(depths=[1, 0, 0], resamples=2)) == [(-1, 0), *[(0, r) for r in range(4)], (1, 0), (1, 1)]
    with pytest.raises(UserError, match="collect.depths: 3 is not a latent index"):
        collect.branches(settings(depths=[0, 3]))
    with pytest.raises(UserError, match="collect.depths: -1 is not a latent index"):
        collect.branches(settings(depths=[0, -1]))


@pytest.mark.parametrize("onward", [False, True])
def test_which_latents_are_perturbed(onward):
    """Noise of 1000 shows in a latent's size; what comes before it is the original's, which the labels rely on."""
    model, tokenizer = models.random_model()
    translator = models.Translator(model.eval().requires_grad_(False), tokenizer, "random")
    rows, vectors = collect.generate(translator, [TASK], settings(onward=onward))
    assert [row["branch_depth"] for row in rows] == [-1, 0, 1, 2]
    large = np.abs(vectors).max(-1) > 100
    for v, perturbed in enumerate(large[1:]):
        assert perturbed.tolist() == [t >= v if onward else t == v for t in range(3)]
        np.testing.assert_array_equal(vectors[v + 1, :v], vectors[0, :v])
    assert not large[0].any()


def test_rollouts_made_with_other_noise_have_other_names():
    names = {collect.capture_id(TASK, settings(onward=onward), 1, 0) for onward in (False, True)}
    assert len(names) == 2


def test_a_shared_first_latent_is_labelled_by_all_that_go_on_from_it():
    """Original and the branch-off at 1 share the latent at 0; by hand: mean of 1 and 0, two rollouts."""
    rows = pd.DataFrame({"capture_id": ["a", "a_v0_r0", "a_v1_r0"], "root": "a", "branch_depth": [-1, 0, 1], "reward": [1.0, 1.0, 0.0]})
    targets, counts = rewards.label(rows, 3)
    assert targets[:, 0].tolist() == [0.5, 1.0, 0.5] and counts[:, 0].tolist() == [2, 1, 2]
    assert targets[:, 2].tolist() == [1.0, 1.0, 0.0]
