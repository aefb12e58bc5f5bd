"""The manifests of Brokers and Triggers: Knative's own YAML, found and loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import greenlight
from greenlight.broker.manifest_reader import ManifestReader, is_for_broker
from greenlight.broker.trigger_spec import Manifests
from greenlight.lib.documents import DocumentError, load, text_of
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.files import files_below, is_yaml


def default_folder(package: Path = Path(greenlight.__file__).parent) -> Path:
    """Return the `knative/` that belongs to this Greenlight: inside the package as installed, or beside it in a checkout."""
    for folder in (package / "knative", package.parents[1] / "knative"):
        if (folder / "triggers").is_dir():
            return folder
    raise ConfigurationError(
        f"the folder knative/ with the Triggers is missing from {package}: install Greenlight again"
    )


def manifest_files(folder: Path) -> list[Path]:
    """Find the YAML files below `folder`, by name, without kustomize's overlays/; OSError if a folder cannot be read."""
    return [path for path in files_below(folder) if is_yaml(path) and "overlays" not in path.relative_to(folder).parts]


def load_folder(*folders: Path) -> Manifests:
    """Read every Broker and Trigger below `folders`; other kinds are passed over.

    Raises ConfigurationError with a line for each mistake, UnreadableFile if a file or folder cannot be read now.
    """
    texts = {}
    for folder in folders:
        for path in _manifests_in(folder):
            name = str(path.relative_to(folder))
            try:
                texts[str(path) if name in texts else name] = text_of(path)
            except OSError as problem:
                raise UnreadableFile(f"{path}: cannot be read: {problem}") from problem
            except DocumentError as problem:
                raise ConfigurationError(str(problem)) from problem
    return load_texts(texts)


def _manifests_in(folder: Path) -> list[Path]:
    """Find the YAML files below `folder`. Raises UnreadableFile if one of its folders cannot be read."""
    try:
        return manifest_files(folder)
    except OSError as problem:
        raise UnreadableFile(f"{folder}: cannot be read: {problem}") from problem


def load_texts(texts: Mapping[str, str]) -> Manifests:
    """Read every Broker and Trigger from texts by file name; errors as for `load_folder`."""
    errors: list[str] = []
    readers: list[ManifestReader] = []
    for name, text in texts.items():
        try:
            documents = load(text, name)
        except DocumentError as problem:
            errors.append(str(problem))
            continue
        readers += [ManifestReader(name, document, errors) for document in documents if is_for_broker(document.value)]
    brokers = [broker for reader in readers if reader.kind == "Broker" and (broker := reader.broker())]
    by_key = {broker.key: broker for broker in brokers}
    triggers = [trigger for reader in readers if reader.kind == "Trigger" and (trigger := reader.trigger(by_key))]
    errors += [f"two Brokers are called {key}: rename one" for key in _twice([broker.key for broker in brokers])]
    errors += [f"two Triggers are called {key}: rename one" for key in _twice([trigger.key for trigger in triggers])]
    if errors:
        raise ConfigurationError("\n".join(errors))
    return Manifests(tuple(brokers), tuple(triggers))


def _twice(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})
