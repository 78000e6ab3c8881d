"""The whole SDK in ten lines: agents, submit, wait, sync; a node that runs `text.count` must be up."""

from meshd import SyncMesh

with SyncMesh() as mesh:
    for node in mesh.nodes.list():
        print(node.id, sorted(agent.id for agent in node.profile.agents))
    task = mesh.tasks.submit("text.count", text="to be or not to be")
    print(task.result()["words"])
    print(mesh.sweep())
