"""Latent steps against hand-made twins."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Latent
from parallax_lib.core.storage import write_vectors
from parallax_lib.translator import alignment, engine, latent_steps, models, proposals


@pytest.fixture(scope="module")
def translator():
    model, tokenizer = models.random_model()
    return models.Translator(model.eval().requires_grad_(False), tokenizer, "random")


def test_ridge_map_is_the_identity_for_tied_embeddings(translator):
    w = translator.model.get_input_embeddings().weight
    torch.testing.assert_close(alignment.ridge_map(w, w, 1e-9), torch.eye(w.shape[1]), atol=1e-4, rtol=0)


def test_ridge_map_solves_the_least_squares_problem():
    g = torch.Generator().manual_seed(0)
    w_out, w_in = torch.randn(50, 8, generator=g), torch.randn(50, 8, generator=g)
    expected = torch.linalg.lstsq(w_out.double(), w_in.double()).solution
    torch.testing.assert_close(alignment.ridge_map(w_out, w_in, 0.0), expected.float(), atol=1e-4, rtol=1e-3)


def test_ridge_alignment_has_the_mean_embedding_norm(translator):
    z = alignment.aligner(translator, Latent(align="ridge"))(torch.randn(5, translator.width))
    mean = translator.model.get_input_embeddings().weight.norm(dim=-1).mean()
    torch.testing.assert_close(z.norm(dim=-1), mean.expand(5), atol=1e-4, rtol=1e-4)


def test_cold_soft_alignment_is_the_embedding_of_the_likeliest_token(translator):
    h = torch.randn(6, translator.width, generator=torch.Generator().manual_seed(3))
    z = alignment.aligner(translator, Latent(align="soft", tau=1e-4))(h)
    best = translator.model.get_output_embeddings()(h).argmax(-1)
    torch.testing.assert_close(z, translator.model.get_input_embeddings().weight[best], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("proposal", ["gaussian", "mc_dropout", "none"])
def test_row_zero_is_the_state_itself(proposal):
    h = torch.randn(3, 16)
    made = proposals.propose(h, 5, Latent(proposal=proposal, sigma=0.3), [1, 2, 3])
    assert made.shape == (3, 5, 16) and torch.equal(made[:, 0], h)
    assert torch.equal(made[:, 1], h) == (proposal == "none")


@pytest.mark.parametrize(("unit", "expected"), [("rms", 0.5 * 3.0), ("absolute", 0.5)])
def test_noise_has_the_size_that_sigma_says(unit, expected):
    h = torch.full((1, 20_000), 3.0)
    noise = proposals.propose(h, 2, Latent(sigma=0.5, unit=unit), [0])[0, 1] - h[0]
    assert noise.std().item() == pytest.approx(expected, rel=0.03)


def test_dropout_keeps_the_mean_and_drops_the_share():
    h = torch.ones(1, 20_000)
    made = proposals.propose(h, 2, Latent(proposal="mc_dropout", sigma=0.25), [0])[0, 1]
    assert (made == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert made.mean().item() == pytest.approx(1.0, abs=0.03)


def test_draws_of_a_row_do_not_depend_on_its_batch():
    h = torch.randn(4, 8)
    together = proposals.propose(h, 3, Latent(sigma=1.0), [7, 8, 9, 10])
    alone = proposals.propose(h[2:3], 3, Latent(sigma=1.0), [9])
    torch.testing.assert_close(together[2:3], alone)


def test_thinking_equals_feeding_aligned_states_one_by_one(translator):
    ids = [translator.tokenizer(t).input_ids for t in ("abc", "translate this")]
    params = Latent(steps=3, sigma=2.0, align="soft", tau=0.5)
    align = alignment.aligner(translator, params)
    wanted = torch.tensor([[1, 0, 2], [0, 2, 2]])
    trajectory = latent_steps.think(
        translator, engine.prefill(translator, ids), align, params, candidates=3, choose=lambda t, _: wanted[:, t], row_seeds=[4, 5]
    )
    assert torch.equal(trajectory.picks, wanted)
    for row, tokens in enumerate(ids):  # no cache: grow the embedding sequence and recompute
        embeds = translator.model.get_input_embeddings()(torch.tensor(tokens))
        for t in range(3):
            torch.testing.assert_close(align(trajectory.latents[row, t]), align(trajectory.latents[row, t]))
            h = translator.model.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0, -1]
            if wanted[row, t] == 0:
                torch.testing.assert_close(trajectory.latents[row, t], h, atol=1e-5, rtol=1e-4)
            embeds = torch.cat([embeds, align(trajectory.latents[row, t])[None]])
        h = translator.model.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0, -1]
        torch.testing.assert_close(trajectory.state.hidden[row], h, atol=1e-5, rtol=1e-4)


def of_head(head):
    """What a proposal asks a translator for."""
    return SimpleNamespace(model=SimpleNamespace(get_output_embeddings=lambda: SimpleNamespace(weight=head)), logit_scale=1.0)


def test_logit_noise_moves_the_likeliest_words_alone():
    torch.manual_seed(0)
    head, h = torch.randn(50, 32), torch.randn(3, 32)
    made = proposals.propose(h, 400, Latent(proposal="logits", sigma=0.7, words=5), [1, 2, 3], translator=of_head(head))
    moved = (made - h[:, None]) @ head.T  # (B, N, V): change of every logit
    for row, logits in zip(moved, h @ head.T, strict=True):
        five = row[1:, logits.topk(5).indices]
        assert torch.allclose(five.std(0), torch.full((5,), 0.7), rtol=0.2) and five.mean(0).abs().max() < 0.2
        off = torch.corrcoef(five.T) - torch.eye(5)
        assert off.abs().max() < 0.2  # one word's noise says nothing of another's
    span = torch.linalg.lstsq(head[(h[0] @ head.T).topk(5).indices].T, (made[0, 1:] - h[0]).T).residuals
    assert span.numel() == 0 or span.abs().max() < 1e-3  # nothing moves outside those words' span
    assert torch.equal(made[:, 0], h)


def test_a_words_direction_moves_its_logit_by_one_and_no_other_and_is_short_beside_a_twin():
    torch.manual_seed(0)
    head, h = torch.randn(50, 32), torch.randn(1, 32)
    likeliest = (h @ head.T).topk(5).indices[0]
    apart = proposals.token_directions(h, head, 5)[0]
    torch.testing.assert_close(apart @ head[likeliest].T, torch.eye(5), atol=2e-3, rtol=0)
    head[likeliest[1]] = head[likeliest[0]] + 1e-3 * torch.randn(32)  # two words of nearly one embedding
    assert proposals.token_directions(h, head, 5)[0].norm(dim=-1).max() < 20 * apart.norm(dim=-1).max()


def test_principal_directions_are_those_of_an_svd_and_noise_stays_in_their_span(tmp_path):
    g = torch.Generator().manual_seed(1)
    points = (torch.randn(40, 2, 12, generator=g) * torch.arange(1, 13)).half()
    write_vectors(tmp_path / "latents-0.safetensors", points[:25].numpy())
    write_vectors(tmp_path / "latents-1.safetensors", points[25:].numpy())
    (tmp_path / ".latents-2.safetensors.x1y2").write_bytes(b"half")  # of a write that was killed
    basis = proposals.principal_directions(tmp_path, 3, 12)
    flat = points.reshape(-1, 12).double()
    _, sizes, axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    expected = axes[:3] * sizes[:3, None] / (len(flat) - 1) ** 0.5
    torch.testing.assert_close(basis.abs().double(), expected.abs(), atol=1e-4, rtol=1e-4)
    h = torch.randn(2, 12, generator=g)
    params = Latent(proposal="pca", sigma=0.5, words=3, pca=str(tmp_path))
    noise = proposals.propose(h, 6, params, [1, 2])[:, 1:] - h[:, None]
    inside = noise.double() @ axes[:3].T @ axes[:3]
    torch.testing.assert_close(inside, noise.double(), atol=1e-4, rtol=1e-4)


def test_along_one_principal_direction_sigma_counts_its_deviations(tmp_path):
    points = np.zeros((5, 1, 4))
    points[:, 0, 2] = [3, -3, 3, -3, 0]  # deviation 3 over 5 - 1
    write_vectors(tmp_path / "latents-0.safetensors", points)
    params = Latent(proposal="pca", sigma=0.5, words=1, pca=str(tmp_path))
    moved = proposals.propose(torch.zeros(1, 4), 20_001, params, [0])[0, 1:]
    assert moved[:, 2].std().item() == pytest.approx(1.5, rel=0.03) and moved[:, [0, 1, 3]].abs().max() == 0


def test_a_folder_without_latents_is_refused(tmp_path):
    with pytest.raises(UserError, match="latent.pca: .* holds no vector shards"):
        proposals.principal_directions(tmp_path, 3, 12)
