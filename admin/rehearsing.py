"""Rehearsals that the API asked for: a child process each, one a tenant, its steps and at last its answer.

Touches: child processes (`volley campaign rehearse --steps`) and what they say; the store and the scratch folder are
theirs. The latest of a campaign and KEPT of all are kept, in memory and without texts on disk (rehearsed.py). What a
restart of this process cuts off begins anew with the next one, once: nothing of it had left the machine.
Rests on: a child whose pipe is gone, or that is told to end, cleans up after itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from admin.rehearsed import Rehearsed
from config.settings import Settings
from dispatcher.clock import Clock, rfc3339
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import public_id

KEPT = 100
BEGUN_MAX = 2
AGAIN_S = 1.0
LINE_OCTETS_MAX = 8 << 20
ENDS_S = 30.0  # for a child that is told to end: it stops two others and removes a folder
ROOT = Path(__file__).resolve().parent.parent
Key = tuple[int, int]  # tenant, campaign


@dataclass(slots=True)
class Job:
    tenant: int
    campaign: int
    started_ms: int
    state: str = "running"  # done, failed, cancelled
    step: str = "start"
    done: int = 0
    total: int = 0
    ended_ms: int | None = None
    answer: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    begun: int = 1  # times: after a restart once more
    process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return f"{public_id('ten', self.tenant)}.{public_id('cmp', self.campaign)}"

    def kept(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "process"}

    def shown(self) -> dict[str, Any]:
        return {
            "campaign": public_id("cmp", self.campaign),
            "state": self.state,
            "step": self.step,
            "done": self.done,
            "total": self.total,
            "started_at": rfc3339(self.started_ms),
            "ended_at": rfc3339(self.ended_ms),
            "begun": self.begun,
            "answer": self.answer,
            "problem": self.problem,
        }

    def hear(self, line: dict[str, Any]) -> None:
        if "step" in line:
            self.step, self.done, self.total = line["step"], line["done"], line["total"]
        self.answer = line.get("answer", self.answer)
        self.problem = line.get("problem", self.problem)


@dataclass(slots=True)
class Rehearsals:
    """Of one admin process; its loop's alone."""

    settings: Settings
    clock: Clock
    _jobs: dict[Key, Job] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: bool = False
    _files: Rehearsed = field(init=False)

    def __post_init__(self) -> None:
        self._files = Rehearsed(self.settings.data)

    def open(self) -> None:
        """Take up what an earlier process knew. Call it inside the loop."""
        for kept, options in self._files.all():
            job = Job(**kept)
            self._jobs[job.tenant, job.campaign] = job
            if job.state != "running":
                continue
            if job.begun >= BEGUN_MAX:
                detail = "the API was restarted again and again while it ran: rehearse it once more"
                job.problem = {"status": 503, "code": "rehearsal_interrupted", "detail": detail}
                job.state, job.ended_ms = "failed", self.clock.epoch_ms()
                self._files.put(job.name, job.kept(), options)
                continue
            job.begun += 1
            job.step, job.done, job.total = "start", 0, 0
            self._begin(job, options)

    def find(self, tenant: int, campaign: int) -> Job | None:
        return self._jobs.get((tenant, campaign))

    def refuse_second(self, tenant: int) -> None:
        """Raises CommandRefused 409 while one of the tenant's is under way."""
        for job in self._jobs.values():
            if job.tenant == tenant and job.state == "running":
                other = public_id("cmp", job.campaign)
                raise CommandRefused(
                    409, "rehearsal_running", f"{other} is being rehearsed: await its end or cancel that",
                    extra={"campaign": other},
                )  # fmt: skip

    def start(self, tenant: int, campaign: int, options: Sequence[str]) -> Job:
        """options: of the verb."""
        self.refuse_second(tenant)
        job = Job(tenant, campaign, self.clock.epoch_ms())
        self._jobs.pop((tenant, campaign), None)
        self._jobs[tenant, campaign] = job
        for old in [key for key, one in self._jobs.items() if one.state != "running"][: max(0, len(self._jobs) - KEPT)]:
            self._files.drop(self._jobs.pop(old).name)
        self._begin(job, options)
        return job

    def _begin(self, job: Job, options: Sequence[str]) -> None:
        self._files.put(job.name, job.kept(), options)
        task = asyncio.create_task(self._follow(job, options))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self, job: Job) -> None:
        """Returns when nothing of it is left."""
        if job.state == "running":
            job.state = "cancelled"
            await self._end(job)

    async def close(self) -> None:
        """End the children; what they were at begins anew with the next process."""
        self._closing = True
        for job in list(self._jobs.values()):
            await self._end(job)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ENDS_S)

    async def _follow(self, job: Job, options: Sequence[str]) -> None:
        try:
            await self._run(job, options)
            until_s = asyncio.get_running_loop().time() + ENDS_S
            while job.begun > 1 and _in_the_way(job) and asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(AGAIN_S)  # the child of the process before is still cleaning up
                job.problem = None
                await self._run(job, options)
        except (OSError, ValueError) as exc:
            job.problem = {"status": 500, "code": "rehearsal_failed", "detail": str(exc)}
        if self._closing and job.state == "running" and job.answer is None:
            return  # its file still says that it runs
        if job.state == "running":
            job.state = "failed" if job.answer is None else "done"
        job.ended_ms = self.clock.epoch_ms()
        self._files.put(job.name, job.kept(), options)

    async def _run(self, job: Job, options: Sequence[str]) -> None:
        told = ["--config", str(self.settings.file)] if self.settings.file else []
        job.process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dispatcher.cli", "campaign", "rehearse", public_id("cmp", job.campaign),
            "--tenant", public_id("ten", job.tenant), "--data", str(self.settings.data), "--steps", *told, *options,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=ROOT, limit=LINE_OCTETS_MAX, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        if job.state != "running":  # cancelled before it was there
            process.terminate()
        errors = asyncio.create_task(process.stderr.read())
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                job.hear(json.loads(line))
        status, said = await process.wait(), (await errors).decode("utf-8", "replace").strip()
        if job.answer is None and job.problem is None:
            detail = said.rpartition("\n")[2] or f"the rehearsal ended with {status}"
            job.problem = {"status": 500, "code": "rehearsal_failed", "detail": detail}

    async def _end(self, job: Job) -> None:
        if job.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            job.process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.process.wait(), ENDS_S)


def _in_the_way(job: Job) -> bool:
    return job.state == "running" and job.problem is not None and job.problem["code"] == "rehearsal_running"
