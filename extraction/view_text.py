"""Which relations the text of a view names, and which of their columns for certain.

Nothing is looked up: what a name means follows from the text alone, so a column that
could belong to several sources is none's, and its candidates count as read as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy
from sqlglot.errors import ErrorLevel, ParseError, TokenError

from extraction.parsers import Reference, Unreadable

# Where a common table expression may name itself only after WITH RECURSIVE.
SAYS_RECURSIVE = {"mysql", "postgres", "duckdb", "trino", "clickhouse", "bigquery", "databricks"}
# Texts in double quotes where no column has that name; names of what is no column.
DOUBTFUL_QUOTES = {"sqlite"}
ROW_IDS = {"rowid", "oid", "_rowid_"}
FOLDS = {
    NormalizationStrategy.LOWERCASE: str.lower,
    NormalizationStrategy.UPPERCASE: str.upper,
}

logging.getLogger("sqlglot").addHandler(logging.NullHandler())
logging.getLogger("sqlglot").propagate = False


def references(text: str, dialect: str, schema: str) -> list[Reference]:
    """Sorted, each once. Names without a schema are of `schema`. Raises Unreadable."""
    try:
        trees = sqlglot.parse(text, dialect=dialect, error_level=ErrorLevel.IMMEDIATE)
    except (ParseError, TokenError) as error:
        raise Unreadable(_reason(error)) from None
    if len(trees) != 1 or trees[0] is None:
        raise Unreadable("it is not one statement")
    tree = trees[0].expression if isinstance(trees[0], exp.Create) else trees[0]
    if not isinstance(tree, exp.Query | exp.Values):
        raise Unreadable("it is no query")
    return _Text(tree, dialect, schema).references()


def _reason(error: ParseError | TokenError) -> str:
    """Where, and nothing of the text: it may hold what nobody should see in a log."""
    if isinstance(error, ParseError) and error.errors:
        first = error.errors[0]
        return f"it is not understood at line {first['line']}, column {first['col']}"
    return "it cannot be cut into words"


@dataclass(frozen=True)
class Source:
    """What a FROM names. `relation` for one of the database's, under its own column names
    unless `renamed`."""

    name: str
    schema: str | None
    relation: tuple[str, str] | None
    renamed: bool = False


@dataclass
class _Text:
    tree: exp.Expr
    dialect: str
    schema: str
    columns: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    whole: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        strategy = Dialect.get_or_raise(self.dialect).normalization_strategy
        self._spelled: Callable[[str], str] = FOLDS.get(strategy, str)
        exact = strategy is NormalizationStrategy.CASE_SENSITIVE
        self._same: Callable[[str], str] = str if exact else str.lower
        self._sources: dict[int, list[Source]] = {}

    def references(self) -> list[Reference]:
        for node in self.tree.walk():
            if isinstance(node, exp.Table):
                relation = self._relation(node)
                if relation:
                    self.columns.setdefault(relation, set())
            elif isinstance(node, exp.Column):
                self._column(node)
            elif isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count | exp.Column):
                self._whole(next(self._scopes(node), None))
            elif isinstance(node, exp.Join):
                self._join(node)
        found: set[Reference] = set()
        for (schema, name), columns in self.columns.items():
            found |= {(schema, name, column) for column in columns}
            if not columns or (schema, name) in self.whole:
                found.add((schema, name, None))
        return sorted(found, key=lambda row: (*row[:2], row[2] is not None, row[2] or ""))

    def _name(self, identifier: exp.Expr | None) -> str:
        if not isinstance(identifier, exp.Identifier):
            return ""
        return identifier.name if identifier.quoted else self._spelled(identifier.name)

    def _relation(self, table: exp.Table) -> tuple[str, str] | None:
        return self._named(table.this, table.args.get("db"), table)

    def _named(
        self, this: exp.Expr | None, db: exp.Expr | None, where: exp.Expr
    ) -> tuple[str, str] | None:
        """Nothing for a function, a common table expression, or the table that is none."""
        name, schema = self._name(this), self._name(db)
        none = name.lower() == "dual" and self.dialect in ("mysql", "oracle")
        if not name or (not schema and (none or self._same(name) in self._common(where))):
            return None
        return schema or self.schema, name

    def _common(self, node: exp.Expr) -> Iterator[str]:
        """The common table expressions that may be named where the node stands."""
        child, parent = node, node.parent
        while parent is not None:
            if isinstance(parent, exp.With):
                for number, one in enumerate(parent.expressions):
                    earlier = child.index is not None and number < child.index
                    if parent.recursive or earlier or (one is child and self._names_itself(one)):
                        yield self._same(self._name(one.args["alias"].this))
            else:
                with_ = parent.args.get("with_")
                if with_ is not None and with_ is not child:
                    for one in with_.expressions:
                        yield self._same(self._name(one.args["alias"].this))
            child, parent = parent, parent.parent

    def _names_itself(self, common: exp.Expr) -> bool:
        return self.dialect not in SAYS_RECURSIVE and isinstance(common.this, exp.SetOperation)

    def _scopes(self, node: exp.Expr) -> Iterator[exp.Select]:
        """The SELECTs whose sources the node may name, the innermost first. What stands in a
        FROM sees its neighbours only behind LATERAL or as a function's argument."""
        child, parent = node, node.parent
        crossed = hidden = False
        while parent is not None and not isinstance(parent, exp.CTE):
            if isinstance(parent, exp.Lateral):
                crossed = False
            elif isinstance(parent, exp.From | exp.Join):
                hidden = hidden or (crossed and child.arg_key == "this")
            elif isinstance(parent, exp.Select):
                if not hidden:
                    yield parent
                crossed, hidden = True, False
            elif _combines(parent):
                if not crossed:
                    return  # ORDER BY of a union: names of what comes out
                crossed = True
            child, parent = parent, parent.parent

    def _sources_of(self, select: exp.Select) -> list[Source]:
        found = self._sources.get(id(select))
        if found is None:
            nodes = [select.args.get("from_"), *(select.args.get("joins") or [])]
            nodes += select.args.get("laterals") or []
            found = [source for node in nodes if node for source in self._flat(node)]
            self._sources[id(select)] = found
        return found

    def _flat(self, node: exp.Expr) -> Iterator[Source]:
        if isinstance(node, exp.From | exp.Join):
            yield from self._flat(node.this)
            return
        if isinstance(node, exp.Subquery) and not _holds_query(node):
            yield from self._flat(node.this)  # only brackets around a join
        elif isinstance(node, exp.Table):
            alias = node.args.get("alias")
            name = self._name(alias.this) if alias and alias.this else self._name(node.this)
            schema = (
                None if alias and alias.this else self._name(node.args.get("db")) or self.schema
            )
            renamed = bool(alias and alias.args.get("columns")) or bool(node.args.get("pivots"))
            yield Source(self._same(name), schema, self._relation(node), renamed)
        else:
            yield Source(self._same(node.alias), None, None)
        for join in node.args.get("joins") or []:
            yield from self._flat(join)

    def _column(self, column: exp.Column) -> None:
        if isinstance(column.parent, exp.In) and column.arg_key == "field":
            # SQLite's `x IN t`, which the parser takes for a column.
            relation = self._named(column.this, column.args.get("table"), column)
            if relation:
                self.whole.add(relation)
                self.columns.setdefault(relation, set())
            return
        scopes = list(self._scopes(column))
        if not scopes:
            return
        table = column.args.get("table")
        if table is not None:
            self._qualified(column, self._name(table), scopes)
        elif isinstance(column.this, exp.Star):
            self._whole(scopes[0])
        else:
            self._unqualified(column, scopes)

    def _qualified(self, column: exp.Column, table: str, scopes: list[exp.Select]) -> None:
        schema = self._name(column.args.get("db"))
        for scope in scopes:
            named = [
                source
                for source in self._sources_of(scope)
                if source.name == self._same(table) and schema in ("", source.schema)
            ]
            if len(named) == 1:
                self._certain(named[0], column.this)
                return
            for source in named:
                self._whole_of(source)
            if named:
                return
        # A field of a column, or something that only the server knows.
        for scope in scopes:
            self._whole(scope)

    def _unqualified(self, column: exp.Column, scopes: list[exp.Select]) -> None:
        own, name = scopes[0], self._name(column.this)
        sources = self._sources_of(own)
        if len(sources) == 2 and any(
            self._same(name) == self._same(self._name(shared))
            for join in own.find_all(exp.Join)
            for shared in join.args.get("using") or []
        ):
            return  # both have it, and both are counted
        given = self._given(column, own)
        if given == "column" or (given and isinstance(column.parent, exp.Ordered)):
            return
        doubtful = column.this.args.get("quoted") and self.dialect in DOUBTFUL_QUOTES
        whole_row = any(source.name == self._same(name) for source in sources)
        if len(sources) == len(scopes) == 1 and not (given or doubtful or whole_row):
            self._certain(sources[0], column.this)
            return
        for scope in scopes:
            self._whole(scope)

    def _given(self, column: exp.Column, select: exp.Select) -> str:
        """What the SELECT itself gives that name to: a qualified `column` of that name, which
        is counted where it stands, or something else, an `alias`."""
        name = column.name.lower()
        for one in select.expressions:
            shown = one.this if isinstance(one, exp.Alias) else one
            if one.alias_or_name.lower() != name or shown is column:
                continue
            if isinstance(shown, exp.Column) and shown.name.lower() == name:
                return "column" if shown.args.get("table") is not None else ""
            return "alias"
        return ""

    def _join(self, join: exp.Join) -> None:
        scope = next(self._scopes(join), None)
        if scope is None:
            return
        if join.args.get("method") == "NATURAL":
            self._whole(scope)
        names = join.args.get("using") or []
        sources = self._sources_of(scope)
        joined = next(self._flat(join.this), None)
        for name in names:
            for source in sources:
                if len(sources) == 2 or source == joined:
                    self._certain(source, name)
                else:
                    self._whole_of(source)

    def _certain(self, source: Source, column: exp.Expr) -> None:
        name = self._name(column)
        pseudo = self.dialect == "sqlite" and name.lower() in ROW_IDS
        if source.renamed or pseudo or not name:
            self._whole_of(source)
        elif source.relation:
            self.columns.setdefault(source.relation, set()).add(name)

    def _whole(self, scope: exp.Select | None) -> None:
        for source in self._sources_of(scope) if scope is not None else ():
            self._whole_of(source)

    def _whole_of(self, source: Source) -> None:
        if source.relation:
            self.whole.add(source.relation)


def _combines(node: exp.Expr) -> bool:
    return isinstance(node, exp.SetOperation) or _holds_query(node)


def _holds_query(node: exp.Expr) -> bool:
    """Whether it is brackets around a query; around a join they are none."""
    inner = node
    while isinstance(inner, exp.Subquery):
        inner = inner.this
    return inner is not node and isinstance(inner, exp.Select | exp.SetOperation)
