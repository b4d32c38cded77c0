"""The base of every settings model, and reading one from YAML with errors a person can act on.

Configuration is data: safe-loaded YAML, validated, with unknown keys refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mmpkd.errors import InputError, did_you_mean


class Settings(BaseModel):
    """Frozen, validated settings; an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=True)

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read and validate a YAML file, raising :class:`InputError` with every problem in it."""
        return cls.from_data(read_yaml(path), source=str(path))

    @classmethod
    def from_data(cls, data: object, source: str) -> Self:
        """Validate plain data; ``source`` names where it came from in the error sentences."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(describe_validation_error(error, source, cls)) from None

    def to_data(self) -> dict[str, Any]:
        """Return the fully resolved settings as plain data (JSON and YAML types only)."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Return the fully resolved settings as YAML."""
        return yaml.safe_dump(self.to_data(), sort_keys=False, allow_unicode=True, width=110)


def read_yaml(path: Path) -> object:
    """Safe-load a YAML file (duplicate keys and syntax errors are one sentence each)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason}); give the path of a YAML file.") from None
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  (a SafeLoader subclass)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise InputError(f"{path}{where}: {problem}; mend the YAML there.") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def describe_validation_error(error: ValidationError, source: str, model: type[BaseModel]) -> list[str]:
    """Turn pydantic's errors into one sentence each: source, setting, value, what is wanted."""
    sentences = []
    for item in error.errors(include_url=False):
        path = tuple(str(part) for part in item["loc"])
        name = ".".join(path) or "the whole file"
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, path[:-1])
            sentences.append(f"{source}: unknown setting '{name}'{did_you_mean(path[-1], known)}")
        elif item["type"] == "missing":
            sentences.append(f"{source}: the setting '{name}' is missing; add it.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = _shorten(item["input"])
            sentences.append(f"{source}: setting '{name}' is {shown}: {_decapitalised(message)}")
    return sentences


def _shorten(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _known_keys(model: type[BaseModel], path: tuple[str, ...]) -> set[str]:
    """Return the keys allowed at ``path``, following nested models as far as annotations tell."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        found: list[type[BaseModel]] = []
        for current in models:
            for field_name, field in current.model_fields.items():
                if part in (field_name, field.alias):
                    found.extend(_models_in(field.annotation))
            if part == current.__name__:  # pydantic puts a union member's name into the path
                found.append(current)
        models = found or models
    keys: set[str] = set()
    for current in models:
        keys.update(field.alias or name for name, field in current.model_fields.items())
    return keys


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]


def _decapitalised(sentence: str) -> str:
    """Lower the first letter, unless the first word is an abbreviation (ROIs, YAML)."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]
