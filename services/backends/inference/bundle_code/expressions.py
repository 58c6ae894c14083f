"""`$` expressions of a bundle's config, checked by their syntax tree against the allow-list in `names`.

MONAI hands the text to `eval` with all of Python's builtins. Here every name, attribute and node is either known to be
harmless or refused; nothing is evaluated, and nothing of MONAI or torch is imported.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from services.backends.inference.bundle_code import names

MOST_CHARACTERS = 5_000
REFERENCES = "__local_refs"
_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")  # monai.bundle.ReferenceResolver.id_matcher

_PLAIN = (
    ast.Expression, ast.Constant, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Subscript, ast.Slice,
    ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred, ast.JoinedStr, ast.FormattedValue,
    ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.Load,
)  # fmt: skip
"""Nodes that are harmless if their children are."""

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_SWITCHES = frozenset({"benchmark", "deterministic", "enabled"})


class Refused(ValueError):
    """What of an expression is outside the allow-list, in words."""


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """bound: names of arguments and loop variables. deferred: inside a lambda or comprehension, which may run later."""

    bound: frozenset[str] = frozenset()
    deferred: bool = False

    def binding(self, more: Iterator[str] | frozenset[str]) -> "_Scope":
        return _Scope(bound=self.bound | frozenset(more), deferred=True)


def imported(text: str) -> dict[str, str] | None:
    """The names that an import statement binds, each with its dotted name; None for what is no import. Raises Refused.

    text: of an expression, without its `$`.
    """
    try:
        statements = _parse(text, "exec").body  # type: ignore[attr-defined]
    except Refused:
        return None
    if not statements or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return None
    if len(statements) > 1:
        raise Refused("more than one statement")
    statement = statements[0]
    if isinstance(statement, ast.ImportFrom) and (statement.level or statement.module not in names.IMPORTS):
        raise Refused(f"an import from '{'.' * statement.level}{statement.module or ''}'")
    bound = {}
    for alias in statement.names:
        inside = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
        dotted = f"{inside}{alias.name}"
        if dotted not in names.IMPORTS and not names.is_allowed(dotted):
            raise Refused(f"an import of '{dotted}'")
        bound[alias.asname or alias.name] = dotted
    return bound


def check(text: str, imports: Mapping[str, str], literal: Callable[[str], object]) -> None:
    """Raises Refused at the first thing in an expression that is not allowed.

    text: as MONAI evaluates it but for its `$`, ids separated by `::`, relative ids too. imports: name -> dotted name.
    literal: what the config says under an id.
    """
    # MONAI puts this text in place of every reference before it evaluates, also inside of strings
    for found in sorted(_REFERENCE.findall(text), key=len, reverse=True):
        text = text.replace(found, f"{REFERENCES}['{found[1:]}']")
    _Checker({**names.GLOBALS, **imports}, literal).visit(_parse(text.lstrip(" \t"), "eval"), _Scope())


def _parse(text: str, mode: str) -> ast.AST:
    if len(text) > MOST_CHARACTERS:
        raise Refused(f"an expression of more than {MOST_CHARACTERS} characters")
    try:
        return ast.parse(text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"text that is no expression of Python ({type(error).__name__})") from error


class _Checker:
    def __init__(self, modules: Mapping[str, str], literal: Callable[[str], object]) -> None:
        self._modules = modules
        self._literal = literal

    def visit(self, node: ast.AST, scope: _Scope) -> None:
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(), ctx=ast.Load()) if name == REFERENCES:
                return
            case ast.Name():
                self._name(node, scope)
            case ast.Attribute():
                self._attribute(node, scope)
            case ast.Call():
                self._call(node, scope)
            case ast.Lambda():
                self._lambda(node, scope)
            case _ if isinstance(node, _COMPREHENSIONS):
                self._comprehension(node, scope)
            case _ if isinstance(node, _PLAIN):
                for child in ast.iter_child_nodes(node):
                    self.visit(child, scope)
            case _:
                raise Refused(f"the construct {type(node).__name__}")

    def _name(self, node: ast.Name, scope: _Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            raise Refused(f"an assignment to '{node.id}'")
        if node.id in scope.bound:
            return
        if node.id in self._modules:
            self._dotted(self._modules[node.id])
        elif node.id not in names.BUILTINS:
            raise Refused(f"the name '{node.id}'")

    def _attribute(self, node: ast.Attribute, scope: _Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            raise Refused(f"an assignment to '.{node.attr}'")
        dotted = self._path(node, scope)
        if dotted is not None:
            self._dotted(dotted)
            return
        _known_attribute(node.attr)
        self.visit(node.value, scope)

    def _path(self, node: ast.AST, scope: _Scope) -> str | None:
        """The dotted name of a chain of attributes that begins with a module or something imported."""
        if isinstance(node, ast.Name) and node.id not in scope.bound:
            return self._modules.get(node.id)
        if isinstance(node, ast.Attribute):
            begin = self._path(node.value, scope)
            return None if begin is None else f"{begin}.{node.attr}"
        return None

    def _dotted(self, dotted: str) -> None:
        """The longest part that is allowed, and after it only known attributes."""
        words = dotted.split(".")
        for length in range(len(words), 0, -1):
            known, rest = ".".join(words[:length]), words[length:]
            if not names.is_allowed(known):
                continue
            if names.is_target_only(known):
                raise Refused(f"'{known}' in an expression (it may be a '_target_')")
            for attribute in rest:
                if not (known in names.ENUMS and names.ENUM_MEMBER.fullmatch(attribute)):
                    _known_attribute(attribute)
            return
        raise Refused(f"the name '{dotted}'")

    def _call(self, node: ast.Call, scope: _Scope) -> None:
        for keyword in node.keywords:
            if keyword.arg is None:
                raise Refused("arguments by '**'")
            allowed = names.ARGUMENTS.get(keyword.arg)
            if allowed is not None and not (isinstance(keyword.value, ast.Constant) and keyword.value.value in allowed):
                raise Refused(f"the argument '{keyword.arg}'")
        if isinstance(node.func, ast.Name) and node.func.id == "setattr" and "setattr" not in scope.bound:
            self._setattr(node)
            return
        if not self._is_called_rightly(node, scope):
            self.visit(node.func, scope)
        for child in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(child, scope)

    def _is_called_rightly(self, node: ast.Call, scope: _Scope) -> bool:
        """Whether it is a function that is harmless only as it is called here, and may be named nowhere else."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "eval" and (node.args or node.keywords):
            raise Refused("'.eval' with arguments")
        dotted = self._path(node.func, scope)
        if dotted == "torch.load":
            further = {keyword.arg for keyword in node.keywords} - {"map_location", "weights_only"}
            if scope.deferred or further or len(node.args) != 1:
                raise Refused("'torch.load' with more than 'map_location' and 'weights_only=True', or not at once")
        # it would fetch from an address, too; and what runs later would have the patient's voxels to send there
        if dotted == "pandas.read_csv" and not (
            len(node.args) == 1 and self._is_local(node.args[0]) and not node.keywords and not scope.deferred
        ):
            raise Refused("'pandas.read_csv' of anything but a path that begins with '/' or '.', or not at once")
        return dotted in ("torch.load", "pandas.read_csv")

    def _setattr(self, node: ast.Call) -> None:
        match node.args:
            case [target, ast.Constant(value=str(switch)), ast.Constant()] if (
                switch in _SWITCHES and not node.keywords and self._path(target, _Scope()) == "torch.backends.cudnn"
            ):
                return
        raise Refused("'setattr' of anything but a switch of torch.backends.cudnn")

    def _is_local(self, node: ast.AST) -> bool:
        """Whether a text is a path and no address: told by how it begins."""
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            node = node.left
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            begin = self._literal(str(node.slice.value))
        else:
            begin = node.value if isinstance(node, ast.Constant) else None
        return isinstance(begin, str) and begin.startswith(("/", "."))

    def _lambda(self, node: ast.Lambda, scope: _Scope) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default, scope)
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        self.visit(node.body, scope.binding(_bindable(one.arg) for one in every if one is not None))

    def _comprehension(self, node: ast.AST, scope: _Scope) -> None:
        for generator in node.generators:  # type: ignore[attr-defined]
            self.visit(generator.iter, scope)
            scope = scope.binding(_targets(generator.target))
            for condition in generator.ifs:
                self.visit(condition, scope)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)  # type: ignore[attr-defined]
        for part in parts:
            self.visit(part, scope)


def _targets(node: ast.AST) -> Iterator[str]:
    """The names that a loop binds: it may bind nothing else, such as an attribute."""
    match node:
        case ast.Name(id=name):
            yield _bindable(name)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _targets(part)
        case _:
            raise Refused("a loop over anything but names")


def _bindable(name: str) -> str:
    if name.startswith("__"):
        raise Refused(f"the name '{name}'")
    return name


def _known_attribute(name: str) -> None:
    if name not in names.ATTRIBUTES:
        raise Refused(f"the attribute '.{name}'")
