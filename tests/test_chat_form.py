"""A chat form that refuses turns gets their text in the user's; a beginning is marked once, and nothing after it."""

import random

import pytest
from tokenizers import processors

from parallax_lib.core.errors import UserError
from parallax_lib.tasks import prompts
from parallax_lib.translator import finetune, models, training_samples

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user') }}{% endif %}{% endfor %}" + TURNS
)
DEAF = TURNS.replace("<{{ m['role'] }}>{{ m['content'] }}", "{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}{% endif %}")
ONE_TURN = "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + TURNS
MARKED = "<end>" + TURNS


def marking_tokenizer(template=None):
    """The byte tokenizer, which puts its mark before every text and one behind it, as tokenizers of Llama and T5 do."""
    tokenizer = models.byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<end>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<end> $A <end>", special_tokens=[("<end>", 0)])
    tokenizer.chat_template = template
    return tokenizer


def test_a_template_that_refuses_turns_gets_their_text_in_the_user_s():
    past = ("int main() {}", "it failed")
    for template, roles in (
        (TURNS, ["system", "user", "assistant", "user"]),
        (NO_SYSTEM, ["user", "assistant", "user"]),
        (ALTERNATING, ["user", "assistant", "user"]),
        (DEAF, ["user", "assistant", "user"]),
        (ONE_TURN, ["user"]),
    ):
        tokenizer = models.byte_tokenizer()
        tokenizer.chat_template = template
        text = prompts.prompt(tokenizer, "serial", "omp", "int f();", past)
        found = [r for r in text.replace("<answer>", "").replace(">", "<").split("<") if r in ("system", "user", "assistant")]
        assert found == roles and text.endswith("<answer>"), (template, text)
        for part in (prompts.SYSTEM, "int f();", *past):
            assert text.count(part) == 1
    for template in ("{{ raise_exception('never') }}", "{{ nothing.at.all }}", "hello", "{% if %}"):
        tokenizer = models.byte_tokenizer()
        tokenizer.chat_template = template
        with pytest.raises(UserError, match="its chat template takes no translation") as e:
            prompts.prompt(tokenizer, "serial", "omp", "int f();")
        assert "\n" not in str(e.value)


def test_a_beginning_is_marked_once_and_nothing_after_it():
    """Whether the chat form, the tokenizer, both or none write the mark; and a mark for the end is never put behind a prompt."""
    plain = models.byte_tokenizer()
    for tokenizer, template, count in (
        (marking_tokenizer, MARKED, 1),
        (marking_tokenizer, TURNS, 1),
        (marking_tokenizer, None, 1),
    ):
        made = tokenizer(template)
        ids = prompts.prompt_tokens(made, "serial", "omp", "int f();")
        assert ids.count(0) == count and ids[0] == 0
        assert 0 not in prompts.tokens(made, prompts.OPENING) and prompts.tokens(made, prompts.OPENING) == plain(prompts.OPENING).input_ids
    plain.chat_template = TURNS
    assert 0 not in prompts.prompt_tokens(plain, "serial", "omp", "int f();")


def test_training_pairs_mark_their_beginning_once_and_end_once(monkeypatch):
    monkeypatch.setattr(training_samples, "plan_token", lambda tokenizer, word: random.Random(word).randrange(1, 200))
    for template in (MARKED, TURNS):
        for seed in range(4):
            ids, labels = training_samples.forge_sample(marking_tokenizer(template), seed, finetune.AdaptConfig())
            assert [i for i, token in enumerate(ids) if token == 0] == [0, len(ids) - 1] and labels[-1] == 0


def test_a_plan_word_that_the_tokenizer_cuts_is_told_in_one_line():
    with pytest.raises(UserError, match="adapt: --base: its tokenizer makes 9 tokens of the plan token 'parallel'"):
        training_samples.plan_token(models.byte_tokenizer(), "parallel")
