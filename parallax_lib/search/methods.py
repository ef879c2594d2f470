"""Which member of which table every setting names: checked before anything is loaded, and replaced by functions of one's own.

Knows the settings and the tables.  Knows nothing of what a member does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parallax_lib.core.settings import Params
from parallax_lib.core.tables import find, name_of
from parallax_lib.prm.labels import REWARDS
from parallax_lib.prm.losses import LOSSES
from parallax_lib.search import arms
from parallax_lib.search.arms import ARMS
from parallax_lib.search.policies import POLICIES
from parallax_lib.tasks.suites import SUITES
from parallax_lib.translator.alignment import ALIGNMENTS
from parallax_lib.translator.proposals import PROPOSALS

SETTINGS = {  # what it is -> table, and the settings that name its members
    "suite": (SUITES, "suite.kinds"),
    "proposal": (PROPOSALS, "latent.proposal"),
    "align": (ALIGNMENTS, "latent.align"),
    "reward": (REWARDS, "reward.spec"),
    "loss": (LOSSES, "prm.loss", "report.losses"),
    "policy": (POLICIES, "search.choose"),
    "arms": (ARMS, "search.arms"),
}
Given = str | Callable | Sequence[str | Callable] | None


def check(params: Params, *kinds: str) -> None:
    """UserError if a setting names no member of its table, or a method that cannot be made; `kinds`: only these keys of SETTINGS."""
    for kind in kinds or SETTINGS:
        table, *settings = SETTINGS[kind]
        for setting in settings:
            section, key = setting.split(".")
            value = getattr(getattr(params, section), key)
            for name in (value,) if isinstance(value, str) else value:
                find(table, name, setting)
    if not kinds or "arms" in kinds:
        arms.check(params)


def using(params: Params, **given: Given) -> Params:
    """The parameters with other members of the tables, by key of SETTINGS: names, or functions of one's own, which enter their table.

    None leaves a setting as it is.  UserError for an unknown name, or what is no function.
    """
    for kind, value in given.items():
        if value is None:
            continue
        table, setting, *_ = SETTINGS[kind]
        section, key = setting.split(".")
        old = getattr(params, section)
        if isinstance(getattr(old, key), tuple):
            named = tuple(name_of(table, each, setting) for each in ([value] if isinstance(value, str) or callable(value) else value))
        else:
            named = name_of(table, value, setting)
        params = params.model_copy(update={section: old.model_copy(update={key: named})})
    return params


def members(params: Params, *kinds: str) -> list[Callable]:
    """The functions that the settings name, for `source.source_digest`."""
    return [
        find(table, getattr(getattr(params, setting.split(".")[0]), setting.split(".")[1]), setting)
        for table, setting, *_ in (SETTINGS[kind] for kind in kinds)
    ]
