"""The tables of a store file. Several meshes share them; every key starts with the mesh's number.

`tasks` holds one row per task and is the truth about it; what never changes and may be large (`payloads`) is written
once. Every index on `tasks` is partial, so a task pays only for the state it is in.
"""

APPLICATION_ID = 0x4D455348
"""`MESH`, in the file's header: tells our files from other SQLite files."""

VERSION = 1

CREATE = """
CREATE TABLE meshes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    now_ms INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    tasks_swept_ms INTEGER NOT NULL,
    nodes_swept_ms INTEGER NOT NULL,
    nodes_grace_ms INTEGER NOT NULL DEFAULT 0
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
    result BLOB
) STRICT;
CREATE UNIQUE INDEX tasks_id ON tasks (mesh, id);
CREATE UNIQUE INDEX tasks_idempotency ON tasks (mesh, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (mesh, route, vt) WHERE state = 'ready';
CREATE INDEX tasks_due ON tasks (mesh, due_ms) WHERE state = 'scheduled';
CREATE INDEX tasks_lease ON tasks (mesh, lease_until_ms) WHERE state IN ('claimed', 'running');
CREATE INDEX tasks_holder ON tasks (mesh, node_id) WHERE state IN ('claimed', 'running');
CREATE INDEX tasks_deadline ON tasks (mesh, deadline_ms) WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL;
CREATE INDEX tasks_forget ON tasks (mesh, forget_ms) WHERE forget_ms IS NOT NULL;

CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    payload BLOB NOT NULL,
    context BLOB
) STRICT;

CREATE TABLE task_counts (
    mesh INTEGER NOT NULL,
    state TEXT NOT NULL,
    route TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (mesh, state, route)
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
    PRIMARY KEY (mesh, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_beat ON nodes (mesh, beat_ms) WHERE dead_ms IS NULL;

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
