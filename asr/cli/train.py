"""`asr train`: Hydra composes the configuration, and a plain dictionary goes to training."""

import os
import shlex
import sys
from collections.abc import Sequence
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
from asr.model_config import WEIGHTS_NAME
from asr.schema import flatten

DRY_RUN = "--dry-run"


def share_folder() -> Path:
    """Find the folder that holds ``conf`` and ``recipes``: in the wheel, or the checkout's root."""
    installed = Path(__file__).parents[1] / "_share"
    return installed if installed.is_dir() else Path(__file__).parents[2]


def run_words(words: list[str]) -> int:
    """Train as Hydra overrides say.

    Args:
        words: what stands behind `asr train`: overrides, Hydra's own flags, and ``--dry-run``,
            which prints the configuration and what it will take, and trains nothing.

    Raises:
        ConfigError: an override that names no key or no config.
    """
    job = _estimate if DRY_RUN in words else _train
    words = [word for word in words if word != DRY_RUN]
    _check_words(words)
    failures: list[AsrError | OSError] = []
    own, process = list(sys.argv), os.getpid()

    @hydra.main(version_base="1.3", config_path=str(share_folder() / "conf"), config_name="train")
    def task(config: DictConfig) -> float | None:
        # Lightning starts further processes with this process's command line.
        state = HydraConfig.get()
        try:
            plain = _plain(config, state.runtime.output_dir, state.mode == RunMode.MULTIRUN)
            place = f"output_dir={_quoted(plain['output_dir'])}"
            sys.argv = [own[0], "train", *state.overrides.task, place]
            return job(plain, state.overrides.task)
        except (AsrError, OSError) as error:
            if os.getpid() != process:
                # A launcher runs jobs elsewhere, such as in SLURM's, and fetches what they raise.
                raise
            # Hydra would print a traceback.
            failures.append(error)
            return None

    # Hydra's parser takes overrides in one row only, behind its flags and their values.
    overrides = [word for word in words if _is_override(word)]
    flags = [word for word in words if not _is_override(word)]
    sys.argv = [own[0], *flags, _search_path(), *overrides]
    try:
        task()
    finally:
        sys.argv = own
    for failure in failures[1:]:
        print(f"asr train: {failure}", file=sys.stderr)
    if failures:
        raise failures[0]
    return 0


def _estimate(config: dict[str, Any], overrides: Sequence[str]) -> None:
    from asr.training import describe, estimate

    chain = config.pop("chain")
    if chain["corpus"] is None:
        print(f"{OmegaConf.to_yaml(config)}\n{describe(estimate(config))}")
        return
    from asr.chain import ChainOptions, look_ahead
    from asr.schema import build

    outlook = look_ahead(build(ChainOptions, chain, "chain"), config)
    found = estimate(config, outlook.expected)
    print("\n".join([OmegaConf.to_yaml(config), describe(found), *outlook.lines]))


def _train(config: dict[str, Any], overrides: Sequence[str]) -> float:
    chain = config.pop("chain")
    if chain["corpus"] is not None:
        return _run_chain(chain, config, overrides)
    from asr.training import is_main_process, train

    result = train(config)
    if is_main_process():
        print(
            f"{result.outcome}; model in {result.model}\n"
            f"next: asr transcribe FILE -m {result.model}"
        )
    return result.wer


def _run_chain(chain: dict[str, Any], config: dict[str, Any], overrides: Sequence[str]) -> float:
    from asr.chain import Chain, ChainOptions
    from asr.schema import build
    from asr.training.run import is_main_process

    options = build(ChainOptions, chain, "chain")
    command = shlex.join(["asr", "train", *overrides])
    return Chain(options, config, command, is_main_process()).run()


def _plain(config: DictConfig, job_dir: str, multirun: bool) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("recipes", None)
    if not plain["output_dir"]:
        raise ConfigError("output_dir is empty; expected a folder for the run")
    # A sweep gives every job a folder of its own.
    place = job_dir if multirun else str(plain["output_dir"])
    return {**plain, "output_dir": str(Path(place).absolute())}


def _check_words(words: list[str]) -> None:
    # Hydra's messages on a mistyped override take several lines; ours is one sentence.
    plain = [word for word in words if "=" in word and _is_override(word)]
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
    if flags & {word.split("=")[0] for word in words} or _names_hydra(plain, "searchpath"):
        # Then there are configs besides ours, which only Hydra itself finds.
        return
    several = [override for override in overrides if override.is_sweep_override()]
    if several and not {"--multirun", "-m"} & set(words) and not _names_hydra(plain, "mode"):
        raise ConfigError(
            f"'{several[0].input_line}' gives several values; add --multirun to train once with "
            "each, or brackets around them for a list"
        )
    for override in overrides:
        _check_choice(override)
    _compose([_single(override) for override in overrides])


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def _names_hydra(words: list[str], key: str) -> bool:
    return any(word.lstrip("+~").startswith(f"hydra.{key}=") for word in words)


def _check_choice(override: Override) -> None:
    group = override.get_key_element().lstrip("+~")
    if not _is_group(group) or override.is_delete():
        return
    place = share_folder() / ("" if group == "recipes" else "conf") / group
    known = sorted(
        str(path.relative_to(place).with_suffix(""))
        for path in place.rglob("*.yaml")
        # A trained model beside its recipe has a configuration too.
        if not (path.parent / WEIGHTS_NAME).exists()
    )
    if override.is_sweep_override():
        chosen: list[Any] = list(override.sweep_string_iterator())
    else:
        value = override.value()
        chosen = value if isinstance(value, list) else [value]
    for name in chosen:
        if name is None and group == "recipes":
            continue
        if str(name).removesuffix(".yaml") not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(f"{group} has no '{name}'; {hint}there are {', '.join(known)}")


def _single(override: Override) -> str:
    # For a sweep such as seed=1,2 the first value stands for all.
    if not override.is_sweep_override():
        return str(override.input_line)
    first = next(iter(override.sweep_string_iterator()))
    return f"{override.get_key_element()}={first}"


def _compose(overrides: list[str]) -> None:
    own = [word for word in overrides if not word.lstrip("+~").startswith("hydra")]
    with hydra.initialize_config_dir(str(share_folder() / "conf"), version_base="1.3"):
        try:
            OmegaConf.to_container(hydra.compose("train", [_search_path(), *own]), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            groups = [word for word in own if _is_group(word.partition("=")[0])]
            try:
                known = hydra.compose("train", [_search_path(), *groups])
            except (HydraException, OmegaConfBaseException):
                raise ConfigError(_first_line(error)) from error
            raise ConfigError(_explain(error, own, known)) from error


def _search_path() -> str:
    # Hydra finds `recipes=an4/gru` beside its own groups.
    return f"hydra.searchpath=[{_quoted(f'file://{share_folder()}')}]"


def _quoted(text: str) -> str:
    # Paths may hold what Hydra's grammar takes for syntax: commas, brackets, equals signs.
    return "'" + text.replace("'", "\\'") + "'"


def _is_group(key: str) -> bool:
    return key == "recipes" or (key != "" and (share_folder() / "conf" / key).is_dir())


def _explain(error: Exception, overrides: list[str], known: DictConfig) -> str:
    plain = OmegaConf.to_container(known, resolve=False)
    assert isinstance(plain, dict)
    keys = list(flatten({str(key): value for key, value in plain.items()}))
    sections = {key[:dot] for key in keys for dot in range(len(key)) if key[dot] == "."}
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        known_here = key in keys or key in sections or _is_group(key)
        if not known_here and not word.startswith("+"):
            near = get_close_matches(key, [*keys, *sections], n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "see `asr train --cfg job`"
            if key.startswith("trainer."):
                hint += f" Further arguments of lightning.Trainer take a plus: +{key}=..."
            return f"unknown key '{key}'; {hint}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2])


if __name__ == "__main__":
    sys.exit(run_words(sys.argv[1:]))
