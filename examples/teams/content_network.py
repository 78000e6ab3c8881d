"""A content network: a writer, an editor and a reviewer team up on each article, and talk while they work.

    python examples/teams/content_network.py

The three are one working group: they start together. The editor waits for the writer's draft and the reviewer for the
edited text, as messages between agents; the reviewer sends back what is too long, and the editor tries again.
"""

import asyncio
import textwrap

from meshd import AutonomousAgent, GroupTask, Mesh, Node

NOTES = {
    "bees": ["Scouts look for a new home.", "They dance for what they find.", "Better sites are danced for longer."],
    "slime mold": ["It grows along every path.", "Paths in use grow thick.", "The rest fades away, slowly but surely."],
}
LONGEST = 80


class Writer(AutonomousAgent):
    skills = ("write",)

    async def on_start(self, task: GroupTask) -> int:
        draft = " ".join(NOTES[task.payload["topic"]])
        await task.tell("edit", "draft", {"text": draft})
        return len(draft)


class Editor(AutonomousAgent):
    skills = ("edit=advanced",)

    async def on_start(self, task: GroupTask) -> int:
        text, limit = (await task.heard("draft"))["text"], LONGEST * 2
        for attempt in range(1, 4):
            edited = textwrap.shorten(text, limit, placeholder=" …")
            await task.tell("review", "edited", {"text": edited})
            if (await task.heard("verdict"))["accepted"]:
                return attempt
            limit -= 40
        raise ValueError("the reviewer accepts nothing")


class Reviewer(AutonomousAgent):
    skills = ("review=expert",)

    async def on_start(self, task: GroupTask) -> str:
        while True:
            text = (await task.heard("edited"))["text"]
            accepted = len(text) <= LONGEST + 20
            await task.update(0.9 if accepted else 0.5, f"{len(text)} characters")
            await task.tell("edit", "verdict", {"accepted": accepted})
            if accepted:
                return text


async def main() -> None:
    desks = [
        Node(f"desk-{number}").host(Writer(f"writer-{number}"), Editor(f"editor-{number}"), Reviewer(f"rev-{number}"))
        for number in (1, 2)
    ]
    async with desks[0].running(), desks[1].running(), Mesh() as mesh:
        wanted = ["write", "edit>=advanced", "review>=advanced"]
        articles = [
            await mesh.groups.announce(topic, skills=wanted, payload={"topic": topic}, max_size=3) for topic in NOTES
        ]
        for article in articles:
            print((await article.result())["review"])


if __name__ == "__main__":
    asyncio.run(main())
