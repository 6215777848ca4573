"""Other products that read a PostgreSQL catalogue, each in a virtual environment of its own.

Installed below .tmp/peers with pip at the versions named here, run as their manuals say, with
data profiling off and a file or nothing as the end. What is not run is listed with the reason.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import measured
from bench.contenders import Source, Turn, done, failed

HOME = Path(".tmp/peers")
INSTALL_LIMIT, RUN_LIMIT = 1_800.0, 900.0
# Every schema, reflection full, nothing loaded.
DLT = """
import json, sys
from dlt.sources.sql_database import sql_database
from sqlalchemy import create_engine, inspect
url = sys.stdin.read()
relations = columns = 0
for schema in inspect(create_engine(url)).get_schema_names():
    if schema != "information_schema":
        source = sql_database(url, schema=schema, reflection_level="full", include_views=True)
        tables = [resource.compute_table_schema() for resource in source.resources.values()]
        relations += len(tables)
        columns += sum(len(table["columns"]) for table in tables)
print(json.dumps({"relations": relations, "columns": columns}))
"""


@dataclass(frozen=True)
class Call:
    """Words after the environment's bin directory; `given` goes to standard input."""

    command: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)
    given: str = ""


@dataclass(frozen=True)
class Peer:
    """`call` says how to read a source from within a scratch directory, `count` what was found,
    from that directory and the process's output."""

    name: str
    version: str
    packages: tuple[str, ...]
    call: Callable[[Source, Path], Call]
    count: Callable[[Path, str], dict[str, int]]

    @property
    def home(self) -> Path:
        return (HOME / self.name).resolve()


def _datahub(source: Source, scratch: Path) -> Call:
    target = source.target
    recipe = {
        "source": {
            "type": "postgres",
            "config": {
                "host_port": f"{target.host}:{target.port}",
                "database": target.database,
                "username": target.username,
                "password": "${PEER_PASSWORD}",
                "profiling": {"enabled": False},
            },
        },
        "sink": {"type": "file", "config": {"filename": str(scratch / "found.json")}},
    }
    (scratch / "recipe.yml").write_text(json.dumps(recipe))
    env = {"PEER_PASSWORD": source.password, "DATAHUB_TELEMETRY_ENABLED": "false"}
    return Call(["datahub", "ingest", "-c", "recipe.yml"], env)


def _datahub_found(scratch: Path, output: str) -> dict[str, int]:
    urn = re.compile(r'"entityUrn": "(urn:li:dataset:[^"]+)"')
    with (scratch / "found.json").open() as lines:
        found = {match[1] for line in lines for match in urn.finditer(line)}
    return {"relations": len(found)}


def _dlt(source: Source, scratch: Path) -> Call:
    env = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
    return Call(["python", "-c", DLT], env, source.url("postgresql+psycopg2"))


def _said(scratch: Path, output: str) -> dict[str, int]:
    """Counts that a script of ours printed last."""
    counts: dict[str, int] = json.loads(output.strip().splitlines()[-1])
    return counts


def _tap(source: Source, scratch: Path) -> Call:
    env = {"TAP_POSTGRES_SQLALCHEMY_URL": source.url("postgresql+psycopg2")}
    return Call(["tap-postgres", "--config=ENV", "--discover"], env)


def _tap_found(scratch: Path, output: str) -> dict[str, int]:
    streams = json.loads(output)["streams"]
    columns = sum(len(stream["schema"]["properties"]) for stream in streams)
    return {"relations": len(streams), "columns": columns}


PEERS = (
    Peer(
        *("DataHub", "1.7.0.17", ("acryl-datahub[postgres]==1.7.0.17",)),
        *(_datahub, _datahub_found),
    ),
    Peer("dlt", "1.31.0", ("dlt[sql-database]==1.31.0", "psycopg2-binary==2.9.13"), _dlt, _said),
    Peer(
        *("tap-postgres", "0.10.0", ("meltanolabs-tap-postgres==0.10.0",)),
        *(_tap, _tap_found),
    ),
)
NOT_RUN = {
    "OpenMetadata": "openmetadata-ingestion 2.0.7 needs its server: it asks for its health, and for"
    " the service that it has made, whatever the sink (ingestion/api/topology_runner.py)",
    "Atlan application-sdk": "3.52 is a frame without statements for PostgreSQL: the SQL and the"
    " mapping would be ours, and a run wants Temporal and Dapr",
}
NAMES = tuple(peer.name for peer in PEERS)


def prepare(names: Iterable[str] | None) -> dict[str, str]:
    """Install those that are asked for; who is left out, and why."""
    if names is None:
        return dict.fromkeys((*NAMES, *NOT_RUN), "not asked for (--peers)")
    left_out = dict(NOT_RUN)
    for peer in PEERS:
        if peer not in _asked(names):
            left_out[peer.name] = "not asked for"
        elif reason := _installed(peer):
            left_out[peer.name] = reason
    return left_out


def chosen(names: Iterable[str] | None) -> list[Peer]:
    """Those that are asked for and installed; no name at all means every one."""
    if names is None:
        return []
    return [peer for peer in _asked(names) if _stamp(peer).exists()]


def _asked(names: Iterable[str]) -> list[Peer]:
    wanted = list(names) or NAMES
    return [peer for peer in PEERS if peer.name in wanted]


def _stamp(peer: Peer) -> Path:
    """Says that exactly this is installed."""
    return peer.home / f"installed-{peer.version}"


def _installed(peer: Peer) -> str:
    """Why it could not be installed, nothing when it is."""
    if _stamp(peer).exists():
        return ""
    print(f"installing {', '.join(peer.packages)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", peer.home], check=True)
    pip = [str(peer.home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for packages in (("--upgrade", "pip"), peer.packages):
        ran = measured.run([*pip, *packages], limit=INSTALL_LIMIT)
        if ran.status != 0:
            return f"does not install: {failed(ran).failure}"
    _stamp(peer).touch()
    return ""


def read(peer: Peer, source: Source) -> Turn:
    with tempfile.TemporaryDirectory(prefix="surveyor-peer-") as name:
        scratch = Path(name)
        call = peer.call(source, scratch)
        env = {**call.env, "HOME": name}
        program, *rest = call.command
        command = [str(peer.home / "bin" / program), *rest]
        ran = measured.run(command, given=call.given, env=env, cwd=scratch, limit=RUN_LIMIT)
        if ran.status != 0:
            return failed(ran)
        return done(ran, peer.count(scratch, ran.output))
