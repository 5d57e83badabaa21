"""What waits for a commit: commands first, and what phones say as far as there is time."""

from __future__ import annotations

import time
from pathlib import Path

import trio

from dispatcher.daemon.works import Works
from dispatcher.daemon.writer import MAY_WAIT_S, Job, Writer
from dispatcher.records.changes import Changes
from dispatcher.store import open_store


def test_a_commit_takes_what_phones_say_after_all_commands_and_only_for_a_moment(tmp_path: Path):
    done: list[str] = []
    told: list[str] = []

    def step_of(name: str):
        def step(view):
            done.append(name)
            time.sleep(MAY_WAIT_S / 2)
            return Changes(), name

        return step

    async def commits() -> list[int]:
        works, sizes = Works(), []
        for number in range(7):
            works.hear(step_of(f"phone {number}"), lambda work: told.append(work.result))
        for number in range(4):
            works.post(step_of(f"command {number}"), lambda work: told.append(work.result))
        with open_store(tmp_path, write=True, create=True, sync=False) as store:
            writer = Writer(store)
            while works.waiting:
                taken = works.take(256)
                job = Job([], taken, False)
                writer.put(job)
                await job.done.wait()
                works.put_back(job.left)
                for work in taken:
                    work.then(work)
                sizes.append(len(taken))
            writer.stop()
        return sizes

    sizes = trio.run(commits)
    commands, phones = [f"command {number}" for number in range(4)], [f"phone {number}" for number in range(7)]
    assert done == told == commands + phones, "each once, in its order"
    assert 5 <= sizes[0] <= 7 and max(sizes[1:]) <= 3, "all commands at once, of the others a few a commit"
