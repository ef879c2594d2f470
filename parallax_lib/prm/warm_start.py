"""A training that starts from the weights of a trained PRM.

Knows PRMs and how their scores are read.  Knows no data and no optimiser.
"""

from __future__ import annotations

from dataclasses import replace

from parallax_lib.core.errors import UserError
from parallax_lib.prm.losses import read_as
from parallax_lib.prm.model import PRM, PRMConfig, load


def begun(init: str, loss: str, prm: PRMConfig) -> PRM:
    """The PRM of the folder `init`, its statistics included, ready to be trained on.  UserError where it cannot be."""
    model = load(init, prm.state_width)
    if not isinstance(model, PRM):
        raise UserError(f"prm.init: {init} is a {model.config.backbone}, which has no weights to go on with; name another PRM")
    was, now = read_as(model.config.output), read_as(prm.output)
    if was != now:
        problem = f"prm.init: the scores of {init} are read through {was}, those of the loss {loss!r} through {now}"
        raise UserError(f"{problem}; choose a loss that reads them alike, such as {'bce' if was == 'sigmoid' else 'mse'}")
    if (model.config.reads, model.config.context) != (prm.reads, prm.context):
        problem = f"prm.init: {init} was trained with prm.reads {model.config.reads} and prm.context {model.config.context}"
        raise UserError(f"{problem}; set both so")
    model.config = replace(model.config, loss=prm.loss, activation=prm.activation or model.config.activation)
    return model
