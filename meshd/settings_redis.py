"""Where Redis is: settings of the section `redis`."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from meshd.errors import ConfigurationError


class RedisSettings(BaseModel):
    """Where Redis is, when the protocol is `redis_distributed` and no url is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65_535)] = 6379
    db: Annotated[int, Field(ge=0)] = 0
    username: str = ""
    password: SecretStr = SecretStr("")
    """Never printed."""
    password_file: str = ""
    """File that holds the password: a mounted secret."""
    tls: bool = False
    connection_pool_size: Annotated[int, Field(ge=1, le=10_000)] = 20
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Replicas that must have a write at durability D3: a majority of those that may take over."""
    partitions: Annotated[int, Field(ge=0, le=256)] = 0
    """Parts the tasks of a new mesh are kept in, for good; 0: one on a server, 8 for each primary of a cluster."""
    accept_eviction: bool = False
    """Use a server that may throw keys away when its memory is full: tasks can vanish then."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file and self.password.get_secret_value():
            raise ValueError("password and password_file are both set; keep one")
        return self

    def url_of(self, node: str) -> str:
        """Return the url of a bootstrap node: itself, or for `host:port` these settings with another address.

        Raises:
            ConfigurationError: it is neither.
        """
        if "://" in node:
            return node
        host, colon, port = node.rpartition(":")
        if not (colon and host and port.isdecimal() and 1 <= int(port) <= 65_535):
            raise ConfigurationError(f"bootstrap_nodes {node!r} is neither a store url nor host:port")
        return self.model_copy(update={"host": host.strip("[]"), "port": int(port)}).url

    @property
    def url(self) -> str:
        """Return the store url these settings spell, password included."""
        password = self.password.get_secret_value()
        if self.password_file:
            try:
                password = Path(self.password_file).read_text(encoding="utf-8").strip()
            except OSError as exc:
                raise ConfigurationError(f"redis.password_file {self.password_file}: {exc.strerror}") from exc
        credentials = f"{quote(self.username, safe='')}:{quote(password, safe='')}@" if password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{credentials}{host}:{self.port}/{self.db}"
