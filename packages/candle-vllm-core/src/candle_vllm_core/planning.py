"""`plan`: what an engine will hold in memory, known before it is opened. No torch here until it is called."""

from __future__ import annotations

from .config import EngineConfig
from .memory import MemoryPlan


def plan(config: EngineConfig | None = None) -> MemoryPlan:
    """What an engine with this config (the embedded model by default) will hold in memory, without loading it.

    It reads config.json and the headers of the weight files; a Hugging Face id is fetched if it is not there yet.

    ```python
    print(plan(EngineConfig(max_batch_size=4)))
    ```

    Raises:
        OutOfMemoryError: it does not fit; the message says what is needed, what is there and what to change.
        ModelLoadError: there is no model there, or of an unknown kind.
        DeviceError: the device is not there.
        ConfigError: the config asks more than the model or the device has.
    """
    from .runtime.plan import plan as planned

    return planned(config if config is not None else EngineConfig())
