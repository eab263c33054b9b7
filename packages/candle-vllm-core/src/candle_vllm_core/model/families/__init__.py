"""From config.json to a spec: one short function per family. No torch here; families are named nowhere else.

The defaults are those that `transformers` fills in for fields that an older checkpoint does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ModelLoadError
from ...spec import Decoder
from ..fields import Fields, shown
from ..positions import with_yarn
from . import (
    cohere,
    deepseek,
    gemma,
    glm,
    gpt_oss,
    granite,
    llama,
    mistral,
    mixtral,
    olmo,
    phi,
    qwen,
    qwen_next,
    smollm,
    stablelm,
)
from .common import Family
from .harmless import HARMLESS

FAMILIES: Mapping[str, Family] = {
    **llama.FAMILIES,
    **mistral.FAMILIES,
    **mixtral.FAMILIES,
    **qwen.FAMILIES,
    **qwen_next.FAMILIES,
    **phi.FAMILIES,
    **stablelm.FAMILIES,
    **gemma.FAMILIES,
    **glm.FAMILIES,
    **deepseek.FAMILIES,
    **olmo.FAMILIES,
    **granite.FAMILIES,
    **smollm.FAMILIES,
    **cohere.FAMILIES,
    **gpt_oss.FAMILIES,
}


def decoder_spec(config: Mapping[str, Any], *, length: int | None = None, yarn_factor: float | None = None) -> Decoder:
    """What a checkpoint's config.json describes.

    `length` is the longest sequence that will be asked for: some models rotate positions otherwise for long ones.
    `yarn_factor` stretches positions by YaRN, whatever the config says.

    Raises:
        ModelLoadError: the architecture is unknown, or a field is missing, impossible or not known to this version.
    """
    family = FAMILIES[architecture(config)]
    config = config if yarn_factor is None else with_yarn(config, yarn_factor)
    c = Fields(config, length=length)
    _refuse_quantized(c)
    spec = family.read(c)
    c.refuse_others(HARMLESS)
    return spec


def architecture(config: Mapping[str, Any]) -> str:
    """The checkpoint's architecture by the name that its config.json gives it.

    Raises:
        ModelLoadError: this version does not know it, or `model_type` is another's.
    """
    named, kind = config.get("architectures"), config.get("model_type")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    of_kind = [name for name, family in FAMILIES.items() if family.model_type == kind]
    if not names and isinstance(kind, str):
        names = of_kind or [kind]
    for name in names:
        if name in FAMILIES:
            if of_kind and name not in of_kind:
                raise ModelLoadError(
                    f"config.json: `architectures` says {name}, and `model_type` is that of {', '.join(of_kind)}; "
                    "one of them must be wrong",
                    ["architectures", "model_type"],
                )
            return name
    found = ", ".join(map(shown, names[:4])) if names else "not named in config.json"
    remote = " Code that a checkpoint brings along is never run." if "auto_map" in config else ""
    raise ModelLoadError(
        f"the architecture is {found}; this version knows {', '.join(sorted(FAMILIES))}.{remote}", names[:8]
    )


def _refuse_quantized(c: Fields) -> None:
    for name in ("quantization_config", "compression_config", "quantization"):
        if name in c:
            method = shown(c.table(name).get("quant_method", "without a method"))
            raise ModelLoadError(
                f"config.json: `{name}` says that the weights are quantized ({method}); this version loads "
                "float32, float16 and bfloat16 weights, so take the checkpoint that is not quantized",
                [name],
            )
