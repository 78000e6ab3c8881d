"""`mesh votes`: decide together."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.commands.status import listed
from meshd_cli.completion import agent_ids
from meshd_cli.durations import duration
from meshd_cli.quorums import quorum_of
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.votes.model import Proposal

ProposalId = Annotated[str, typer.Argument(metavar="ID", help="Proposal id.")]

VOTES_HELP = """Propose something, vote on it, see what was decided.

\b
Examples:
  mesh votes list --state pending
  mesh votes show deploy-7
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=VOTES_HELP)
    group.command("propose")(propose)
    group.command("cast")(cast)
    group.command("list")(list_proposals)
    group.command("show")(show_proposal)
    app.add_typer(group, name="votes")


def propose(
    ctx: typer.Context,
    content: Annotated[str, typer.Argument(help="What is voted on: JSON, or text; @FILE or - (stdin) for JSON.")],
    id: Annotated[str, typer.Option(help="Id of your own: proposing it again keeps its votes.")] = "",
    type: Annotated[str, typer.Option(help="decision, action, topology, task, or your own.")] = "decision",
    electors: Annotated[str, typer.Option(help="Who may vote: a,b,c. Else every agent of every live node.")] = "",
    quorum: Annotated[str, typer.Option(help="How much yes accepts: 60%, or a count like 3.")] = "",
    weighted: Annotated[bool, typer.Option("--weighted", help="Count weight and intensity instead of heads.")] = False,
    timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, help="How long votes are taken.", metavar="DURATION")
    ] = None,
    priority: Annotated[str, typer.Option(help="How strongly it is danced for: critical, high, medium, low.")] = "",
    urgent: Annotated[bool, typer.Option("--urgent", help="Dance more strongly still.")] = False,
    supersedes: Annotated[str, typer.Option(help="Id of the proposal this one replaces.")] = "",
    proposer: Annotated[str, typer.Option("--from", help="Propose as this agent.")] = "",
    wait: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, help="Wait so long for the decision; exit 1 unless accepted.", metavar="DURATION"
        ),
    ] = None,
) -> None:
    """Propose something to the agents of the mesh. With --wait, print the decision.

    \b
    Examples:
      mesh votes propose '{"refund": 120}' --electors sales,fraud --quorum 2
      mesh votes propose 'deploy build 7' --id deploy-7 --priority high --wait 30s
    """
    from meshd_cli.payloads import value_of

    session = session_of(ctx)
    value, needed = value_of(content), quorum_of(quorum, weighted=weighted, default=session.settings.votes.quorum)

    async def work(mesh: "Mesh") -> "Proposal":
        from meshd.votes.waggle import dance, intensity_of

        made = await mesh.votes.propose(
            value,
            id=id or None,
            type=type,
            electorate=listed(electors) or None,
            quorum=needed,
            timeout=timeout,
            waggle=dance(intensity_of(priority=priority, urgent=urgent), kind=type),
            supersedes=supersedes,
            proposer=proposer or None,
        )
        return made if wait is None else await mesh.votes.decision(made.id, timeout=wait)

    proposal = session.run(work)
    render.show(session, _one(proposal), lazy_view(session, "votes.one"))
    if wait is not None and proposal.state.value != "accepted":
        raise typer.Exit(1)


def cast(
    ctx: typer.Context,
    id: ProposalId,
    choice: Annotated[str, typer.Argument(help="yes, no or abstain.")],
    voter: Annotated[str, typer.Option("--as", help="Agent that votes.", autocompletion=agent_ids)],
    intensity: Annotated[float, typer.Option(help="How strongly, 0 to 1.")] = 1.0,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Cast the vote of one agent. The first is final; the same again changes nothing.

    \b
    Examples:
      mesh votes cast deploy-7 yes --as sales
      mesh votes cast deploy-7 no --as fraud --reason "not on a Friday"
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return _one(await mesh.votes.vote(id, voter, choice, intensity=intensity, reason=reason))

    show(ctx, read, "votes.one")


def list_proposals(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help="Only these: pending, accepted, rejected, expired.")] = "",
    type: Annotated[str, typer.Option(help="Only proposals of this type.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most to list.")] = 100,
    ranked: Annotated[
        bool, typer.Option("--ranked", help="Pending ones only, as rivals: what the strongest dance leaves the others.")
    ] = False,
    watch: Watch = False,
) -> None:
    """List proposals, those decided for a day.

    \b
    Examples:
      mesh votes list --state accepted --json
      mesh votes list --ranked --type action
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.vote_documents import proposal_summary, ranked_documents

        wanted = "pending" if ranked else state
        found = await mesh.votes.list(state=wanted or None, type=type or None, limit=limit)
        documents = ranked_documents(found) if ranked else [proposal_summary(each) for each in found]
        return {"kind": "proposals", "ranked": ranked, "proposals": documents}

    show(ctx, read, "votes.listing", watch=watch)


def show_proposal(ctx: typer.Context, id: ProposalId, watch: Watch = False) -> None:
    """Show one proposal with all its votes.

    \b
    Examples:
      mesh votes show deploy-7 --watch
      mesh votes show deploy-7 --json | jq -r .proposal.state
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return _one(await mesh.votes.get(id))

    show(ctx, read, "votes.one", watch=watch)


def _one(proposal: "Proposal") -> dict[str, Any]:
    from meshd_cli.vote_documents import proposal_document

    return {"kind": "proposal", "proposal": proposal_document(proposal)}
