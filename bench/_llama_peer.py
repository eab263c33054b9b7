"""llama.cpp as a contender of `bench.cpu`: run by a Python that has `llama-cpp-python` and nothing of this project.

Reads lines of JSON, `{"prompts": [[token, ...], ...], "new_tokens": n}`, and writes each prompt's likeliest tokens.
"""

import ctypes
import json
import sys

import llama_cpp as lc
import numpy as np


def open_context(model_path: str, batch: int, length: int, threads: int):
    """A model and a context for so many sequences of so many tokens."""
    lc.llama_backend_init()
    lc.llama_log_set(_silent, ctypes.c_void_p(0))
    model = lc.llama_model_load_from_file(model_path.encode(), lc.llama_model_default_params())
    params = lc.llama_context_default_params()
    params.n_ctx = batch * length
    params.n_batch = params.n_ubatch = 2048
    params.n_seq_max = batch
    params.n_threads = params.n_threads_batch = threads
    return model, lc.llama_init_from_model(model, params)


@lc.llama_log_callback
def _silent(level, text, data):
    """Says nothing."""


def decode(context, batch, rows):
    """Compute rows of (token, position, sequence, whether its logits are wanted)."""
    batch.n_tokens = len(rows)
    for at, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[at], batch.pos[at], batch.n_seq_id[at] = token, position, 1
        batch.seq_id[at][0] = sequence
        batch.logits[at] = wanted
    if lc.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")


def likeliest(context, at, vocabulary):
    """The token with the largest logit of a row."""
    return int(np.ctypeslib.as_array(lc.llama_get_logits_ith(context, at), (vocabulary,)).argmax())


def generate(context, batch, vocabulary, prompts, new_tokens):
    """The likeliest tokens of all prompts at once; prompts are computed one after the other."""
    lc.llama_memory_clear(lc.llama_get_memory(context), True)
    answers = []
    for sequence, prompt in enumerate(prompts):
        last = len(prompt) - 1
        decode(context, batch, [(token, at, sequence, at == last) for at, token in enumerate(prompt)])
        answers.append([likeliest(context, last, vocabulary)])
    for step in range(new_tokens - 1):
        rows = [(own[-1], len(prompts[i]) + step, i, True) for i, own in enumerate(answers)]
        decode(context, batch, rows)
        for at, own in enumerate(answers):
            own.append(likeliest(context, at, vocabulary))
    return answers


def main():
    """Answer until there are no more lines."""
    path, *numbers = sys.argv[1:]
    model, context = open_context(path, *map(int, numbers))
    vocabulary = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    batch = lc.llama_batch_init(2048, 0, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(generate(context, batch, vocabulary, asked["prompts"], asked["new_tokens"])), flush=True)


main()
