"""Small tokenizers of both kinds, and checkpoints' directories around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. ",
    "naïve café 中文 😀 tokens, 123 times; ",
    "def f(x):\n    return x\n",
] * 20
MARKS = ["<|start|>", "<|end|>"]


def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(show_progress=False, vocab_size=400, initial_alphabet=alphabet, special_tokens=MARKS),
    )
    backend.add_tokens([AddedToken("<quick>", special=False, normalized=False)])
    return backend


def metaspace() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", *MARKS, *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(show_progress=False, vocab_size=450, special_tokens=special, limit_alphabet=60)
    )
    spec = json.loads(backend.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
    start = backend.token_to_id("<|start|>")
    backend.post_processor = processors.TemplateProcessing(single="<|start|> $A", special_tokens=[("<|start|>", start)])
    return backend


def written(path: Path, **files: Any) -> Path:
    """A checkpoint's directory; a name's `__` is a dot, and a value that is no text is written as JSON."""
    path.mkdir(exist_ok=True)
    for name, content in {"tokenizer__json": byte_level().to_str(), **files}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return path
