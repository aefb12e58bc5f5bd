"""CloudEvents SQL (CESQL) 1.0: an expression over a CloudEvent's attributes, compiled once, evaluated per event.

`compile_expression(text, attribute)` gives an Expression. Source of every rule: the specification's cesql/spec.md, version
1.0.0, and where that leaves room, the grammar published beside it, which the SDKs in use, Knative's among them, are built
from. Where we differ from Knative on purpose is written in docs/broker-filters.md.

Bounded in every direction: the text's length, the depth of the tree, the length of a text that is put together, and time,
which is linear in the expression times the attributes that it looks at.
"""

from greenlight.broker.cesql.analysis import only_values, unknown_functions
from greenlight.broker.cesql.evaluation import Expression, compile_expression
from greenlight.broker.cesql.syntax import Node, parse
from greenlight.broker.cesql.tokens import ParseError, place
from greenlight.broker.cesql.values import EvaluationError, Value, type_name

__all__ = [
    "EvaluationError",
    "Expression",
    "Node",
    "ParseError",
    "Value",
    "compile_expression",
    "only_values",
    "parse",
    "place",
    "type_name",
    "unknown_functions",
]
