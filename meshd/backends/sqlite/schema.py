"""The tables of a store file. Several meshes share them; every key starts with the mesh's number.

`tasks` holds one row per task and is the truth about it; what never changes and may be large (`payloads`) is written
once. Every index on `tasks` is partial, so a task pays only for the state it is in; none names the state alone, so a
start moves no index. The columns `lane`, `open_ms` and `forget_ms`, and `task_counts`, `queues` and `children` are made
from the rest; `outbox` names tasks that have ended and whose children were not told yet.
`tasks_holder` asks for a lease in other words than `tasks_lease`, or SQLite would look for a node's tasks there.

`memory_items` is the truth about the memory, with `memory_actors` for the node clock; `memory_dots` (where each actor's
current versions are), `memory_digest` and the counts in `memories` are made from the items. `expires_ms` is when the
next version expires that the digest counts; everything up to `memories.expired_ms` is out of it.
"""

import re
import sqlite3

APPLICATION_ID = 0x4D455348
"""`MESH`, in the file's header: tells our files from other SQLite files."""

VERSION = 4

CREATE = """
CREATE TABLE meshes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    now_ms INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    tasks_swept_ms INTEGER NOT NULL,
    nodes_swept_ms INTEGER NOT NULL,
    nodes_grace_ms INTEGER NOT NULL DEFAULT 0,
    paused TEXT NOT NULL DEFAULT '[]',
    audit TEXT,
    ahead_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    route TEXT NOT NULL,
    vt INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    deadline_ms INTEGER,
    lease_until_ms INTEGER NOT NULL,
    node_id TEXT,
    incarnation INTEGER NOT NULL,
    token INTEGER NOT NULL,
    finished_ms INTEGER,
    forget_ms INTEGER,
    idempotency_key TEXT,
    birth BLOB NOT NULL,
    life BLOB NOT NULL,
    result BLOB,
    placed_on TEXT,
    hold_back_ms INTEGER,
    lane TEXT,
    open_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX tasks_id ON tasks (mesh, id);
CREATE UNIQUE INDEX tasks_idempotency ON tasks (mesh, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (mesh, lane, route, vt) WHERE lane IS NOT NULL;
CREATE INDEX tasks_due ON tasks (mesh, due_ms) WHERE state = 'scheduled';
CREATE INDEX tasks_lease ON tasks (mesh, lease_until_ms) WHERE lease_until_ms > 0;
CREATE INDEX tasks_holder ON tasks (mesh, node_id) WHERE lease_until_ms <> 0;
CREATE INDEX tasks_deadline ON tasks (mesh, deadline_ms) WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL;
CREATE INDEX tasks_forget ON tasks (mesh, forget_ms) WHERE forget_ms IS NOT NULL;
CREATE INDEX tasks_open ON tasks (mesh, open_ms) WHERE open_ms IS NOT NULL;
CREATE INDEX tasks_placed ON tasks (mesh, placed_on)
    WHERE placed_on IS NOT NULL AND hold_back_ms IS NOT NULL AND lease_until_ms = 0 AND finished_ms IS NULL;

CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    payload BLOB NOT NULL,
    context BLOB,
    decision BLOB,
    checksum INTEGER
) STRICT;

CREATE TABLE task_counts (
    mesh INTEGER NOT NULL,
    state TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    audited INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mesh, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (
    mesh INTEGER NOT NULL,
    lane TEXT NOT NULL,
    route TEXT NOT NULL,
    head_vt INTEGER NOT NULL,
    PRIMARY KEY (mesh, lane, route)
) STRICT, WITHOUT ROWID;
CREATE INDEX queues_order ON queues (mesh, lane, head_vt);

CREATE TABLE children (
    mesh INTEGER NOT NULL,
    parent TEXT NOT NULL,
    generation INTEGER NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (mesh, parent, generation, child)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    mesh INTEGER NOT NULL,
    parent TEXT NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (mesh, parent, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE waiting (
    seq INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    bell TEXT NOT NULL,
    profile BLOB NOT NULL,
    UNIQUE (mesh, node_id)
) STRICT;

CREATE TABLE nodes (
    mesh INTEGER NOT NULL,
    id TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    joined_ms INTEGER NOT NULL,
    beat_ms INTEGER NOT NULL,
    dead_ms INTEGER,
    drain INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    profile BLOB NOT NULL,
    vitals BLOB NOT NULL,
    mean_ms REAL NOT NULL DEFAULT 0,
    variance REAL NOT NULL DEFAULT 0,
    doubt_ms INTEGER NOT NULL DEFAULT 0,
    bound_ms INTEGER NOT NULL DEFAULT 0,
    look_ms INTEGER NOT NULL DEFAULT 0,
    mark TEXT,
    vouched_ms INTEGER NOT NULL DEFAULT 0,
    vouched_by TEXT NOT NULL DEFAULT '',
    flaps TEXT NOT NULL DEFAULT '[]',
    sightings BLOB,
    sighted_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mesh, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_look ON nodes (mesh, look_ms) WHERE dead_ms IS NULL;

CREATE TABLE capabilities (
    mesh INTEGER NOT NULL,
    capability TEXT NOT NULL,
    node_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    PRIMARY KEY (mesh, capability, node_id, agent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX capabilities_node ON capabilities (mesh, node_id);

CREATE TABLE records (
    mesh INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL,
    expires_ms INTEGER,
    born INTEGER NOT NULL DEFAULT 0,
    born_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mesh, key)
) STRICT;
CREATE INDEX records_expires ON records (mesh, expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE logs (
    mesh INTEGER NOT NULL,
    name TEXT NOT NULL,
    newest INTEGER NOT NULL,
    trimmed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mesh, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    mesh INTEGER NOT NULL,
    log TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (mesh, log, cursor)
) STRICT, WITHOUT ROWID;

CREATE TABLE memories (
    mesh INTEGER PRIMARY KEY,
    generation TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    items INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    expired_ms INTEGER NOT NULL DEFAULT 0,
    past INTEGER NOT NULL DEFAULT 0,
    wanted INTEGER NOT NULL DEFAULT 0,
    quarantined TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE memory_items (
    id INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires_ms INTEGER,
    is_contested INTEGER NOT NULL,
    is_spent INTEGER NOT NULL,
    past INTEGER NOT NULL DEFAULT 0,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX memory_items_key ON memory_items (mesh, key);
CREATE INDEX memory_items_revision ON memory_items (mesh, revision);
CREATE INDEX memory_items_expires ON memory_items (mesh, expires_ms) WHERE expires_ms IS NOT NULL;
CREATE INDEX memory_items_contested ON memory_items (mesh, key) WHERE is_contested = 1;
CREATE INDEX memory_items_spent ON memory_items (mesh, revision) WHERE is_spent = 1;

CREATE TABLE memory_actors (
    id INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0,
    UNIQUE (mesh, name)
) STRICT;

CREATE TABLE memory_dots (
    actor INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    item INTEGER NOT NULL,
    PRIMARY KEY (actor, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_digest (
    mesh INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (mesh, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_history (
    seq INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL,
    key TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    blob BLOB NOT NULL
) STRICT;
CREATE INDEX memory_history_key ON memory_history (mesh, key);

CREATE TABLE memory_members (
    mesh INTEGER NOT NULL,
    node TEXT NOT NULL,
    actor TEXT NOT NULL,
    revision INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (mesh, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_leases (
    mesh INTEGER NOT NULL,
    actor TEXT NOT NULL,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (mesh, actor)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_masters (
    mesh INTEGER NOT NULL,
    prefix TEXT NOT NULL,
    holder TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (mesh, prefix)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_facts (
    mesh INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (mesh, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE hints (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    mesh INTEGER NOT NULL,
    topic TEXT NOT NULL,
    wall_ms INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX hints_topic ON hints (mesh, topic);

CREATE TABLE subscribers (
    mesh INTEGER NOT NULL,
    topic TEXT NOT NULL,
    bell TEXT NOT NULL,
    subscription TEXT NOT NULL,
    PRIMARY KEY (mesh, topic, bell, subscription)
) STRICT, WITHOUT ROWID;
"""

UPGRADE_1 = """
ALTER TABLE meshes ADD COLUMN paused TEXT NOT NULL DEFAULT '[]';
ALTER TABLE meshes ADD COLUMN audit TEXT;
ALTER TABLE payloads ADD COLUMN decision BLOB;
ALTER TABLE payloads ADD COLUMN checksum INTEGER;
ALTER TABLE tasks ADD COLUMN placed_on TEXT;
ALTER TABLE tasks ADD COLUMN hold_back_ms INTEGER;
ALTER TABLE tasks ADD COLUMN lane TEXT;
ALTER TABLE tasks ADD COLUMN open_ms INTEGER;
UPDATE tasks SET lane = CASE WHEN json_extract(CAST(life AS TEXT), '$[3]') > 0 THEN '!' ELSE '' END
    WHERE state = 'ready';
DROP INDEX tasks_ready;
DROP INDEX tasks_lease;
DROP INDEX tasks_holder;
DROP TABLE task_counts
"""
"""Turns a file of version 1 into one that only lacks tables and indexes, as one of version 2 does from the start."""

UPGRADE_2 = """
ALTER TABLE meshes ADD COLUMN ahead_ms INTEGER NOT NULL DEFAULT 0
"""
"""Turns a file of version 2 into one that only lacks tables and indexes, as one of version 3 does from the start."""

UPGRADE_3 = """
ALTER TABLE records ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN born_ms INTEGER NOT NULL DEFAULT 0;
UPDATE records SET born = revision;
ALTER TABLE nodes ADD COLUMN mean_ms REAL NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN variance REAL NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN doubt_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN bound_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN look_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN mark TEXT;
ALTER TABLE nodes ADD COLUMN vouched_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN vouched_by TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN flaps TEXT NOT NULL DEFAULT '[]';
ALTER TABLE nodes ADD COLUMN sightings BLOB;
ALTER TABLE nodes ADD COLUMN sighted_ms INTEGER NOT NULL DEFAULT 0;
UPDATE nodes SET doubt_ms = beat_ms + 4000, bound_ms = beat_ms + 4000, look_ms = beat_ms + 4000;
DROP INDEX nodes_beat
"""
"""Turns a file of version 3 into one that only lacks tables and indexes, as one of version 4 does from the start."""

FILL = """
INSERT INTO task_counts (mesh, state, tasks) SELECT mesh, state, count(*) FROM tasks GROUP BY mesh, state;
INSERT INTO queues (mesh, lane, route, head_vt)
    SELECT mesh, lane, route, min(vt) FROM tasks WHERE lane IS NOT NULL GROUP BY mesh, lane, route
"""
"""Derives the new tables of version 2 from the tasks."""


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements one by one within the present transaction."""
    for statement in script.split(";\n"):
        connection.execute(statement)


def make_missing(connection: sqlite3.Connection) -> None:
    """Make every table and index of `CREATE` that is not there."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    for name, statement in _STATEMENTS.items():
        if name not in there:
            connection.execute(statement)


def make_index(connection: sqlite3.Connection, name: str) -> bool:
    """Make an index again; return whether the rows allow it."""
    try:
        connection.execute(_STATEMENTS[name])
    except sqlite3.IntegrityError:
        return False
    return True


def missing_indexes(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the indexes that are not there."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    return [name for name, statement in _STATEMENTS.items() if "INDEX" in statement and name not in there]


_STATEMENTS = {
    found.group(1): statement.strip()
    for statement in CREATE.split(";\n")
    if (found := re.search(r"CREATE (?:TABLE|INDEX|UNIQUE INDEX) (\w+)", statement))
}
