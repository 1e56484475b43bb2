"""Plain dictionaries become objects: a constructor's keyword arguments are the schema."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from asr.errors import ConfigError

T = TypeVar("T")


def build(factory: Callable[..., T], options: Mapping[str, Any], where: str, **given: Any) -> T:
    """Call a constructor with options from a config.

    Args:
        factory: a class or function whose keyword arguments are the allowed keys.
        options: keys and values from YAML.
        where: the options' place in the config, such as ``model.encoder``, for messages.
        given: arguments that come from the program and not from the config.

    Raises:
        ConfigError: a key is unknown (names the nearest), missing, or has an impossible value.
    """
    parameters = inspect.signature(factory).parameters
    check_keys(options, [name for name in parameters if name not in given], where)
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and name not in options and name not in given
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    for name, value in options.items():
        _check_type(value, parameters[name].annotation, f"{where}.{name}")
    return factory(**options, **given)


def build_of_one(factory: Callable[..., T], value: Any, where: str, **given: Any) -> T:
    """Call a constructor whose only option is a value in place of keys and values.

    Args:
        factory: a class or function; its first argument that is not given takes the value.
        value: from YAML.
        where: the value's place in the config, such as ``augment.warp``, for messages.
        given: arguments that come from the program and not from the config.

    Raises:
        ConfigError: an impossible value.
    """
    parameters = inspect.signature(factory).parameters.values()
    own = next(parameter for parameter in parameters if parameter.name not in given)
    _check_type(value, own.annotation, where)
    return factory(**{own.name: value}, **given)


def defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    """Give the keyword arguments that a constructor can do without, and their values as in YAML."""
    parameters = inspect.signature(factory).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {k: list(value) if isinstance(value, tuple) else value for k, value in found.items()}


def check_keys(options: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse keys that nothing reads.

    Raises:
        ConfigError: an unknown key; names it, its place and the nearest allowed key.
    """
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where} is {options!r}; expected keys and values")
    allowed = list(allowed)
    for key in options:
        if key not in allowed:
            near = get_close_matches(str(key), allowed, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(allowed)}"
            raise ConfigError(f"unknown key '{where}.{key}'; {hint}")


def section(config: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Give the keys and values under a key; none where it is missing or empty.

    Raises:
        ConfigError: something else stands there.
    """
    found = config.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where} is {found!r}; expected keys and values")
    return dict(found)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested keys as dotted ones: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_type(value: Any, annotation: Any, where: str) -> None:
    if get_origin(annotation) is tuple:
        kind, *others = get_args(annotation)
        count = None if Ellipsis in others else 1 + len(others)
        if not isinstance(value, list | tuple) or len(value) != (count or len(value)):
            many = f"{count} of" if count else "of"
            raise ConfigError(f"{where} is {value!r}; expected a list {many} {kind.__name__}")
        for item in value:
            _check_type(item, kind, where)
        return
    kinds = _kinds(annotation)
    if not kinds:
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ["null" if kind is NoneType else kind.__name__ for kind in kinds]
        raise ConfigError(f"{where} is {value!r}; expected {' or '.join(names)}")


def _kinds(annotation: Any) -> tuple[type, ...]:
    # The types of plain values that an annotation allows; none if it allows other things too.
    several = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if several else (annotation,)
    if not set(kinds) <= {int, float, str, bool, NoneType}:
        return ()
    return (*kinds, int) if float in kinds and int not in kinds else kinds
