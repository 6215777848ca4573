"""The cast of tests that run real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dashboard.local import warehouse
from extraction.connection import Options, Target
from tests.integration.fleet import PASSWORD, RELATIONS, Cast, Fleet, a_source, storage_of
from tests.live_cast import Redis
from workers.temporal import connect


@pytest.fixture(scope="module")
def target(postgres: Any) -> Target:
    server: warehouse.Server = {
        "host": postgres.host,
        "port": postgres.port,
        "user": postgres.user,
        "password": postgres.password,
    }
    warehouse.build(server, "fleet", relations=RELATIONS, seed=3, columns=6)
    warehouse.create_reader_role(server, "fleet", "fleet_reader", PASSWORD)
    return Target("postgresql", postgres.host, postgres.port, "fleet", "fleet_reader", "disable")


@pytest.fixture
async def cast(settings_env: Any, target: Target, tmp_path: Path) -> AsyncIterator[Cast]:
    fleet = Fleet(settings_env.worker_environment, tmp_path)
    client = await connect(settings_env.worker, identity="tests")
    yield Cast(
        client,
        settings_env.worker.redis_url.get_secret_value(),
        storage_of(settings_env.worker),
        a_source(settings_env.web, target, PASSWORD, Options(sessions=2)),
        fleet,
    )
    fleet.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path / "valkey")
    yield redis
    redis.stop()


@pytest.fixture
def blocked(postgres: Any, target: Target) -> Iterator[None]:
    """While it lasts, whoever reads triggers in the source waits for a lock."""
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()
