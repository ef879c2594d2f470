"""Task -> prompt text.

Knows how a translation is asked for and how code is fenced.  Knows no model, no compiler and no answer (extraction.py reads those).
"""

from __future__ import annotations

from parallax_lib.core.errors import UserError

NAMES = {"serial": "serial C++", "omp": "OpenMP", "cuda": "CUDA"}
SYSTEM = "You translate programs between serial C++, OpenMP and CUDA."
OPENING = "```cpp\n"  # what decoding starts from, after the latent steps
PLAN = "Plan:"  # what an answer starts with whose plan is text
STARTS = {"fence": OPENING, "plan": PLAN, "free": ""}  # of an answer, by `decode.opening`
RULES = {
    "serial": "Use no OpenMP and no CUDA.",
    "omp": "Parallelise the loops that do the work with OpenMP directives. Protect shared updates by reduction or atomic.",
    "cuda": "Do the work in __global__ kernels: allocate device memory, copy inputs in and results back, guard the index bounds.",
}
CLOSING = "\n```"
MAX_SOURCE = 1 << 20  # bytes


def messages(
    source_api: str, target_api: str, source: str, past: tuple[str, str] | None = None, style: str = "short"
) -> list[dict[str, str]]:
    """Chat turns that ask for one translation; `past`: (program, feedback) of an attempt that failed.

    style: `short`, what fine-tuned translators are asked with, or `rules`, which says what a translation must do.
    """
    ask = f"Translate {NAMES[source_api]} to {NAMES[target_api]}:\n```cpp\n{source.strip()}\n```"
    if style == "rules":
        ask += (
            f"\n{RULES[target_api]} Write the whole program as one file with its main function. It must take the same arguments "
            "and print the same output in the same format. Answer with one ```cpp block and nothing else."
        )
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ask}]
    if past:
        program, feedback = past
        turns.append({"role": "assistant", "content": f"```cpp\n{program.strip()}\n```"})
        turns.append({"role": "user", "content": repair_turn(feedback)})
    return turns


def prompt(tokenizer, source_api: str, target_api: str, source: str, past: tuple[str, str] | None = None, style: str = "short") -> str:
    """The prompt up to where the answer starts, in the model's own chat form if it has one.

    A chat form that refuses or leaves out a system turn gets its text in the user's first turn; one that refuses several
    turns gets all in one.  UserError in one line where it takes none of these.
    """
    turns = messages(source_api, target_api, source, past, style)
    if not tokenizer.chat_template:
        return "\n\n".join(t["content"] for t in turns) + "\n\n"
    contents = [t["content"] for t in turns if t["role"] != "assistant"]
    why = "it leaves out what the user asks"
    for form in (turns, _folded(turns, 2), _folded(turns, len(turns))):
        try:
            text = tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=True)
        except Exception as e:  # any: a template is a foreign program
            why = " ".join(f"{type(e).__name__}: {e}".split())[:160]
            continue
        if all(content in text for content in contents):
            return text
    raise UserError(f"translator.model: its chat template takes no translation ({why}); mend or remove chat_template.jinja in its folder")


def _folded(turns: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """The first `count` turns as one of the user's."""
    return [{"role": "user", "content": "\n\n".join(t["content"] for t in turns[:count])}, *turns[count:]]


def tokens(tokenizer, text: str) -> list[int]:
    """Ids of a text that goes on after others: no mark of a beginning or an end is added."""
    return tokenizer(text, add_special_tokens=False).input_ids


def prompt_tokens(
    tokenizer, source_api: str, target_api: str, source: str, past: tuple[str, str] | None = None, style: str = "short"
) -> list[int]:
    """Ids of `prompt`.  A tokenizer that puts a mark before every text puts one here, if the chat form has not written it."""
    ids, mark = tokens(tokenizer, prompt(tokenizer, source_api, target_api, source, past, style)), tokenizer.bos_token_id
    marked = mark is not None and tokenizer("x").input_ids[:1] == [mark]
    return [mark, *ids] if marked and ids[:1] != [mark] else ids


def repair_turn(log: str) -> str:
    """What a repair round adds: compiler or run-time feedback, never the expected output."""
    return f"The program failed:\n{log.strip()[:1500]}\nWrite the corrected program."
