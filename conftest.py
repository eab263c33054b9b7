"""Without a GPU, kernels run in triton's interpreter.

Triton asks once, when something imports it, and transformers does too: so this stands before all tests.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
