import pytest
import torch

from candle_vllm_core import ConfigError, DeviceError
from candle_vllm_core.runtime import device as devices
from candle_vllm_core.runtime.device import (
    check_kv_cache_dtype,
    cpu_has_bf16,
    dtype_name,
    free_memory,
    resolve_device,
    resolve_dtype,
)

CPU = torch.device("cpu")


def test_auto_is_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_present", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert str(resolve_device("auto")) == "cuda:0"
    assert str(resolve_device("cuda")) == "cuda:0"
    assert str(resolve_device("cuda:1")) == "cuda:1"


def test_a_device_that_is_not_there_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_present", lambda: ["cuda:0", "cpu"])
    with pytest.raises(DeviceError, match=r"'cuda:2' is not there; this machine has cuda:0, cpu") as raised:
        resolve_device("cuda:2")
    assert raised.value.device == "cuda:2"


def test_auto_dtype_on_a_cpu_is_what_the_processor_multiplies() -> None:
    assert resolve_dtype("auto", CPU) is (torch.bfloat16 if cpu_has_bf16() else torch.float32)
    assert resolve_dtype("fp32", CPU) is torch.float32


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32"])
def test_dtypes_are_named_as_configs_have_them(name: str) -> None:
    assert dtype_name(resolve_dtype(name, CPU)) == name  # type: ignore[arg-type]


def test_a_cache_in_fp8_is_for_gpus_that_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    check_kv_cache_dtype("auto", CPU)
    with pytest.raises(ConfigError, match="kv_cache_dtype is 'fp8', and cpu has none") as raised:
        check_kv_cache_dtype("fp8", CPU)
    assert raised.value.field == "kv_cache_dtype"
    monkeypatch.setattr(devices.kernels, "available", lambda device: device.type == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ConfigError, match="cuda:0 does not know e4m3"):
        check_kv_cache_dtype("fp8", gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    check_kv_cache_dtype("fp8", gpu)


def test_free_memory_is_some_of_what_there_is() -> None:
    assert 0 < free_memory(CPU) < 1 << 50
