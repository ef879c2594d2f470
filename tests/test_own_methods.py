"""Functions and modules of one's own: trained, kept, remembered by their code, and sent to other processes."""

import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from training_rows import SHORT, make_rows

from parallax_lib.core import tables
from parallax_lib.core.config import load
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import Journal
from parallax_lib.prm import losses, train
from parallax_lib.prm import model as prm_model
from parallax_lib.search import guided_search, rollouts
from parallax_lib.search.arms import ARMS, Live
from parallax_lib.search.policies import POLICIES, by_steps
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.translator.proposals import PROPOSALS

TEXT = "int main() { return 0; }"
TASK = Task(Kernel("k", "f", "minibench", {"serial": TEXT, "omp": TEXT}, ("1",), (("1",),)), "serial", "omp")


@pytest.fixture(autouse=True)
def own_tables():
    """The tables as they were."""
    held = [(table, dict(table)) for table in (PROPOSALS, losses.LOSSES, POLICIES, ARMS)]
    yield
    for table, before in held:
        table.clear()
        table.update(before)


def first_kept(values, margin, width):
    return torch.arange(width).expand(len(values), width)


def squared(scores, targets, weights, group):
    return (weights * (scores - targets) ** 2).sum() / weights.sum()


squared.activation = "clip"


class Linear(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.score = torch.nn.Linear(width, 1)

    def forward(self, latents):
        return self.score(latents)[..., 0]


def test_a_loss_of_ones_own_trains_as_the_same_built_in_one_and_its_prm_is_read_without_it(tmp_path):
    def ranking(scores, targets, weights, group):
        return losses.rank(scores, targets, weights, group)

    data, shape = make_rows(), prm_model.PRMConfig(width=16, layers=1, heads=2)
    own, built_in = (train.fit(*data, replace(SHORT, loss=loss), tmp_path / name, prm=shape)[0]
                     for loss, name in ((ranking, "own"), ("rank", "built-in")))  # fmt: skip
    torch.testing.assert_close(prm_model.scores(own, data[0]), prm_model.scores(built_in, data[0]), atol=1e-4, rtol=1e-4)
    del losses.LOSSES[own.config.loss]
    again = prm_model.load(tmp_path / "own" / "final")
    torch.testing.assert_close(prm_model.scores(again, data[0]), prm_model.scores(own, data[0]))
    assert again.config.output == "sigmoid" and "activation" not in (tmp_path / "built-in" / "final" / "prm.json").read_text()


def test_a_plain_mean_counts_as_its_batch_weighs_and_sees_nothing_of_what_has_no_label():
    scores, targets = torch.tensor([[0.5, 0.1], [0.3, torch.nan]]), torch.tensor([[1.0, 0.0], [0.0, torch.nan]])
    weights, group = torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.zeros(2).long()
    total, count = losses.find_loss(squared).terms(scores, targets, weights, group)
    assert total.item() == pytest.approx(0.25 + 2 * 0.01 + 0.09) and count.item() == 4
    assert losses.find_loss(squared)(scores, targets, weights, group).item() == pytest.approx(0.36 / 4)


def test_a_module_of_ones_own_is_trained_as_a_copy_and_loaded_into_a_new_one(tmp_path):
    data = make_rows()
    module = Linear(data[0].shape[2])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model, history = train.fit_model(module, *data, replace(SHORT, epochs=12, lr=1e-2, loss="bce"), tmp_path, device="cpu")
    assert history["valid_loss"].dropna().iloc[-1] < history["valid_loss"].dropna().iloc[0]
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(UserError, match=r"a module of one's own \(own Linear\); give a new one: load\(folder, module=...\)"):
        prm_model.load(tmp_path / "final")
    again = prm_model.load(tmp_path / "final", module=Linear(data[0].shape[2]))
    torch.testing.assert_close(prm_model.scores(again, data[0]), prm_model.scores(model, data[0]))


def collected(folder, **own):
    params = load("x", translator={"model": "random", "dtype": "float32"}, latent={"steps": 2, "proposal": own.pop("name", "gaussian")},
                  decode={"max_new_tokens": 2}, executor=own.pop("executor", {"retries": 0}))  # fmt: skip
    journal, made = Journal(folder / "journal.sqlite"), []
    params = rollouts.collect([TASK], params, journal, folder, lambda *told: None, made.append, **own)
    frame, vectors = rollouts.load_rollouts(journal, folder, rollouts.chunk_keys([TASK], params))
    return frame, vectors, len(made)


def test_a_registered_function_that_changes_is_run_again_and_its_earlier_text_finds_its_results(tmp_path):
    first, second = (lambda h, count, *_, by=by: h.expand(-1, count, -1) + by for by in (1.0, -1.0))
    seen = []
    for proposal, new in ((first, 1), (first, 0), (second, 1), (first, 0)):
        PROPOSALS["mine"] = proposal
        frame, vectors, made = collected(tmp_path, name="mine")
        assert made == new
        seen.append((list(frame["capture_id"]), vectors))
    assert seen[0][0] == seen[2][0]  # a name is of the setting
    assert not np.array_equal(seen[0][1], seen[2][1])
    np.testing.assert_array_equal(seen[0][1], seen[3][1])
    PROPOSALS["unused"] = second
    assert collected(tmp_path, name="mine")[2] == 0  # another member is not the code of this one


def test_a_function_given_instead_of_a_name_has_rollouts_of_its_own_name(tmp_path):
    one, two = (collected(tmp_path, proposal=lambda h, count, sigma, *_, by=by: h.expand(-1, count, -1) + by) for by in (1.0, 2.0))
    assert not set(one[0]["capture_id"]) & set(two[0]["capture_id"]) and one[2] == two[2] == 1
    with pytest.raises(UserError, match="latent.proposal: there is no 'gausian'; did you mean 'gaussian'"):
        collected(tmp_path, proposal="gausian")
    with pytest.raises(UserError, match="latent.proposal: 3 is neither a name nor a function"):
        collected(tmp_path, proposal=3)
    with pytest.raises(UserError, match=r"gives \[3, 2, 576\] where \[3, 1, 576\] is asked for; return \(B, count, D\)"):
        collected(tmp_path, proposal=lambda h, count, *_: h.expand(-1, count + 1, -1))


def test_functions_of_ones_own_reach_other_processes_or_are_refused_in_one_line(tmp_path):
    def shifted(h, count, sigma, *_):
        return h.expand(-1, count, -1) + 2 * sigma

    here = collected(tmp_path / "here", proposal=shifted)
    there = collected(tmp_path / "there", proposal=shifted, executor={"workers": 2, "retries": 0})
    pd.testing.assert_frame_equal(here[0], there[0], rtol=1e-3)  # another number of threads
    assert there[2] == 1
    np.testing.assert_allclose(here[1], there[1], rtol=2**-8, atol=2**-10)
    lock = threading.Lock()
    shifted.version, held = 1, lambda h, count, *_: lock and h.expand(-1, count, -1)
    held.version = 1
    with pytest.raises(UserError, match=r"PROPOSALS\['lambda-\w+'\] cannot be sent to another process .*lock") as refused:
        collected(tmp_path / "held", proposal=held, executor={"workers": 2})
    assert "\n" not in str(refused.value)


def test_a_table_of_another_process_is_filled_from_what_is_sent():
    losses.LOSSES["mine"], POLICIES["mine"], ARMS["third"] = squared, partial(by_steps, best=first_kept), Live("random", sample=2)
    sent = tables.pack_own()
    del losses.LOSSES["mine"], POLICIES["mine"], ARMS["third"]
    tables.enter_own(sent)
    given = (torch.tensor([[0.2, 0.4]]), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2), torch.zeros(1).long())
    assert losses.find_loss("mine")(*given).item() == pytest.approx(squared(*given).item())
    assert losses.activation("mine") == "clip" and ARMS["third"] == Live("random", sample=2)
    assert POLICIES["mine"].func is by_steps and source_digest(POLICIES["mine"]) == source_digest(partial(by_steps, best=first_kept))
    assert POLICIES["steps"] is by_steps  # the library's own do not travel


def test_another_policy_or_arm_of_ones_own_is_other_code_for_translations():
    made = {guided_search.made_by(Params())}
    for best in (first_kept, None):
        POLICIES["mine"] = partial(by_steps, best=best)
        made.add(guided_search.made_by(load("x", search={"choose": "mine"})))
    assert len(made) == 3 and guided_search.made_by(Params()) in made  # entered, not chosen
    ARMS["unguided"] = Live("random")
    assert guided_search.made_by(Params()) not in made
