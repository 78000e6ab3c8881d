"""The rule by which a loss is proved, under random histories of moves, restarts and losses: no cry without a loss."""

from collections.abc import Mapping
from random import Random

import pytest

from meshd.backends.redis import scripts
from meshd.backends.redis.generation import SCRIPT, Generations, Rollback
from meshd.backends.redis.keys import Keys
from tests.redis_backend.raw import Raw

SEEDS = 25
STEPS = 300
TEXT = scripts.load(SCRIPT, flagged=False).text


class Client:
    """What one client remembers, and what happened since its last call that it has to find out."""

    def __init__(self) -> None:
        self.generations = Generations()
        self.seen = 0
        self.is_due = False
        """It has seen a token that is lost, and nobody has told of that one yet."""
        self.may_cry = False


class World:
    """One partition that is moved, restarted and robbed, and the clients that use it."""

    def __init__(self, raw: Raw, key: str, rng: Random) -> None:
        self.raw, self.key, self.rng = raw, key, rng
        self.clients = [Client() for _ in range(4)]
        self.runs = ["run-a", "run-b", "run-c"]
        self.run = self.runs[0]
        self.time = 0
        self.saved: list[Mapping[bytes, bytes]] = []

    def step(self) -> None:
        self.time += 1_000
        move = self.rng.choices(
            [self.call, self.reconnect, self.save, self.move, self.restart, self.lose, self.wipe],
            weights=[60, 8, 8, 8, 4, 2, 1],
        )[0]
        move()

    def call(self) -> None:
        client = self.rng.choice(self.clients)
        rollback: Rollback | None = None
        mark = client.generations.mark(self.key, self.run)
        if mark is None or self.raw("HGET", self.key, "gen") != mark.encode():
            known = client.generations.known(self.key)
            reply = self.raw("EVAL", TEXT, 1, self.key, self.time, known.number, known.token, self.run)
            rollback = client.generations.learn(self.key, self.run, reply)
        assert client.may_cry or rollback is None
        assert rollback is not None or not client.is_due
        if rollback is not None:
            self.tell(rollback)
        client.is_due = client.may_cry = False
        self.take_token(client)

    def tell(self, rollback: Rollback) -> None:
        for other in self.clients:
            if rollback.token < other.seen <= rollback.seen:
                other.is_due = other.may_cry = False

    def take_token(self, client: Client) -> None:
        token = max(int(self.raw("HGET", self.key, "fence")) + 1, self.time * 1_000)
        self.raw("HSET", self.key, "fence", token)
        client.generations.saw(self.key, token)
        client.seen = token

    def reconnect(self) -> None:
        self.rng.choice(self.clients).generations.doubt()

    def save(self) -> None:
        self.saved.append(self.raw("HGETALL", self.key))

    def move(self) -> None:
        self.run = self.rng.choice(self.runs)

    def restart(self) -> None:
        self.runs = [f"run-{self.time}", *self.runs[:2]]
        self.run = self.runs[0]
        for client in self.clients:
            client.generations.doubt()

    def lose(self) -> None:
        if not self.saved or not self.saved[-1]:
            return
        before = self.saved.pop()
        fence = int(before[b"fence"])
        self.raw("DEL", self.key)
        self.raw("HSET", self.key, *(part for pair in before.items() for part in pair))
        self.restart()
        for client in self.clients:
            client.may_cry = True
            client.is_due = client.is_due or client.seen > fence
        self.call()

    def wipe(self) -> None:
        self.raw("DEL", self.key)
        self.saved.clear()
        for client in self.clients:
            client.may_cry = True
            client.is_due = False


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_loss_is_proved_by_the_first_who_can_and_nothing_else_is_called_one(raw: Raw, keys: Keys, seed: int) -> None:
    world = World(raw, keys.clock("p0"), Random(seed))
    for _ in range(STEPS):
        world.step()
    raw("DEL", world.key)
