"""Which programs the methods need: a row each, in what groups they are written, and what their latent steps cost.

Knows the methods' table and the settings.  Knows neither the translator nor the PRM.

K latent steps, N candidates, W prefixes kept a guided row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from parallax_lib.core.settings import Decode, Params, Search
from parallax_lib.core.storage import derive_seed
from parallax_lib.search import arms
from parallax_lib.search.prompt_room import weight
from parallax_lib.tasks.task import Task


@dataclass(frozen=True)
class Row:
    """One program to write: which task, by which method, which sample of it, how its latents are chosen.

    In a repair round, `past` is the (program, feedback) that failed.
    """

    task: Task
    arm: str
    sample: int
    seed: int
    round: int = 0
    past: tuple[str, str] | None = None

    @property
    def live(self) -> arms.Live:
        """How a program of this method is written: a pool's, or a repair of what a method took from one, as its sample was drawn."""
        if self.arm == arms.POOL:
            return arms.Live("random" if self.sample else "original", self.sample)
        own = arms.ARMS.get(self.arm)
        return own if isinstance(own, arms.Live) else arms.Live("guided" if self.arm in arms.BY_SCORE else "original", self.sample)

    @property
    def policy(self) -> arms.Policy:
        return self.live.policy

    @property
    def sampled(self) -> bool:
        """Whether it is a program of the sampled pool: unperturbed latents, decoded with draws of its own."""
        return self.arm == arms.SAMPLED

    @property
    def draw(self) -> int:
        """Seed of the latent draws; a live method draws as one of the pool's programs does."""
        if self.round:
            return derive_seed(self.seed, self.task.id, "repair", self.round)
        return derive_seed(self.seed, self.task.id, "pool", self.live.sample)

    def slot_draw(self, slot: int, choose: str) -> int:
        """Seed of the draws of one of several prefixes; whole trajectories are those of the pool's programs."""
        if slot and choose == "trajectories" and not self.round:
            return derive_seed(self.seed, self.task.id, "pool", slot)
        return derive_seed(self.draw, "beam", slot) if slot else self.draw

    def decode_draw(self, slot: int, choose: str) -> int:
        """Seed of the decoding's draws: one for each trajectory, so that the pool's programs differ, and guided's is one of them.
        The re-decode control's is its own, and so is each sampled program's."""
        if self.sampled:
            return derive_seed(self.seed, self.task.id, self.arm, "decode", self.sample)
        if self.live.redecode:
            return derive_seed(self.seed, self.task.id, self.arm, "decode", *([self.round] if self.round else []))
        return derive_seed(self.slot_draw(slot, choose), "decode")

    @property
    def identity(self) -> tuple:
        """What the journal knows the row by."""
        return self.task.id, self.task.source_code, self.arm, self.sample, self.seed, self.round, self.past

    @property
    def prompt(self) -> tuple:
        return self.task.id, self.past

    @property
    def program(self) -> tuple:
        """Rows with equal values are the same program: it is written once."""
        own = (self.arm, self.sample) if self.sampled else self.arm if self.live.redecode else ""
        return *self.prompt, self.seed, self.policy, self.draw, own

    def heat(self, decode: Decode) -> float:
        """Temperature at which it is decoded."""
        if self.sampled:
            return decode.sample_temperature
        return decode.redecode_temperature if self.live.redecode else decode.temperature


def plan_rows(tasks: Sequence[Task], params: Params) -> list[Row]:
    """Every program that the methods need; the pool reuses the unguided and the random program as its first two.

    Those of the sampled pool come last: what was written before they were asked for is grouped, and kept, as it was.
    """
    rows = []
    for seed in params.search.seeds:
        for task in tasks:
            rows += [Row(task, arm, 0, seed) for arm in arms.live(params.search.arms)]
            if arms.of_pool(params.search.arms):
                rows += [Row(task, arms.POOL, i, seed) for i in range(params.search.samples)]
    sampled = range(params.search.sampled if arms.of_pool(params.search.arms, arms.SAMPLED) else 0)
    return rows + [Row(task, arms.SAMPLED, i, seed) for seed in params.search.seeds for task in tasks for i in sampled]


def grouped(rows: Sequence[Row], size: int, params: Params) -> list[list[Row]]:
    """The rows in order, cut where a group would think over `size` prefixes at once; a task's rows of one seed stay together.

    A distinct program thinks one prefix, a guided one all of its `slots`: so many caches lie in memory, all as long as the
    longest (`collect.weight`).
    """
    groups: list[list[Row]] = []
    thinking = heaviest = 0
    for bundle in bundled(rows):
        added, heavy = thinking_rows(bundle, params), weight(bundle[0].task, params)
        heaviest = max(heaviest, heavy)
        if not groups or (thinking + added) * heaviest > size:
            groups.append([])
            thinking, heaviest = 0, heavy
        groups[-1] += bundle
        thinking += added
    return groups


def bundled(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in order, a task's of one seed together."""
    return [list(same) for _, same in itertools.groupby(rows, key=lambda r: (r.seed, r.task.id))]


def thinking_rows(rows: Sequence[Row], params: Params) -> int:
    """Prefixes that the rows think over at once."""
    return sum({r.program: slots(r, params.search) for r in rows}.values())


def slots(row: Row, search: Search) -> int:
    """Prefixes that a row thinks at once: one, or of a guided row its beam, or all of its trajectories."""
    if row.policy != "guided":
        return 1
    return search.branches if search.choose == "trajectories" else search.beam


def thinking_cost(row: Row, params: Params) -> tuple[int, int]:
    """(positions that the translator is fed, PRM calls) of the latent steps of one row."""
    K, N, W, ahead = params.latent.steps, params.search.branches, params.search.beam, params.search.lookahead
    if row.policy != "guided":
        return K, 0
    if params.search.choose == "trajectories":
        return K * N, K * N
    fed = calls = 0
    for t in range(K):
        live = N * (1 if t == 0 else W)  # candidates of the prefixes kept so far
        looks = bool(ahead) and t + 1 < K
        calls += 2 * live if looks else live
        fed += live if looks else W
    return fed, calls
