"""A data pipeline of four phases: extract, clean, validate, load. Each is done by whoever has the skill, in order.

    python examples/teams/data_pipeline.py [FILE.csv]

Real input: a file, or a few messy weather records. The result is a table in SQLite.
"""

import asyncio
import csv
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from meshd import Announced, AutonomousAgent, GroupTask, Mesh, Node

Row = dict[str, str]
MESSY = (
    "station,day,celsius\nberlin,1,3.5\nBerlin ,2,\noslo,1,-4.0\noslo,2,n/a\nrome,1,999\nrome,2,14.5\nberlin,1,3.5\n"
)


class Extractor(AutonomousAgent):
    skills = ("csv.read",)

    def on_start(self, task: GroupTask) -> list[Row]:
        with Path(task.payload["file"]).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


class Cleaner(AutonomousAgent):
    skills = ("records.clean=advanced",)

    def on_start(self, task: GroupTask) -> list[Row]:
        (rows,) = _before(task)
        tidy = [{name: value.strip().lower() for name, value in row.items()} for row in rows]
        return [dict(pairs) for pairs in dict.fromkeys(tuple(row.items()) for row in tidy)]


class Validator(AutonomousAgent):
    skills = ("records.validate=expert",)

    def on_start(self, task: GroupTask) -> list[Row]:
        (rows,) = _before(task)
        return [row for row in rows if _is_temperature(row["celsius"])]


class Loader(AutonomousAgent):
    skills = ("sqlite.load",)

    def on_start(self, task: GroupTask) -> int:
        (checked,) = _before(task)
        with sqlite3.connect(task.payload["database"]) as database:
            database.execute("CREATE TABLE weather (station TEXT, day INTEGER, celsius REAL)")
            return database.executemany("INSERT INTO weather VALUES (:station, :day, :celsius)", checked).rowcount


def _before(task: GroupTask) -> list[Any]:
    return [result for results in task.results.values() for result in results.values()]


def _is_temperature(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal() and -90 <= float(text) <= 60


async def main(source: Path, database: Path) -> None:
    node = Node("pipeline").host(Extractor("ex"), Cleaner("cl"), Validator("va"), Loader("lo"))
    async with node.running(), Mesh() as mesh:
        phases, payload = list[Announced](), {"file": str(source), "database": str(database)}
        for skill in ("csv.read", "records.clean>=advanced", "records.validate>=advanced", "sqlite.load"):
            phases += [await mesh.groups.announce(skill, skills=[skill], payload=payload, depends_on=phases[-1:])]
        print(await phases[-1].result())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        messy = Path(folder, "weather.csv")
        messy.write_text(MESSY, encoding="utf-8")
        asyncio.run(main(Path(*sys.argv[1:2] or [messy]), Path(folder, "weather.db")))
