"""Fetching a model by its Hugging Face id, into the cache that all programs of this machine share."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from ..errors import ModelLoadError

FILES = ["*.json", "model*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]
IN_FOLDERS = ["*/*.json", "*/*.safetensors", "*/*.txt", "*/tokenizer.model"]
"""Folders hold other forms of the same model; only chat templates are taken from them."""


def fetch(model_id: str) -> Path:
    """The directory with a model's files: fetched with a progress bar, or as it is in the cache.

    `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to every program that uses huggingface_hub.

    Raises:
        ModelLoadError: no such model, no access, no connection, or no room.
    """
    try:
        return Path(snapshot_download(model_id, allow_patterns=FILES, ignore_patterns=IN_FOLDERS))
    except GatedRepoError as error:
        advice = "ask for access on its page, then set HF_TOKEN to a token of your account"
        raise _failed(model_id, "its owner lets in only those who asked", advice) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        advice = "check the spelling; for a private model set HF_TOKEN"
        found = "Hugging Face has no such model or hides it, and no directory is called so"
        raise _failed(model_id, found, advice) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        advice = "unset HF_HUB_OFFLINE, check the connection, or give a directory"
        raise _failed(model_id, "it is not whole in the cache, and Hugging Face cannot be reached", advice) from error
    except HfHubHTTPError as error:
        raise _failed(model_id, f"Hugging Face answered {error.response.status_code}", "try again later") from error
    except OSError as error:
        raise _failed(model_id, str(error), "check the room on the disk and the rights in HF_HOME") from error
    except Exception as error:  # what the library's own HTTP client raises is not part of its interface
        raise _failed(model_id, f"{type(error).__name__}: {error}", "check the connection and try again") from error


def _failed(model_id: str, found: str, advice: str) -> ModelLoadError:
    return ModelLoadError(f"cannot fetch {model_id}: {found}; {advice}", [model_id])
