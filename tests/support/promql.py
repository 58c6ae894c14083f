"""Queries of Prometheus, taken apart."""

import promql_parser


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """(metric, its label names) of each selector of a query. Raises ValueError where Prometheus could not read it."""
    found: list[tuple[str, set[str]]] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found
