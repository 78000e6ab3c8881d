"""What to do next, by the code of an error."""

HINTS = {
    "configuration": "config.yaml lists every setting; `mesh config show --sources` says which are in effect",
    "unknown_setting": "config.yaml lists every setting; correct the name or remove it",
    "invalid_payload": '--payload \'{"text": "…"}\', --payload @file.json, or --arg text=…',
    "no_candidate": "`mesh agents` shows who holds what; `--unserved wait` queues the task until such a node joins",
    "not_found": "`mesh nodes list`, `mesh tasks list` and `mesh memory list` show what is there",
    "already_exists": "use another name, or read what is there first",
    "invalid_transition": "`mesh tasks show ID` tells its state and how it came to it",
    "store_unreachable": "is it running, and is the url right? `mesh doctor` checks each step",
    "store_read_only": "give this user write access to the file and its folder, or use another --url",
    "corrupt_data": "nothing was changed; move the file away to start anew, or name another store with --url",
    "backpressure": "wait and submit again",
    "write_conflict": "`mesh memory log KEY` shows what was written since",
    "not_master": "`mesh config show` tells the prefixes under master_slave; their master gives them up when it ends",
    "memory_refused": "`mesh config show` tells the limits; `mesh memory readmit NODE` ends a quarantine",
    "unconfirmed": "`mesh sync` shows which replicas are behind; the write itself is kept",
    "stale_read": "read again, or `mesh sync` first",
    "deadline": "it goes on; `mesh tasks wait ID` waits for it",
    "unhandled_message": "`mesh message unhandled` lists what no handler took, and why",
    "group_failed": "`mesh explain ID` tells who was chosen and who was not; `mesh groups show ID` has the results",
    "task_not_completed": "`mesh tasks show ID` has every error; `mesh tasks redrive ID` runs it again",
}


def hint_for(code: str) -> str:
    """Return the next step after an error with this code; empty when there is none to name."""
    return HINTS.get(code, "")
