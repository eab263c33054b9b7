"""The command line: flags made from the fields of `Settings`, and those that this version refuses by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from pydantic import ValidationError

from .settings import Flag, Group, Settings, flags, variable

GROUPS: dict[Group, str] = {
    "model": "the model",
    "sampling": "sampling, for requests that leave it out",
    "server": "the server",
    "output": "what it prints",
}

UNSUPPORTED = (
    "--f",
    "--weight-file",
    "--kvcache-dtype",
    "--prefix-cache-max-tokens",
    "--disable-cuda-graph",
    "--ui-server",
    "--mcp-config",
    "--models-config",
    "--queue-size",
    "--request-timeout",
    "--num-nodes",
    "--node-rank",
    "--master-addr",
    "--master-port",
)


class _Refuse(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        parser.error(f"this version does not have {given[-1]}; leave it out")


def parse(
    prog: str, description: str, arguments: Sequence[str] | None = None, groups: Sequence[Group] = tuple(GROUPS)
) -> Settings:
    """The settings that a command line asks for; a wrong one ends the process with code 2 and a line that says why."""
    parser = _parser(prog, description, groups)
    given = vars(parser.parse_args(arguments))
    try:
        return Settings(**given)
    except ValidationError as error:
        parser.error("; ".join(_complaint(details["loc"], details["msg"], given) for details in error.errors()))
    except UnicodeDecodeError:
        parser.error("the file .env is not UTF-8 text")


def _parser(prog: str, description: str, groups: Sequence[Group]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="Each setting has an environment variable too: CANDLE_VLLM_ and its long name, as in CANDLE_VLLM_MODEL.",
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--help", action="help", help="show this help and exit")
    parser.add_argument("--version", action="version", version=f"candle-vllm {version('candle-vllm-server')}")
    for group in groups:
        section = parser.add_argument_group(GROUPS[group])
        for name, flag in flags().items():
            if flag.group == group:
                _add(section, name, flag)
    for unsupported in UNSUPPORTED:
        parser.add_argument(unsupported, action=_Refuse, nargs="?", help=argparse.SUPPRESS)
    return parser


def _add(section: argparse._ArgumentGroup, name: str, flag: Flag) -> None:
    field = Settings.model_fields[name]
    text = (field.description or "").replace("%", "%%")
    if field.annotation is bool:
        section.add_argument(*flag.names, dest=name, action="store_const", const=True, help=text)
        return
    if field.default is not None:
        text += f" ({field.default})"
    many = "?" if flag.const is not None else None
    target: Any = section.add_mutually_exclusive_group() if name == "device" else section
    target.add_argument(*flag.names, dest=name, metavar=flag.metavar or "NAME", nargs=many, const=flag.const, help=text)
    if name == "device":
        target.add_argument("--cpu", dest=name, action="store_const", const="cpu", help="the same as --d cpu")


def _complaint(location: tuple[int | str, ...], message: str, given: dict[str, Any]) -> str:
    name = next((field for field in Settings.model_fields if location[:1] in ((field,), (variable(field),))), None)
    if name is None:
        return message
    flag = flags().get(name)
    source = "/".join(flag.names) if flag is not None and name in given else variable(name)
    return f"{source}: {message.removeprefix('Value error, ')}"
