"""Mutants of a source text, made mechanically: one small change each, at every place where it applies.

    comparison   < becomes <= and >=, == becomes !=, in becomes not in, is becomes is not, and back
    sign         + and - change places, a unary minus goes, so do methods `add` and `sub` of a domain
    operator     * // % << >> & | ^ each become another
    constant     an integer grows by one, True and False change places
    boolean      and, or change places; not and ~ go
    condition    a bare condition of if, while, x if c else y, and of a comprehension is negated
    extremum     min and max change places, any and all
    arguments    the two arguments of a function that is not symmetric change places
    deleted      a statement that acts by itself (a call, a raise, +=, an assignment to an attribute or element) goes
    early        a loop ends after its first step; a function without a result returns after its first statement

Not touched: docstrings, annotations, asserts and `strict=` (they state what tests watch), the words of an error, the
switches of dataclasses. What does not compile is no mutant. Everything is in the order of the text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import unified_diff

__all__ = ["Mutant", "mutants", "replaced"]

_COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: (r"not\s+in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: (r"is\s+not", ("is",)),
}
_OPERATORS: dict[type[ast.operator], tuple[str, str, str]] = {
    ast.Add: ("+", "-", "sign"),
    ast.Sub: ("-", "+", "sign"),
    ast.Mult: ("*", "+", "operator"),
    ast.FloorDiv: ("//", "*", "operator"),
    ast.Mod: ("%", "//", "operator"),
    ast.Pow: ("**", "*", "operator"),
    ast.LShift: ("<<", ">>", "operator"),
    ast.RShift: (">>", "<<", "operator"),
    ast.BitAnd: ("&", "|", "operator"),
    ast.BitOr: ("|", "&", "operator"),
    ast.BitXor: ("^", "&", "operator"),
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_METHODS = {"add": "sub", "sub": "add"}
_ORDERED = {"sub", "subtract", "matmul", "left_shift", "right_shift", "divmod", "pow", "insort", "floor_divide"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file. `function`: where; `before`, `after`: the changed lines, stripped; `text`: all of it."""

    file: str
    function: str
    line: int
    kind: str
    before: str
    after: str
    text: str
    diff: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it, whatever stands above it in the file."""
        return (self.file, self.function, self.before, self.after)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.kind}: {self.before}  ->  {self.after}"


def replaced(file: str, function: str, kind: str, source: str, text: str) -> Mutant | None:
    """The mutant that turns `source` into `text`; None if it is the same program or none at all."""
    try:
        if ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    old, new = source.splitlines(), text.splitlines()
    diff = list(unified_diff(old, new, file, file, lineterm="", n=0))
    changed = {sign: " ".join(d[1:].strip() for d in diff[2:] if d[0] == sign) for sign in "-+"}
    first = next(i for i, (a, b) in enumerate(zip([*old, None], [*new, None], strict=False)) if a != b)
    if not changed["-"]:  # something stands there that was not there: named by the line above it
        above = old[first - 1].strip()
        changed = {"-": above, "+": f"{above} {changed['+']}"}
    return Mutant(file, function, first + 1, kind, changed["-"], changed["+"], text, "\n".join(diff))


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its text."""
    found = _Finder(source).all()
    made = [replaced(file, c.function, c.kind, source, c.applied(source)) for c in found]
    once: dict[str, Mutant] = {m.text: m for m in reversed(made) if m}
    return sorted(once.values(), key=lambda m: (m.line, m.kind, m.after))


@dataclass(frozen=True)
class _Change:
    function: str
    kind: str
    start: int
    end: int
    new: str

    def applied(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()


class _Finder:
    def __init__(self, source: str) -> None:
        self.raw = source.encode()
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.scope: list[str] = []
        self.changes: list[_Change] = []

    def all(self) -> list[_Change]:
        for statement in _without_docstring(self.tree.body):
            self.visit(statement)
        return self.changes

    # places ----------------------------------------------------------------------------------------------------------

    def at(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def put(self, kind: str, start: int, end: int, new: str) -> None:
        self.changes.append(_Change(".".join(self.scope) or "module", kind, start, end, new))

    def over(self, kind: str, node: ast.expr | ast.stmt, new: str) -> None:
        self.put(kind, *self.at(node), new)

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.at(node)
        return self.raw[start:end].decode()

    def between(self, kind: str, nodes: tuple[ast.expr, ast.expr], old: str, new: str) -> None:
        """Another word between two expressions."""
        start, end = self.at(nodes[0])[1], self.at(nodes[1])[0]
        found = re.search(old.encode(), self.raw[start:end])
        if found:
            self.put(kind, start + found.start(), start + found.end(), new)

    # walking ---------------------------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.definition(node)
            return
        for kind, rule in _RULES:
            if isinstance(node, kind):
                rule(self, node)
        for child in _children(node):
            self.visit(child)

    def definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            if "dataclass" not in ast.dump(decorator):
                self.visit(decorator)
        self.scope.append(node.name)
        if isinstance(node, ast.FunctionDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default:
                    self.visit(default)
            self.early_return(node)
        for statement in _without_docstring(node.body):
            self.visit(statement)
        self.scope.pop()

    def early_return(self, node: ast.FunctionDef) -> None:
        body = _without_docstring(node.body)
        gives = any(
            isinstance(n, ast.Yield | ast.YieldFrom) or (isinstance(n, ast.Return) and n.value) for n in ast.walk(node)
        )
        if len(body) > 1 and not gives:
            start, _ = self.at(body[1])
            self.put("early", start, start, "return\n" + " " * body[1].col_offset)

    # rules -----------------------------------------------------------------------------------------------------------

    def compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for i, op in enumerate(node.ops):
            old, others = _COMPARISONS[type(op)]
            for new in others:
                self.between("comparison", (operands[i], operands[i + 1]), old, new)

    def binary(self, node: ast.BinOp) -> None:
        if type(node.op) in _OPERATORS:
            old, new, kind = _OPERATORS[type(node.op)]
            self.between(kind, (node.left, node.right), re.escape(old), new)

    def augmented(self, node: ast.AugAssign) -> None:
        if type(node.op) in _OPERATORS:
            old, new, kind = _OPERATORS[type(node.op)]
            self.between(kind, (node.target, node.value), re.escape(old), new)
        self.over("deleted", node, "pass")

    def unary(self, node: ast.UnaryOp) -> None:
        kind = {ast.USub: "sign", ast.Not: "boolean", ast.Invert: "boolean"}.get(type(node.op))
        if kind:
            self.over(kind, node, f"({self.text(node.operand)})")

    def constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.over("constant", node, str(not node.value))
        elif isinstance(node.value, int):
            self.over("constant", node, str(node.value + 1))

    def boolean(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for pair in zip(node.values, node.values[1:], strict=False):
            self.between("boolean", pair, rf"\b{old}\b", new)

    def condition(self, node: ast.If | ast.While | ast.IfExp) -> None:
        self.negate(node.test)

    def comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)

    def negate(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare | ast.UnaryOp | ast.Constant):
            self.over("condition", test, f"(not ({self.text(test)}))")

    def call(self, node: ast.Call) -> None:
        f = node.func
        name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
        if isinstance(f, ast.Name) and name in _NAMES:
            self.over("extremum", f, _NAMES[name])
        if len(node.args) != 2 or node.keywords:
            return
        if isinstance(f, ast.Attribute) and name in _METHODS:
            self.over("sign", f, f"{self.text(f.value)}.{_METHODS[name]}")
        if name in _ORDERED:
            first, second = node.args
            start, end = self.at(first)[0], self.at(second)[1]
            self.put("arguments", start, end, f"{self.text(second)}, {self.text(first)}")

    def statement(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.YieldFrom):
            self.over("deleted", node, "pass")

    def assignment(self, node: ast.Assign) -> None:
        if not any(isinstance(t, ast.Name | ast.Tuple) for t in node.targets):
            self.over("deleted", node, "pass")

    def gone(self, node: ast.Raise | ast.Delete | ast.Continue | ast.Break) -> None:
        self.over("deleted", node, "pass")

    def loop(self, node: ast.For | ast.While) -> None:
        last = node.body[-1]
        _, end = self.at(last)
        self.put("early", end, end, "\n" + " " * last.col_offset + "break")


Rule = Callable[[_Finder, "ast.AST"], None]
_RULES: list[tuple[type | tuple[type, ...], Rule]] = [
    (ast.Compare, _Finder.compare),
    (ast.BinOp, _Finder.binary),
    (ast.AugAssign, _Finder.augmented),
    (ast.UnaryOp, _Finder.unary),
    (ast.Constant, _Finder.constant),
    (ast.BoolOp, _Finder.boolean),
    ((ast.If, ast.While, ast.IfExp), _Finder.condition),
    (ast.comprehension, _Finder.comprehension),
    (ast.Call, _Finder.call),
    (ast.Expr, _Finder.statement),
    (ast.Assign, _Finder.assignment),
    ((ast.Raise, ast.Delete, ast.Continue, ast.Break), _Finder.gone),
    ((ast.For, ast.While), _Finder.loop),
]  # type: ignore[list-item]


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What is looked at inside a node: no annotation, no words of an error, no invariant."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if text else body
