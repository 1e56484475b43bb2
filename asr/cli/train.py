"""`asr train`: Hydra composes the configuration, and a plain dictionary goes to training."""

import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asr.errors import AsrError, ConfigError
from asr.schema import flatten


def share_folder() -> Path:
    """Find the folder that holds ``conf`` and ``recipes``: in the wheel, or the checkout's root."""
    installed = Path(__file__).parents[1] / "_share"
    return installed if installed.is_dir() else Path(__file__).parents[2]


def run_words(words: list[str]) -> int:
    """Train as Hydra overrides say.

    Args:
        words: what stands behind `asr train`: overrides and Hydra's own flags.

    Raises:
        ConfigError: an override that names no key or no config.
    """
    _check_words(words)
    failures: list[AsrError] = []
    program = sys.argv[0]

    @hydra.main(version_base="1.3", config_path=str(share_folder() / "conf"), config_name="train")
    def task(config: DictConfig) -> float | None:
        # Lightning starts further processes with this process's command line.
        state = HydraConfig.get()
        plain = _plain(config, state.runtime.output_dir, state.mode == RunMode.MULTIRUN)
        sys.argv = [
            program,
            "train",
            *state.overrides.task,
            f"output_dir={plain['output_dir']}",
        ]
        try:
            return _train(plain)
        except AsrError as error:
            # Hydra would print a traceback.
            failures.append(error)
            return None

    sys.argv = [program, f"hydra.searchpath=[file://{share_folder()}]", *words]
    task()
    for failure in failures[1:]:
        print(f"asr train: {failure}", file=sys.stderr)
    if failures:
        raise failures[0]
    return 0


def _train(config: dict[str, Any]) -> float:
    from asr.training import train

    result = train(config)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        print(
            f"best dev WER {result.wer:.2f} % in epoch {result.epoch}; model in {result.model}\n"
            f"next: asr transcribe FILE -m {result.model}"
        )
    return result.wer


def _plain(config: DictConfig, job_dir: str, multirun: bool) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("recipes", None)
    # A sweep gives every job a folder of its own.
    place = job_dir if multirun else str(plain["output_dir"])
    return {**plain, "output_dir": str(Path(place).absolute())}


def _check_words(words: list[str]) -> None:
    # Hydra's messages on a mistyped override take several lines; ours is one sentence.
    plain = [word for word in words if "=" in word and not word.startswith("-")]
    strays = [word for word in words if "=" not in word and not word.startswith(("-", "~"))]
    flags = {"--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--package"}
    for stray in strays:
        before = words[words.index(stray) - 1] if words.index(stray) else ""
        if before not in flags | {"--cfg", "-c", "-p", "--info", "-i"}:
            raise ConfigError(f"'{stray}' is no override; expected key=value, such as seed=2")
    try:
        overrides = OverridesParser.create().parse_overrides(plain)
    except HydraException as error:
        raise ConfigError(f"cannot read the overrides: {_first_line(error)}") from error
    if flags & {word.split("=")[0] for word in words}:
        return
    _compose([_single(override) for override in overrides])


def _single(override: Override) -> str:
    # For a sweep such as seed=1,2 the first value stands for all.
    if not override.is_sweep_override():
        return str(override.input_line)
    first = next(iter(override.sweep_string_iterator()))
    return f"{override.get_key_element()}={first}"


def _compose(overrides: list[str]) -> None:
    share = share_folder()
    search = f"hydra.searchpath=[file://{share}]"
    own = [word for word in overrides if not word.lstrip("+~").startswith("hydra")]
    with hydra.initialize_config_dir(str(share / "conf"), version_base="1.3"):
        try:
            OmegaConf.to_container(hydra.compose("train", [search, *own]), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            groups = [word for word in own if _is_group(share, word.partition("=")[0])]
            try:
                known = hydra.compose("train", [search, *groups])
            except (HydraException, OmegaConfBaseException):
                raise ConfigError(_first_line(error)) from error
            raise ConfigError(_explain(error, own, known)) from error


def _is_group(share: Path, key: str) -> bool:
    return (share / "conf" / key).is_dir() or key == "recipes"


def _explain(error: Exception, overrides: list[str], known: DictConfig) -> str:
    keys = list(flatten(OmegaConf.to_container(known, resolve=False)))  # type: ignore[arg-type]
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key not in keys and not any(name.startswith(f"{key}.") for name in keys):
            near = get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "see `asr train --cfg job`"
            return f"unknown key '{key}'; {hint}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2])


if __name__ == "__main__":
    sys.exit(run_words(sys.argv[1:]))
