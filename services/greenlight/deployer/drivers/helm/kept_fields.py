"""Fields of a release that stay as the cluster has them. Pure, and the program that Helm passes its manifests through.

    python kept_fields.py FILE < manifests > manifests

FILE holds JSON: `namespace`, where objects are that name none, and `fields`, each with the `group`, `kind`, `namespace` and
`name` of its object, its `path` and its `value`, and whether to `add` it to an object that lacks it. A step of a path is a
key of a mapping, or, as a mapping, what tells an item of a list. The text of these values is replaced wherever the manifests
have them; all other text stays as it is, so that nothing is read in one way and written in another. It imports nothing of
Greenlight: Helm waits for it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_PAIR = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")


def replaced(manifests: str, kept: Mapping[str, Any]) -> str:
    """Return the manifests with the values that are kept."""
    if any(getattr(event, "anchor", None) for event in yaml.parse(manifests, Loader=_LOADER)):
        manifests = _written_out(manifests)
    edits = sorted(_edits(manifests, kept), reverse=True)
    for start, end, text in edits:
        manifests = manifests[:start] + text + manifests[end:]
    return manifests


def _written_out(manifests: str) -> str:
    """Return the manifests without anchors and aliases, for which one text is two values."""
    documents = yaml.load_all(manifests, Loader=AsJson)
    return "".join(f"---\n{_yaml(document)}\n" for document in documents)


def _yaml(value: Any) -> str:
    """Return JSON that is valid YAML, too, which has no surrogates and accepts no control characters."""
    return _PAIR.sub(_one_character, json.dumps(value).replace("\x7f", "\\u007f"))


def _one_character(pair: re.Match[str]) -> str:
    return "\\U%08x" % (0x10000 + (int(pair[1], 16) - 0xD800) * 0x400 + int(pair[2], 16) - 0xDC00)


class AsJson(_LOADER):  # type: ignore[valid-type,misc]
    """Read a date as text, as in JSON."""

    yaml_implicit_resolvers: ClassVar = {
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _edits(manifests: str, kept: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, text) of everything to replace."""
    for document in yaml.compose_all(manifests, Loader=_LOADER):
        for item in _objects(document):
            for field in kept["fields"]:
                if _is(item, field, kept["namespace"]):
                    yield from _edit(manifests, item, field["path"], _yaml(field["value"]), field["add"])


def _objects(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Yield an object, or what is in a list of them."""
    if isinstance(node, yaml.MappingNode):
        items = _value(node, "items")
        if isinstance(items, yaml.SequenceNode):
            for item in items.value:
                yield from _objects(item)
        else:
            yield node


def _is(item: yaml.MappingNode, field: Mapping[str, Any], namespace: str) -> bool:
    """Return whether this is the field's object."""
    meta = _value(item, "metadata")
    found = (
        _text(item, "apiVersion").rpartition("/")[0],
        _text(item, "kind"),
        _text(meta, "namespace") or namespace,
        _text(meta, "name"),
    )
    return found == tuple(field[name] for name in ("group", "kind", "namespace", "name"))


def _edit(
    text: str, node: yaml.Node | None, path: Sequence[Any], value: str, add: bool
) -> Iterator[tuple[int, int, str]]:
    """Yield the place of a path's value below a node, if the node has it, or if it is to be added."""
    step, *rest = path
    if isinstance(step, str) and isinstance(node, yaml.MappingNode):
        pairs = [(key, found) for key, found in node.value if key.value == step]
        for key, found in pairs:
            if rest:
                yield from _edit(text, found, rest, value, add)
            else:
                start = text.index(":", key.end_mark.index) + 1
                yield start, max(_end(text, found), start), f" {value}"
        if add and not pairs and not rest:
            yield _added(node, f"{step}: {value}")
    elif isinstance(step, Mapping) and isinstance(node, yaml.SequenceNode):
        found = _chosen(node, step)
        if found is not None and rest:
            yield from _edit(text, found, rest, value, add)
        elif found is not None:
            yield found.start_mark.index, _end(text, found), value


def _added(node: yaml.MappingNode, pair: str) -> tuple[int, int, str]:
    """Return the place for another pair, before the first: on a line of its own, or within the braces."""
    start = node.start_mark
    if node.flow_style:
        return start.index + 1, start.index + 1, f"{pair}, "
    return start.index, start.index, f"{pair}\n{' ' * start.column}"


def _chosen(node: yaml.SequenceNode, step: Mapping[str, Any]) -> yaml.Node | None:
    """Return the list's item with these keys, or one that leaves out a key with a default, if none has them all."""
    items: Sequence[yaml.Node] = node.value
    near: yaml.Node | None = None
    for item in items:
        there = {name: _text(item, name) for name in step if _value(item, name) is not None}
        if there and all(str(step[name]) == text for name, text in there.items()):
            if len(there) == len(step):
                return item
            near = near or item
    return near


def _end(text: str, node: yaml.Node) -> int:
    """Return where a node's own text ends: a block's text includes the white space before the next one."""
    return len(text[: node.end_mark.index].rstrip())


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


def _text(node: yaml.Node | None, name: str) -> str:
    found = _value(node, name)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.buffer.write(replaced(sys.stdin.buffer.read().decode(), given).encode())
