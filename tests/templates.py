"""Chat templates in the shapes of released hosts, and a tokenizer that keeps every letter."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    # Qwen2: a system turn where there is none.
    "qwen": (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
        "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # LLaVA-OneVision: contents are lists, pictures first.
    "llava": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' }}"
        "{% for c in m.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
        "{% for c in m.content | selectattr('type', 'equalto', 'text') %}{{ '\n' + c.text }}"
        "{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    # Vicuna: words for roles, one token for the end.
    "vicuna": (
        "{% for m in messages %}{{ 'USER: ' + m.content + ' ' if m.role == 'user' else "
        "'ASSISTANT: ' + m.content + '</s>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
    ),
}


def letters(template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters and of the special tokens of TEMPLATES."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {chr(code): i for i, code in enumerate((*range(32, 127), 10))}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    model.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>")
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>", "<image>"], special_tokens=True)
    tokenizer.chat_template = TEMPLATES.get(template or "")
    return tokenizer
