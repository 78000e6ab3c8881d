"""The options of `mesh submit`, in groups: what to run, where, when, after what, and how often."""

from datetime import timedelta
from typing import Annotated

import typer

from meshd_cli.completion import agent_ids, node_ids, node_types, policies, priorities, task_ids, task_types
from meshd_cli.durations import duration

Type = Annotated[str, typer.Argument(help="Task type, such as text.analyze.", autocompletion=task_types)]
Payload = Annotated[str | None, typer.Option(help="JSON object, @file, or - for stdin.", metavar="JSON")]
Arguments = Annotated[list[str] | None, typer.Option(help="One argument; repeat it.", metavar="KEY=VALUE")]
Context = Annotated[str | None, typer.Option(help="JSON that travels along, @file or -.", metavar="JSON")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same task.")]
PriorityName = Annotated[str, typer.Option(help="critical, high, normal, low, background.", autocompletion=priorities)]

Requires = Annotated[str, typer.Option(help="What the node must meet: gpu,python>=advanced,zone=eu.")]
PreferredTypes = Annotated[str, typer.Option(help="Node types to prefer: a,b.", autocompletion=node_types)]
Prefers = Annotated[str, typer.Option(help="What the node should meet, with weights: zone=eu:2,gpu.")]
OnlyNode = Annotated[str | None, typer.Option(help="The only node that may run it.", autocompletion=node_ids)]
NotOn = Annotated[str, typer.Option(help="Nodes that may not run it: a,b.", autocompletion=node_ids)]
Routing = Annotated[str | None, typer.Option(help="How it finds its node: least_loaded, ...", autocompletion=policies)]
Unserved = Annotated[
    str, typer.Option(help="When no node could run it: refuse, or wait for one.", metavar="refuse|wait")
]
OrHere = Annotated[bool, typer.Option("--or-here", help="Run it in this process when no mesh can take it; says so.")]

Delay = Annotated[timedelta | None, typer.Option(parser=duration, help="Not before this.", metavar="DURATION")]
Deadline = Annotated[
    timedelta | None, typer.Option(parser=duration, help="Never start after this.", metavar="DURATION")
]
Timeout = Annotated[
    timedelta | None, typer.Option(parser=duration, help="Longest run of one attempt.", metavar="DURATION")
]
ProgressTimeout = Annotated[
    timedelta | None,
    typer.Option(parser=duration, help="Longest time without a sign of progress.", metavar="DURATION"),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")]
WaitTimeout = Annotated[
    timedelta | None, typer.Option(parser=duration, help="Longest wait with --wait.", metavar="DURATION")
]

After = Annotated[
    list[str] | None,
    typer.Option(help="A task that must have completed first; repeat it.", metavar="ID", autocompletion=task_ids),
]
RunAnyway = Annotated[bool, typer.Option("--run-anyway", help="With --after: run it too when one of those fails.")]

RequiresVote = Annotated[bool, typer.Option("--requires-vote", help="Run it only once a vote has accepted it.")]
Electors = Annotated[
    str, typer.Option(help="Who may vote: a,b,c. Else every agent of every live node.", autocompletion=agent_ids)
]
QuorumText = Annotated[str, typer.Option(help="How much yes accepts: 60%, or a count like 3.")]
VoteTimeout = Annotated[
    timedelta | None, typer.Option(parser=duration, help="How long votes are taken.", metavar="DURATION")
]

Verify = Annotated[
    int | None, typer.Option(min=1, help="Run it several times; the result is what so many runs agree on.")
]
Copies = Annotated[int, typer.Option(min=0, help="With --verify: how many runs. Else one less than twice that.")]

FanOutNumber = Annotated[
    int | None, typer.Option("--fan-out", min=0, help="Run it on so many nodes; 0: on as many as there are, up to 5.")
]
Parts = Annotated[
    str | None, typer.Option(help="Divide it: a list of the parts' arguments, @file or -.", metavar="JSON")
]
Merge = Annotated[
    str, typer.Option(help="What the results of the parts become. Default: list.", metavar="list|dict|sum|task:TYPE")
]
DistinctWord = Annotated[
    str, typer.Option("--distinct", help="Parts on different nodes? Default: prefer.", metavar="no|prefer|require")
]
Partial = Annotated[bool, typer.Option("--partial", help="Merge what completed, and say what is missing.")]
