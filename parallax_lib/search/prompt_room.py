"""What fits: tokens that a prompt and its answer may have, and how many rows of a batch a task counts as.

Knows prompts, the model's positions and `decode`'s limits.  Knows nothing of latents, and writes no program.
"""

from __future__ import annotations

from parallax_lib.core.settings import Params
from parallax_lib.tasks import prompts
from parallax_lib.tasks.task import Task
from parallax_lib.translator.models import load_tokenizer, positions_of

ROW = 4096  # columns of the cache that a row of `decode.batch` stands for


def token_limit(source_tokens: int, params: Params) -> int:
    """A translation is rarely over twice its source: a runaway answer stops early."""
    return min(params.decode.max_new_tokens, int(1.8 * source_tokens) + 200)


def weight(task: Task, params: Params) -> int:
    """How many rows of `decode.batch` one row of this task counts as, by what it takes in the cache: prompt and answer, 3 bytes a token."""
    asked = len(task.source_code) // 3
    return max(1, -(-(asked + token_limit(asked, params)) // ROW))


def longest_prompt(params: Params) -> int:
    """Tokens a task's prompt may have: `decode.max_prompt`, or what the latents and the answer leave of the model's positions."""
    room = _positions(params)
    most = max(room - params.decode.max_new_tokens, int((room - 200) / 2.8))  # the answer's `token_limit` is the smaller of two
    return max(0, min(params.decode.max_prompt, most))


def longest_row(params: Params) -> int:
    """Tokens that a prompt and its answer may have together, also in a repair round, whose prompt holds a program and its feedback."""
    return min(positions_of(params.translator), longest_prompt(params) + params.latent.steps + 2 * params.decode.max_new_tokens + 2048)


def too_long(tasks: list[Task], params: Params) -> dict[str, int]:
    """Prompt tokens of the tasks that have more than `longest_prompt`, by task id."""
    out, most = {}, longest_prompt(params)
    for task in tasks:
        if len(task.source_code.encode()) + 1000 > most:  # else no need to count: a token is a byte at least
            tokenizer = load_tokenizer(params.translator)
            tokens = len(prompts.prompt_tokens(tokenizer, task.source, task.target, task.source_code, None, params.translator.prompt))
            if tokens > most:
                out[task.id] = tokens
    return out


def has_room(task: Task, params: Params, past: tuple[str, str]) -> bool:
    """Whether a repair round's prompt, which holds the failed program and its feedback (`past`), leaves positions for the answer."""
    texts = (task.source_code, *past)
    if sum(len(text.encode()) for text in texts) + 2000 + params.decode.max_new_tokens <= _positions(params):
        return True  # no need to count
    tokenizer = load_tokenizer(params.translator)
    asked, whole = (
        len(prompts.prompt_tokens(tokenizer, task.source, task.target, task.source_code, before, params.translator.prompt))
        for before in (None, past)
    )
    return whole + token_limit(asked, params) <= _positions(params)


def _positions(params: Params) -> int:
    """The model's positions for a prompt and its answer, beside the latents and the answer's opening."""
    return positions_of(params.translator) - params.latent.steps - len(prompts.OPENING)  # a token is a character at least


def none_left(params: Params) -> str:
    """For the user of a run all of whose prompts are too long."""
    most, asked = longest_prompt(params), params.decode.max_prompt
    if most == asked:
        return f"decode.max_prompt: every prompt has more than {asked} tokens; raise it"
    return f"decode.max_new_tokens: beside an answer the model has {most} positions for a prompt, fewer than every prompt; lower it"
