"""What each source of settings may say, which one wins, and what every mistake is answered with."""

import os
from pathlib import Path

import pytest
import yaml

from meshd.errors import ConfigurationError, UnknownSettingError
from meshd.exit_codes import ExitCode
from meshd.memory.model import MemoryLimits
from meshd.settings import Settings
from meshd.settings_aliases import ENVIRONMENT_ALIASES, FILE_ALIASES
from meshd.settings_layers import environment_name, leaf_keys

REPOSITORY = Path(__file__).parents[2]
ANOTHER_VALUE: dict[str, str] = {
    "protocol": "redis_distributed",
    "url": "redis://elsewhere:1/2",
    "node_timeout_seconds": "77",
    "logging.level": "DEBUG",
    "logging.format": "json",
    "agents": '[{"name": "scout"}]',
    "labels": "zone=eu",
    "task_distribution.algorithm": "random",
    "topology.rule": "bounded",
    "topology.shape": "ring",
    "task_distribution.seed": "7",
    "durability": "D1",
    "messages.max_bytes": "1000",
    "memory_sync.strategy": "strong",
    "memory_sync.conflict_resolution": "manual",
    "memory_sync.sync_priority_threshold": "7",
    "memory_sync.source_priority": '["sensor", "hub"]',
    "peers.enabled": "off",
    "roles.play": "reclaim, topology",
    "votes.quorum": "0.75",
    "memory_sync.prefixes": '{"plans/": {"conflict": "manual"}}',
}


@pytest.fixture(autouse=True)
def clean_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:

    for name in list(os.environ):
        if name.startswith("MESHD_") or name in ENVIRONMENT_ALIASES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def another(key: str) -> str:
    """A valid value of `key` that is not its default."""
    if key in ANOTHER_VALUE:
        return ANOTHER_VALUE[key]
    default = Settings().flat()[key]
    match default:
        case bool():
            return str(not default).lower()
        case int() | float():
            return str(default * 2 if default else 3)
        case _:
            return "other"


def test_config_yaml_holds_every_setting_with_its_default() -> None:
    section = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["agent_mesh"]
    written = Settings.load(REPOSITORY / "config.yaml")
    assert written.flat() == Settings().flat()
    assert set(written.sources().values()) == {f"file {REPOSITORY / 'config.yaml'}"}
    assert list(section) == list(dict.fromkeys(section))


@pytest.mark.parametrize("key", list(leaf_keys(Settings)))
def test_every_setting_has_an_environment_variable(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = environment_name(key)
    monkeypatch.setenv(name, another(key))
    settings = Settings.load()
    if key not in ("redis.password", "memory_sync.secret"):
        assert settings.flat()[key] != Settings().flat()[key]
    assert settings.sources()[key] == f"environment {name}"


def test_an_argument_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "agent_mesh: {port: 1, max_capacity: 1, mesh: file, redis: {host: file, port: 1}}")
    monkeypatch.setenv("MESHD_MAX_CAPACITY", "2")
    monkeypatch.setenv("MESHD_MESH", "environment")
    monkeypatch.setenv("MESHD_REDIS__PORT", "2")
    settings = Settings.load(mesh="argument", url=None)
    assert (settings.port, settings.max_capacity, settings.mesh) == (1, 2, "argument")
    assert (settings.redis.host, settings.redis.port, settings.redis.db) == ("file", 2, 0)
    sources = settings.sources()
    assert sources["mesh"] == "argument"
    assert sources["max_capacity"] == "environment MESHD_MAX_CAPACITY"
    assert sources["port"] == "file config.yaml"
    assert sources["url"] == "default"


def test_an_override_reaches_into_a_section_both_ways() -> None:
    assert Settings.load(redis={"host": "a"}).redis.host == Settings.load(redis__host="a").redis.host == "a"


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("agent_mesh: {prot: 1}", "prot", "port"),
        ("agent_mesh: {heartbeat_interval: 1}", "heartbeat_interval", "heartbeat_interval_seconds"),
        ("agent_mesh: {redis: {hots: x}}", "redis.hots", "redis.host"),
        ("agent_mesh: {zzzzzzzzzzz: 1}", "zzzzzzzzzzz", None),
        ("agent_mesh: {}\nagent_mehs: {}", "agent_mehs", "agent_mesh"),
    ],
)
def test_an_unknown_key_in_the_file_is_named_with_its_nearest(
    text: str, key: str, nearest: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UnknownSettingError) as caught:
        Settings.load(path)
    assert (caught.value.key, caught.value.source, caught.value.nearest) == (key, f"file {path}", nearest)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_unknown_environment_variable_is_named_with_its_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHD_REDIS__HOTS", "x")
    with pytest.raises(UnknownSettingError, match=r"MESHD_REDIS__HOTS.*did you mean 'MESHD_REDIS__HOST'"):
        Settings.load()


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(UnknownSettingError, match="node_nam"):
        Settings.load(node_nam="x")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("agent_mesh: {port: many}", "port"),
        ("agent_mesh: {protocol: carrier_pigeon}", "protocol"),
        ("agent_mesh: {redis: {port: 0}}", "redis.port"),
        ("agent_mesh: {heartbeat_interval_seconds: 5, node_timeout_seconds: 5}", "must be over"),
        ("agent_mesh: {tasks: {lease_seconds: 2, renew_seconds: 2}}", "must be under"),
        ("agent_mesh: {node_name: 'a b'}", "node_name"),
        ("agent_mesh: {port: 1, network: {port: 2}}", "given twice"),
        ("agent_mesh: [1]", "names and values"),
        ("- 1", "names and values"),
        ("agent_mesh: {", "not valid YAML"),
        ("something_else: 1", "no `agent_mesh:` section"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Settings.load(write(tmp_path, text, "mesh-settings.yaml"))


@pytest.mark.parametrize("protocol", ["grpc_mesh", "hybrid"])
def test_a_protocol_that_comes_later_is_refused(protocol: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{protocol} is not available yet"):
        Settings.load(protocol=protocol)


@pytest.mark.parametrize(
    "text",
    [
        "agent_mesh: {grpc: {port: 9901}}",
        "agent_mesh: {node_configs: {language_expert: {nlp_models_enabled: true}}}",
        "distributed_network: {atomspace: {sync_interval: 5.0}}",
    ],
)
def test_a_key_whose_feature_comes_later_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not available yet"):
        Settings.load(write(tmp_path, text))


def test_a_later_key_may_ask_for_what_happens_anyway(tmp_path: Path) -> None:
    text = "agent_mesh: {monitoring: {enabled: false}, security: {encryption_enabled: false}}"
    assert Settings.load(write(tmp_path, text)).flat() == Settings().flat()


def test_the_sizes_of_an_older_file_are_bounds_here(tmp_path: Path) -> None:
    """S1's sizes for large networks, as they stand there, but for how often is synchronised."""
    text = """
    distributed_network:
      network: {connection_pool_size: 20, message_buffer_size: 8192}
      atomspace: {batch_sync_size: 1000}
      tasks: {max_concurrent_tasks: 50, task_queue_size: 200}
    """
    flat = Settings.load(write(tmp_path, text)).flat()
    sizes = {"redis.connection_pool_size": 20, "max_capacity": 50, "tasks.queue_size": 200}
    assert {key: flat[key] for key in sizes} == sizes
    assert {key: value for key, value in flat.items() if key not in sizes} == {
        key: value for key, value in Settings().flat().items() if key not in sizes
    }
    with pytest.raises(ConfigurationError, match=r"batch_sync_size.* not available yet"):
        Settings.load(write(tmp_path, "distributed_network: {atomspace: {batch_sync_size: 7}}"))


@pytest.mark.parametrize(("older", "key"), sorted(FILE_ALIASES.items()))
def test_an_older_file_key_sets_the_setting_it_is_now(older: str, key: str, tmp_path: Path) -> None:
    section, _, leaf = older.partition(".")
    value: object = another(key)
    if key in ("capabilities", "specializations"):
        value = [value]
    settings = Settings.load(
        write(tmp_path, yaml.safe_dump({"distributed_network": {section: {leaf: value} if leaf else value}}))
    )
    assert settings.flat()[key] != Settings().flat()[key]
    assert any(key in note and older in note for note in settings.notes)


def test_an_older_file_without_a_section_is_understood(tmp_path: Path) -> None:
    text = '{"enabled": true, "network": {"host": "h", "port": 17002}, "agents": {"capabilities": ["reasoning"]}}'
    settings = Settings.load(write(tmp_path, text, "older.json"))
    assert (settings.host, settings.port, settings.capabilities) == ("h", 17002, ("reasoning",))


def test_older_environment_names_work_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERNSTA_NODE_TYPE", "language_expert")
    monkeypatch.setenv("MERNSTA_MESH_PROTOCOL", "redis_distributed")
    monkeypatch.setenv("REDIS_ADDR", "cache:6380")
    settings = Settings.load()
    assert (settings.node_type, settings.store_url) == ("language_expert", "redis://cache:6380/0")
    assert "use MESHD_NODE_TYPE" in settings.notes[0]


def test_votes_are_set_by_their_older_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORUM_THRESHOLD", "0.75")
    monkeypatch.setenv("PROPOSAL_TIMEOUT", "12")
    monkeypatch.setenv("WAGGLE_INTENSITY_MIN", "0.4")
    options = Settings.load().votes.options(proposer="me")
    assert (options.quorum.permil, options.timeout.total_seconds(), options.minimum_intensity) == (750, 12, 0.4)


def test_a_later_protocol_in_an_older_environment_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERNSTA_MESH_PROTOCOL", "grpc_mesh")
    with pytest.raises(ConfigurationError, match=r"from environment MERNSTA_MESH_PROTOCOL.*not available yet"):
        Settings.load()


def test_the_store_url_follows_the_protocol_until_a_url_is_given(tmp_path: Path) -> None:
    assert Settings().store_url == "sqlite:///.meshd/mesh.db"
    assert Settings.load(sqlite_db_path=str(tmp_path / "m.db")).store_url == f"sqlite:///{tmp_path}/m.db"
    redis = {"host": "::1", "password": "p@ss", "username": "u", "tls": True, "db": 2}
    assert Settings.load(protocol="redis_distributed", redis=redis).store_url == "rediss://u:p%40ss@[::1]:6379/2"
    assert Settings.load(url="redis://x/1", protocol="sqlite_local").store_url == "redis://x/1"


def test_a_password_can_come_from_a_file(tmp_path: Path) -> None:
    write(tmp_path, "s3cret\n", "secret")
    settings = Settings.load(protocol="redis_distributed", redis={"password_file": "secret"})
    assert settings.store_url == "redis://:s3cret@localhost:6379/0"
    with pytest.raises(ConfigurationError, match="password_file"):
        _ = Settings.load(protocol="redis_distributed", redis={"password_file": "none"}).store_url


def test_a_password_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "agent_mesh: {redis: {password: hunter2}}")
    monkeypatch.setenv("MESHD_URL", "redis://:hunter2@h/0")
    settings = Settings.load()
    assert "hunter2" not in repr(settings) + str(settings) + str(settings.flat()) + str(settings.sources())
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(redis={"password": "hunter2", "password_file": "f"})
    assert "hunter2" not in str(caught.value)


def test_settings_reach_the_store_and_the_tasks() -> None:
    settings = Settings.load(
        node_timeout_seconds=9, tasks={"lease_seconds": 30}, task_distribution={"max_task_retries": 5}
    )
    options = settings.backend_options()
    assert (options.nodes.timeout_ms, options.tasks.lease_ms, options.pool_size) == (9_000, 30_000, 20)
    assert settings.task_policy().max_attempts == 5
    assert Settings.load(task_distribution__retry_failed_tasks=False).task_policy().max_attempts == 1


def test_the_longest_prefix_decides_how_a_key_is_written(tmp_path: Path) -> None:
    text = """agent_mesh:
      memory_sync:
        conflict_resolution_strategy: merge
        prefixes: {plans/: {conflict: manual_resolution, ttl_seconds: 2}, plans/now/: {strategy: strong}}
    """
    rules = Settings.load(write(tmp_path, text)).memory_sync.rules()
    assert (rules.of("notes").policy, rules.of("notes").strategy) == ("merge_compatible", "eventual")
    assert (rules.of("plans/x").policy, rules.of("plans/x").ttl_ms) == ("manual", 2_000)
    assert (rules.of("plans/now/x").policy, rules.of("plans/now/x").strategy) == ("merge_compatible", "strong")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{conflict_resolution: coin}", "conflict policy 'coin' is not one of latest_wins"),
        ("{strategy: sometimes}", "memory strategy 'sometimes'"),
        ("{prefixes: {a/: {conflict: coin}}}", "memory_sync.prefixes.*coin"),
        ("{prefixes: {a/: {polcy: manual}}}", "memory_sync.prefixes"),
        ("{max_sync_batch_size: 101}", "memory_sync.max_sync_batch_size"),
    ],
)
def test_a_rule_for_the_memory_that_cannot_be_is_named(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Settings.load(write(tmp_path, f"agent_mesh: {{memory_sync: {text}}}"))


def test_the_limits_of_the_memory_reach_the_store() -> None:
    settings = Settings.load(memory_sync={"max_item_bytes": 2048, "history": 3, "max_drift_seconds": 5})
    limits = settings.backend_options().memory
    assert (limits.max_item_bytes, limits.history, limits.max_drift_ms) == (2048, 3, 5_000)
    assert Settings().backend_options().memory == MemoryLimits()


def test_the_settings_file_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load(tmp_path / "none.yaml")
    monkeypatch.setenv("MESHD_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load()


def test_a_config_yaml_of_another_program_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "their: {things: 1}")
    assert Settings.load().flat() == Settings().flat()


def test_a_section_may_be_one_variable_and_its_settings_go_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHD_REDIS", '{"host": "whole", "port": 1}')
    monkeypatch.setenv("meshd_redis__port", "2")
    monkeypatch.setenv("MESHD_REDIS__DB", "")
    settings = Settings.load()
    assert (settings.redis.host, settings.redis.port, settings.redis.db) == ("whole", 2, 0)
    sources = settings.sources()
    assert sources["redis.host"] == "environment MESHD_REDIS"
    assert sources["redis.port"] == "environment MESHD_REDIS__PORT"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("MESHD_REDIS", "{", "MESHD_REDIS: its value is not valid JSON"),
        ("MESHD_REDIS", "[]", "MESHD_REDIS must hold names and values"),
        ("MESHD_REDIS", '{"hots": 1}', "redis.hots"),
        ("MESHD_AGENTS", "[", "MESHD_AGENTS: its value is not valid JSON"),
        ("MESHD_AGENTS", "scout", "setting agents from environment MESHD_AGENTS"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(
    name: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError, match=words):
        Settings.load()


def test_lists_may_be_written_with_commas_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHD_CAPABILITIES", "text.analyze, reasoning")
    monkeypatch.setenv("MESHD_SPECIALIZATIONS", '["nlp"]')
    settings = Settings.load()
    assert (settings.capabilities, settings.specializations) == (("text.analyze", "reasoning"), ("nlp",))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1
