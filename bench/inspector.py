"""The same catalogue through SQLAlchemy's Inspector, schema by schema, in a process of its own.

Columns, keys, constraints, indexes and comments in bulk (`get_multi_…`); definitions of views
one by one, for it has no other way. It leaves out exclusion constraints and the indexes of
primary keys, so fewer of both are found. Reads a URL from standard input, prints counts as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from sqlalchemy import Inspector, create_engine, inspect
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.pool import NullPool

SYSTEM = {"information_schema"}


def read_schema(inspector: Inspector, schema: str, counts: Counter[str]) -> None:
    kind = ObjectKind.ANY
    columns = inspector.get_multi_columns(schema, kind=kind)
    keys = inspector.get_multi_pk_constraint(schema, kind=kind)
    lists = (
        inspector.get_multi_foreign_keys(schema, kind=kind),
        inspector.get_multi_unique_constraints(schema, kind=kind),
        inspector.get_multi_check_constraints(schema, kind=kind),
    )
    indexes = inspector.get_multi_indexes(schema, kind=kind)
    comments = inspector.get_multi_table_comment(schema, kind=kind)
    views = [*inspector.get_view_names(schema), *inspector.get_materialized_view_names(schema)]
    for view in views:
        counts["definitions"] += bool(inspector.get_view_definition(view, schema))
    counts["relations"] += len(columns)
    counts["columns"] += sum(map(len, columns.values()))
    counts["constraints"] += sum(bool(key["constrained_columns"]) for key in keys.values())
    counts["constraints"] += sum(len(found) for many in lists for found in many.values())
    counts["indexes"] += sum(map(len, indexes.values()))
    counts["comments"] += sum(bool(comment["text"]) for comment in comments.values())


def main() -> None:
    engine = create_engine(sys.stdin.read(), poolclass=NullPool)
    counts: Counter[str] = Counter()
    with engine.connect() as connection:
        inspector = inspect(connection)
        for schema in set(inspector.get_schema_names()) - SYSTEM:
            read_schema(inspector, schema, counts)
            inspector.clear_cache()
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
