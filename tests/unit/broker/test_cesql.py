"""CESQL 1.0: every operator and function, every error, where a mistake is, and bounds. Numbers are the specification's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.broker.cesql import (
    EvaluationError,
    Expression,
    Node,
    ParseError,
    Value,
    compile_expression,
    only_values,
    parse,
    place,
    unknown_functions,
)
from greenlight.broker.cesql.functions import MAX_TEXT
from greenlight.broker.cesql.like import compile_pattern
from greenlight.broker.cesql.syntax import MAX_DEPTH
from greenlight.broker.cesql.tokens import MAX_LENGTH
from support.timing import cpu_seconds

Attributes = Mapping[str, Value]

EVENT: Attributes = {
    "specversion": "1.0", "id": "id-1", "source": "/shop", "type": "com.github.push",
    "count": "5", "number": 7, "big": 2147483647, "flag": True, "word": "true", "name": "Zoë", "1st": "a", "long": "a" * 8192,
}  # fmt: skip


def compiled(text: str) -> Expression[Attributes]:
    return compile_expression(text, lambda name: lambda event: event.get(name))


def evaluated(text: str) -> tuple[Value, str | None]:
    value, error = compiled(text).evaluate(EVENT)
    return value, error and error.error


VALUES: list[tuple[str, Value]] = [
    # 2.2 literals and names
    ("TRUE", True), ("fAlSe", False), ("0", 0), ("007", 7), ("+3", 3), ("-3", -3), ("- 3", -3), ("--3", 3),
    ("-2147483648", -2147483648), ("2147483647", 2147483647),
    ("'a b'", "a b"), ('"a b"', "a b"), ("''", ""), (r"'it\'s \"x\" \n \\'", r"it's \"x\" \n " + "\\\\"), (r'"a\"b"', 'a"b'),
    ("'two\nlines'", "two\nlines"), ("type", "com.github.push"), ("TyPe", "com.github.push"), ("1st", "a"), ("number", 7),
    ("flag", True), (" \t\r\n( (id) ) ", "id-1"),
    # 3.4.1 unary operators
    ("NOT TRUE", False), ("NOT NOT TRUE", True), ("NOT 'FALSE'", True), ("NOT 10", False), ("NOT 0", True), ("-'10'", -10),
    ("-TRUE", -1), ("-NOT TRUE", 0), ("-count", -5),
    # 3.4.2 equality: the right operand's type decides
    ("'a' = 'a'", True), ("'a' = 'A'", False), ("count = 5", True), ("count = '5'", True), ("count = '05'", False),
    ("count = 05", True), ("5 = count", True), ("number = '7'", True), ("word = TRUE", True), ("TRUE = word", True),
    ("TRUE = 'TRUE'", False), ("'TRUE' = TRUE", True), ("2 = TRUE", True), ("TRUE = 2", False), ("TRUE = 1", True),
    ("number = count", False), ("id = source", False), ("id = id", True), ("flag = word", True), ("1 != 2", True),
    ("1 <> 1", False), ("id != source", True), ("LENGTH(id) = LENGTH(type)", False), ("(1 = 1) = (2 = 2)", True),
    # comparison and arithmetic: Integers
    ("1 < 2", True), ("2 < 2", False), ("2 <= 2", True), ("3 > 2", True), ("2 > 2", False), ("2 >= 3", False),
    ("count < '10'", True), ("1 < 2 = TRUE", True), ("3 > 2 > 0", True), ("1 + 2 * 3 - 4 / 2", 5), ("(1 + 2) * 3", 9),
    ("10 - 3 - 2", 5), ("7 / 2", 3), ("-7 / 2", -3), ("7 / -2", -3), ("7 % 3", 1), ("-7 % 3", -1), ("7 % -3", 1),
    ("-2147483648 % -1", 0), ("'5' + TRUE", 6), ("1++1", 2), ("1--1", 2), ("count + number", 12), ("-count + 3", -2),
    # logic: short, and from right to left
    ("TRUE AND TRUE", True), ("TRUE AND FALSE", False), ("FALSE OR TRUE", True), ("FALSE OR FALSE", False),
    ("TRUE XOR TRUE", False), ("TRUE XOR FALSE", True), ("TRUE XOR TRUE XOR TRUE", True), ("'true' and 1", True),
    ("FALSE AND missing", False), ("TRUE OR 1 / 0 = 1", True), ("FALSE AND TRUE OR TRUE", False),
    ("(FALSE AND TRUE) OR TRUE", True), ("TRUE OR TRUE AND FALSE", True), ("TRUE AND TRUE AND FALSE", False),
    ("FALSE OR FALSE OR 'true'", True), ("TRUE XOR TRUE OR TRUE", False), ("1 = 1 AND 2 = 2 AND 3 = 3", True),
    # 3.4.3 LIKE
    ("type LIKE 'com.%'", True), ("type LIKE '%.push'", True), ("type LIKE '%github%'", True),
    ("type LIKE 'com.github'", False),
    ("type NOT LIKE 'org.%'", True), ("234 LIKE '2_4'", True), ("TRUE LIKE 'tr%'", True), ("name LIKE 'Zo_'", True),
    (r"'50%' LIKE '50\%'", True), (r"'501' LIKE '50\%'", False), (r"'a_b' LIKE 'a\_b'", True), (r"'a\b' LIKE 'a\b'", True),
    (r"'\xb' LIKE '\_b'", False), ("'A' LIKE 'a'", False), ("'a' LIKE ''", False), ("'' LIKE ''", True),
    ("'' LIKE '%%'", True),
    ("'%x' LIKE '%'", True), ("'%%' LIKE '_%'", True),
    ("type LIKE 'c%' IN (TRUE)", True), ("type IN ('a') LIKE 'f%'", True),
    # 3.4.4 EXISTS
    ("EXISTS id", True), ("EXISTS SOURCE", True), ("EXISTS count", True), ("EXISTS missing", False),
    ("NOT EXISTS missing", True), ("EXISTS missing = FALSE", True), ("EXISTS type LIKE 'tr%'", True),
    # 3.4.5 IN: the left operand's type decides, and what comes after the match does not count
    ("1 IN (1, 2)", True), ("3 IN (1, 2)", False), ("3 NOT IN (1, 2)", True), ("count IN (4, 5)", True),
    ("number IN ('7')", True), ("TRUE IN ('true')", True), ("'TRUE' IN (TRUE)", False), ("1 IN (TRUE)", True),
    ("1 IN (1, 'x')", True), ("id IN (source, type)", False), ("source IN ('x', LOWER('/SHOP'))", True),
    ("5 IN (count, missing)", True), ("2 * count IN (5)", 2),
    # 3.5 functions
    ("LENGTH('')", 0), ("LENGTH(name)", 3), ("LENGTH(TRUE)", 4), ("length(-12)", 3),
    ("CONCAT()", ""), ("CONCAT('a')", "a"), ("CONCAT('a', 1, TRUE)", "a1true"),
    ("CONCAT_WS(',')", ""), ("CONCAT_WS(',', 'a')", "a"), ("concat_ws('-', 'a', 2, 'c')", "a-2-c"),
    ("LOWER('ÄbC')", "äbc"), ("UPPER('äbC')", "ÄBC"), ("TRIM('\u00a0 a b\u3000\t')", "a b"),
    ("TRIM('\x1c a\x00')", "\x1c a\x00"),
    ("LEFT('abc', 2)", "ab"), ("LEFT('abc', 3)", "abc"), ("LEFT('abc', 9)", "abc"), ("LEFT('abc', 0)", ""),
    ("LEFT(name, 3)", "Zoë"),
    ("RIGHT('abc', 2)", "bc"), ("RIGHT('abc', 3)", "abc"), ("RIGHT('abc', 9)", "abc"), ("RIGHT('abc', 0)", ""),
    ("SUBSTRING('abcdef', 1)", "abcdef"), ("SUBSTRING('abcdef', 6)", "f"), ("SUBSTRING('abcdef', -2)", "ef"),
    ("SUBSTRING('abcdef', -6)", "abcdef"), ("SUBSTRING('abcdef', 0)", ""), ("SUBSTRING('', 0)", ""),
    ("SUBSTRING('abcdef', 2, 3)", "bcd"), ("SUBSTRING('abcdef', -3, 2)", "de"), ("SUBSTRING('abcdef', 5, 9)", "ef"),
    ("SUBSTRING('abcdef', 2, 0)", ""), ("SUBSTRING('abcdef', 0, 3)", ""), ("SUBSTRING(12345, '2', 2147483647)", "2345"),
    ("ABS(10)", 10), ("ABS(-10)", 10), ("ABS('-3')", 3),
    # 3.7 casts
    ("INT('42')", 42), ("INT('-42')", -42), ("INT('+42')", 42), ("INT('0000000000000000042')", 42), ("INT(TRUE)", 1),
    ("INT(7)", 7), ("BOOL('True')", True), ("BOOL('FALSE')", False), ("BOOL(-3)", True), ("BOOL(0)", False),
    ("BOOL(flag)", True),
    ("STRING(TRUE)", "true"), ("STRING(-5)", "-5"), ("STRING('x')", "x"),
    ("IS_INT('5')", True), ("IS_INT('x')", False), ("IS_INT('')", False), ("IS_INT(TRUE)", True), ("IS_INT(flag)", True),
    ("IS_INT('2147483648')", False), ("IS_BOOL('true')", True), ("IS_BOOL('yes')", False), ("IS_BOOL(5)", True),
    ("int (count) < 9 and INT(COUNT) > 1", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[text[:40] for text, _ in VALUES])
def test_an_expression_has_its_value(text: str, value: Value) -> None:
    """The value and its type, and no error."""
    found, error = evaluated(text)
    assert (found, type(found), error) == (value, type(value), None)


ERRORS: list[tuple[str, Value, str]] = [
    ("missing", False, "missingAttribute"), ("missing = 'x'", False, "missingAttribute"),
    ("missing != 'x'", False, "missingAttribute"), ("'x' = missing", False, "missingAttribute"),
    ("missing / 0", 0, "missingAttribute"), ("1 / missing", 0, "missingAttribute"), ("-missing", 0, "missingAttribute"),
    ("NOT missing", False, "missingAttribute"), ("missing LIKE '%'", False, "missingAttribute"),
    ("missing NOT LIKE '%'", False, "missingAttribute"), ("missing IN ('')", False, "missingAttribute"),
    ("id IN (missing)", False, "missingAttribute"), ("TRUE AND missing = ''", False, "missingAttribute"),
    ("FALSE OR missing OR TRUE", False, "missingAttribute"), ("TRUE XOR missing", False, "missingAttribute"),
    ("LENGTH(missing)", 0, "missingAttribute"), ("LEFT(missing, 1)", "", "missingAttribute"),
    ("1 / 0", 0, "math"), ("1 % 0", 0, "math"), ("TRUE AND 1 != 1 / 0", False, "math"), ("big + 1", 0, "math"),
    ("-2147483648 - 1", 0, "math"), ("big * big", 0, "math"), ("-2147483648 / -1", 0, "math"), ("-(-2147483648)", 0, "math"),
    ("ABS(-2147483648)", 2147483647, "math"), ("ABS(-2147483648) > 1", False, "math"),
    ("INT('x')", 0, "cast"), ("INT('')", 0, "cast"), ("INT(' 5')", 0, "cast"), ("INT('5_0')", 0, "cast"),
    ("INT('٣')", 0, "cast"),
    ("INT('2147483648')", 0, "cast"), ("INT('99999999999999999999')", 0, "cast"), ("INT('1.0')", 0, "cast"),
    ("BOOL('1')", False, "cast"), ("BOOL('')", False, "cast"), ("id < 5", False, "cast"), ("id + 1", 0, "cast"),
    ("id = 5", False, "cast"), ("id = TRUE", False, "cast"), ("id = number", False, "cast"), ("NOT id", False, "cast"),
    ("NOT type = 'x'", False, "cast"), ("id AND TRUE", False, "cast"), ("5 IN ('x', 5)", False, "cast"),
    ("number IN (id, 7)", False, "cast"), ("TRUE IN ('x')", False, "cast"), ("LEFT('abc', 'x')", "", "cast"),
    ("LEFT('abc', -1)", "abc", "functionEvaluation"), ("RIGHT('abc', -1)", "abc", "functionEvaluation"),
    ("LEFT(LEFT('abc', -1), 2)", "", "functionEvaluation"), ("(LEFT('abc', -1))", "abc", "functionEvaluation"),
    ("SUBSTRING('abc', 4)", "", "functionEvaluation"), ("SUBSTRING('abc', -4)", "", "functionEvaluation"),
    ("SUBSTRING('', 1)", "", "functionEvaluation"), ("SUBSTRING('abc', 4, 1)", "", "functionEvaluation"),
    ("SUBSTRING('abc', 1, -1)", "", "functionEvaluation"),
    (f"CONCAT({', '.join(['long'] * 129)})", "", "functionEvaluation"),
    ("CONCAT_WS()", False, "missingFunction"), ("NOPE()", False, "missingFunction"),
    ("LENGTH('a', 'b')", False, "missingFunction"),
    ("NOPE(missing) + 1", 0, "missingFunction"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "error"), ERRORS, ids=[text[:40] for text, *_ in ERRORS])
def test_an_error_has_a_kind_and_leaves_a_value(text: str, value: Value, error: str) -> None:
    """Section 3.3: what the function gives all the same, or the zero value of the expression's type."""
    found, kind = evaluated(text)
    assert (found, type(found), kind) == (value, type(value), error)


MISTAKES = [
    ("", 1, "expected a value"), ("  ", 3, "found the end"), ("type = ", 8, "found the end"),
    ("type == 'x'", 7, "equality is one ="),
    ("type = x y", 10, "expected an operator or the end, found y"), ("(type", 6, "expected a closing bracket"),
    ("type)", 5, "found )"), ("type LIKE x", 11, "expected a pattern in quotes after LIKE, found x"),
    ("type LIKE 5", 11, "a pattern in quotes"), ("type IN 'a'", 9, "an opening bracket after IN"),
    ("type IN ()", 10, "found )"),
    ("type IN ('a' 'b')", 14, "a comma or a closing bracket in the set"),
    ("type NOT 'a'", 6, "an operator or the end, found NOT"),
    ("EXISTS 'x'", 8, "an attribute's name after EXISTS"), ("EXISTS and", 8, "found AND"), ("ABC(", 5, "found the end"),
    ("ABS(1,)", 7, "found )"), ("ABS(1", 6, "in the arguments of ABS"), ("AND TRUE", 1, "found AND"),
    ("type = 'x", 8, "no closing quote"), ('type = "x', 8, "no closing quote"), (r"type = 'x\'", 8, "no closing quote"),
    ("type = 'it''s'", 12, r"written \', not twice"), ("type = 'x';", 11, "';' means nothing here"),
    ("type = “x”", 8, "means nothing here"), ("my_attribute = 1", 1, "my_attribute is no attribute"),
    ("ABS2(1)", 1, "ABS2 is no function"), ("_x(1)", 1, "_x is no function"), ("2147483648", 1, "out of the range"),
    ("-2147483649", 1, "out of the range"), ("- 2147483648", 3, "out of the range"), ("1" * 5000, 1, "out of the range"),
    ("count-1", 6, "so write - 1"), ("count +1", 7, "so write + 1"), ("+ 1", 1, "expected a value"),
    ("1.5", 2, "means nothing"),
    ("+'5'", 1, "expected a value"), ("type <=> 'x'", 8, "found >"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "words"), MISTAKES, ids=[text[:40] for text, *_ in MISTAKES])
def test_a_mistake_is_reported_with_its_column(text: str, column: int, words: str) -> None:
    """And with what was expected."""
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert place(text, caught.value.at) == f"column {column}"
    assert words in str(caught.value)


def test_a_mistake_in_several_lines_is_reported_with_its_line() -> None:
    """As a YAML block has them."""
    with pytest.raises(ParseError) as caught:
        parse("type = 'a'\n  AND id LIKE 5\n")
    assert place("type = 'a'\n  AND id LIKE 5\n", caught.value.at) == "line 2, column 15"


DEEP = [
    "(" * MAX_LENGTH, "(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), "NOT " * 4000 + "TRUE", "-" * 16000 + "1",
    " + ".join(["1"] * 4000), " = ".join(["1"] * 4000), "ABS(" * 4000, "1 IN (" * 2000, "TRUE AND FALSE OR " * 900 + "TRUE",
    "'a' LIKE 'a' " + "LIKE 'a' " * 1500, "x" * (MAX_LENGTH + 1),
]  # fmt: skip


@pytest.mark.parametrize("text", DEEP, ids=[text[:12] for text in DEEP])
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    """With a CESQL error, not the interpreter's."""
    with pytest.raises(ParseError, match=r"nested deeper than|longer than"):
        parse(text)


def test_long_lists_are_not_deep() -> None:
    """What people write in earnest: many alternatives."""
    assert evaluated(" OR ".join(f"type = 'a{n}'" for n in range(800)) + " OR id = 'id-1'") == (True, None)
    assert evaluated("type IN (" + ", ".join(f"'a{n}'" for n in range(1500)) + ")") == (False, None)


# Patterns.


def reference(pattern: str, text: str) -> bool:
    """The definition, by dynamic programming."""
    items = [item[0] or item[1] for item in re.findall(r"(\\[%_])|(.)", pattern, re.DOTALL)]
    reached = {0}
    for item in items:
        if item == "%":
            reached = set(range(min(reached, default=len(text) + 1), len(text) + 1))
        else:
            literal = item[-1] if len(item) == 2 else item
            reached = {at + 1 for at in reached if at < len(text) and (item == "_" or text[at] == literal)}
    return len(text) in reached


@given(st.text("ab%_\\", max_size=12), st.text("ab%_\\", max_size=12))
def test_a_pattern_matches_what_its_definition_says(pattern: str, text: str) -> None:
    """Every mixture of wildcards and escapes."""
    assert compile_pattern(pattern)(text) is reference(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["%" + "a" * 3000 + "_b%", "%a" * 4000 + "b", "%a_" * 2500 + "b%", "a%" * 4000 + "b_"]
)
def test_no_pattern_makes_an_event_expensive(pattern: str) -> None:
    """The longest attribute against patterns that make others backtrack costs about as much as one that fits at once."""
    text, fits = "a" * 8192, pattern.replace("b", "a")
    assert not compile_pattern(pattern)(text)
    assert compile_pattern(fits)(text)
    cost = cpu_seconds(lambda: compile_pattern(pattern)(text))
    assert cost < 20 * cpu_seconds(lambda: compile_pattern(fits)(text))


# What holds for every text.

WORDS = [
    "type", "id", "count", "flag", "missing", "'a'", '"5"', "'%a_'", "''", "1", "-2", "2147483647", "TRUE", "false",
    "(", ")", ",",
    "NOT", "-", "+", "*", "/", "%", "=", "!=", "<>", "<", ">=", "AND", "OR", "XOR", "LIKE", "IN", "EXISTS", "ABS", "LENGTH",
    "CONCAT", "LEFT", "SUBSTRING", "INT", "IS_BOOL", "NOPE", "_",
]  # fmt: skip
LEAVES = st.sampled_from(
    ["type", "count", "number", "flag", "missing", "'a'", "'5'", "'true'", "3", "-2147483648", "TRUE", "EXISTS id"]
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            "{} {} {}".format,
            inner,
            st.sampled_from(["=", "!=", "<", ">=", "+", "-", "*", "/", "%", "AND", "OR", "XOR"]),
            inner,
        ),
        st.builds("{} {}".format, st.sampled_from(["NOT", "-"]), inner),
        st.builds("({})".format, inner),
        st.builds("{} {} '%a_'".format, inner, st.sampled_from(["LIKE", "NOT LIKE"])),
        st.builds("{} {} ({}, {})".format, inner, st.sampled_from(["IN", "NOT IN"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["ABS", "LENGTH", "INT", "BOOL", "IS_INT", "TRIM", "NOPE"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["LEFT", "CONCAT", "SUBSTRING", "CONCAT_WS"]), inner, inner),
    ),
    max_leaves=12,
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["type", "id", "count", "number", "flag"]),
    st.one_of(st.text(max_size=5), st.integers(-(2**31), 2**31 - 1), st.booleans(), st.sampled_from(["5", "true"])),
)


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join), TEXTS), ATTRIBUTES)
def test_no_text_raises_anything_but_a_cesql_error(text: str, event: Attributes) -> None:
    """It is a ParseError, or an expression that gives a value of its type for any event."""
    try:
        expression = compiled(text)
    except ParseError:
        return
    value, error = expression.evaluate(event)
    assert type(value) in (str, int, bool)
    assert expression.kind in (None, type(value))
    assert -(2**31) <= value < 2**31 if type(value) is int else True
    assert error is None or (isinstance(error, EvaluationError) and 0 <= error.at < len(text))


def shown(node: Node) -> str:
    """A tree as text, with every bracket."""
    children = [f"({shown(child)})" for child in node.children]
    if node.kind in ("attribute", "EXISTS"):
        return f"{'' if node.kind == 'attribute' else 'EXISTS '}{node.value}"
    if node.kind == "literal":
        return "'" + node.value.replace("'", r"\'") + "'" if isinstance(node.value, str) else str(node.value)
    if node.kind in ("NOT", "negate"):
        return ("NOT " if node.kind == "NOT" else "- ") + children[0]
    if node.kind == "LIKE":
        return f"{children[0]} LIKE '{node.value}'"
    if node.kind == "IN":
        return f"{children[0]} IN ({', '.join(children[1:])})"
    if node.kind == "call":
        return f"{node.value}({', '.join(children)})"
    return f" {node.kind} ".join(children)


@given(TEXTS)
def test_brackets_around_every_operand_change_nothing(text: str) -> None:
    """So that precedence is only a matter of writing: the tree, written out with every bracket, reads the same."""
    tree = parse(text).tree
    assert parse(shown(tree)).tree == tree


TYPES = st.recursive(
    st.sampled_from(
        ["type = 'a'", "'b' = type", "type IN ('a', 'c')", "type = id", "type LIKE '_'", "id = 'a'", "type != 'a'"]
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR", "XOR"]), inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=6,
)


@given(TYPES, st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_the_only_values_hide_nothing(text: str, type: str, id: str) -> None:
    """With another value the expression is never true."""
    expression = compiled(text)
    limit = only_values(expression.tree, "type")
    assert expression.evaluate({"type": type, "id": id})[0] is False or limit is None or type in limit


def test_the_only_values_are_found() -> None:
    """In what people write."""
    assert only_values(parse("type IN ('a', 'b') AND id = 'x'").tree, "type") == {"a", "b"}
    assert only_values(parse("type = 'a' OR 'b' = type").tree, "type") == {"a", "b"}
    assert only_values(parse("type IN ('a', 'b') AND type = 'b'").tree, "type") == {"b"}
    assert only_values(parse("type = 'a' OR id = 'x'").tree, "type") is None
    assert only_values(parse("type = 5").tree, "type") is None


# Advice.


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("id = 'a' AND id = 'b' OR id = 'c'", 23, "AND and OR are mixed"),
        ("TRUE XOR (TRUE OR FALSE AND TRUE)", 25, "OR and AND are mixed"),
        ("NOT type = 'x'", 1, "NOT binds tighter than ="),
        ("NOT type LIKE 'x%'", 1, "NOT binds tighter than LIKE"),
        ("NOT type NOT IN ('x')", 1, "NOT binds tighter than IN"),
        ("TRUE AND NOT count + 1", 10, "NOT binds tighter than +"),
    ],
)
def test_what_is_seldom_meant_is_reported(text: str, column: int, words: str) -> None:
    """It is allowed all the same."""
    ((at, advice),) = parse(text).advice
    assert at + 1 == column
    assert words in advice


@pytest.mark.parametrize(
    "text", ["(a AND b) OR c", "a OR b OR c", "NOT (a = b)", "(NOT a) = b", "NOT EXISTS a AND b = c", "a NOT LIKE 'x'"]
)
def test_what_is_clear_needs_no_advice(text: str) -> None:
    """Brackets say what is meant."""
    assert parse(text).advice == ()


def test_functions_that_are_not_there_are_known_before_any_event() -> None:
    """With what there is instead."""
    found = unknown_functions(parse("NOPE(1) = 2 AND LENGTH() = SUBSTRING('a') AND CONCAT_WS() = 'x'").tree)
    assert [at for at, _ in found] == [0, 16, 27, 46]
    assert [why for _, why in found] == [
        "there is no function NOPE; there are LENGTH, CONCAT, CONCAT_WS, LOWER, UPPER, TRIM, LEFT, RIGHT, SUBSTRING, ABS, INT, "
        "BOOL, STRING, IS_INT, IS_BOOL",
        "LENGTH takes 1 argument, not 0",
        "SUBSTRING takes 2 or 3 arguments, not 1",
        "CONCAT_WS takes at least 1 argument, not 0",
    ]


def test_a_text_that_is_put_together_is_bounded() -> None:
    """A few attributes of a hostile event do not become a gigabyte."""
    assert evaluated("LENGTH(CONCAT(long, long))") == (16384, None)
    assert MAX_TEXT < 129 * 8192
