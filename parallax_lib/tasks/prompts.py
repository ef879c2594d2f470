"""Task -> prompt text; model answer -> program text.

Knows how a translation is asked for and how code is fenced.  Knows no model and no compiler.
"""

from __future__ import annotations

import re

NAMES = {"serial": "serial C++", "omp": "OpenMP", "cuda": "CUDA"}
SYSTEM = "You translate programs between serial C++, OpenMP and CUDA."
OPENING = "```cpp\n"  # what decoding starts from, after the latent steps
CLOSING = "\n```"
MAX_SOURCE = 1 << 20  # bytes


def messages(source_api: str, target_api: str, source: str, past: tuple[str, str] | None = None) -> list[dict[str, str]]:
    """Chat turns that ask for one translation; `past`: (program, feedback) of an attempt that failed."""
    ask = f"Translate {NAMES[source_api]} to {NAMES[target_api]}:\n```cpp\n{source.strip()}\n```"
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ask}]
    if past:
        program, feedback = past
        turns.append({"role": "assistant", "content": f"```cpp\n{program.strip()}\n```"})
        turns.append({"role": "user", "content": repair_turn(feedback)})
    return turns


def prompt(tokenizer, source_api: str, target_api: str, source: str, past: tuple[str, str] | None = None) -> str:
    """The prompt up to where the answer starts, in the model's own chat form if it has one."""
    turns = messages(source_api, target_api, source, past)
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return "\n\n".join(t["content"] for t in turns) + "\n\n"


def repair_turn(log: str) -> str:
    """What a repair round adds: compiler or run-time feedback, never the oracle's data."""
    return f"The program failed:\n{log.strip()[:1500]}\nWrite the corrected program."


def extract(answer: str) -> str | None:
    """The program in an answer: the first fenced block, or the text itself when decoding began inside one."""
    fenced = re.search(r"```[a-zA-Z+]*\n(.*?)(?:\n?```|\Z)", answer, re.S)
    code = fenced.group(1) if fenced else answer.split("```")[0]
    code = code.strip()
    return code + "\n" if "main" in code else None
