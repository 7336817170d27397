"""One run against one target: start it, prepare its keys, load it phase by phase, stop it, leave an artifact."""

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from kvbench import __version__
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.writer import Writer
from kvbench.load.admin import Admin, AdminError, connect
from kvbench.load.plan import Plan
from kvbench.load.protocol import EngineError, LoadEngine
from kvbench.measure.sampler import Sampler
from kvbench.ops.results import PhaseResult
from kvbench.run.engines import credentials_of, make_engine
from kvbench.run.interrupt import Interruption
from kvbench.run.manifest import describe_run
from kvbench.run.phases import PhaseLoop
from kvbench.run.preparation import all_phases
from kvbench.run.request import Display, ExitCode, RunFailure, RunRequest, Target
from kvbench.targets import launch
from kvbench.targets.running import Member, RunningTarget, TargetError


@dataclass
class SingleRun:
    """State of one run while it goes on; ``carry_out`` is the whole of it."""

    request: RunRequest
    target: Target
    repeat: int
    order: tuple[str, ...]
    folder: Path
    display: Display
    interruption: Interruption
    warnings: list[str] = field(default_factory=list)
    _manifest: dict[str, Any] = field(default_factory=dict)
    _running: RunningTarget | None = None
    _admin: Admin | None = None
    _engine: LoadEngine | None = None
    _sampler: Sampler | None = None
    _parents: tuple[str, ...] = ()
    _keys_are_ours: bool = False
    _results: list[PhaseResult] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        """The workload's plan with this repeat's seed."""
        plan = self.request.workload.plan
        return replace(plan, seed=plan.seed + self.repeat - 1)

    def carry_out(self) -> RunFailure | None:
        """The run from start to end; returns why it did not come to its end, or could not count.

        Whatever happens, servers are stopped, and what was measured until then is in the artifact.
        """
        failure: RunFailure | None = None
        try:
            with Writer(self.folder, __version__) as writer:
                failure = self._guarded(writer)
                with self.interruption.shielded():
                    failure = self._write_down(writer, failure)
        except ArtifactError as error:
            failure = failure or RunFailure(ExitCode.INVALID_RUN, error.what, error.remedy)
        return failure

    def _guarded(self, writer: Writer) -> RunFailure | None:
        """Everything between the first server's start and the last one's end."""
        try:
            return self._attempt(writer)
        finally:
            with self.interruption.shielded():
                self._clean_up()

    def _attempt(self, writer: Writer) -> RunFailure | None:
        """Measure, and say what went wrong while the servers still run: their logs then end with the cause."""
        try:
            self._measure(writer)
            self._judge()
        except RunFailure as failure:
            return failure
        except KeyboardInterrupt:
            return RunFailure(ExitCode.INTERRUPTED, f"interrupted while preparing {self.target.text}")
        except TargetError as error:
            return RunFailure(ExitCode.TARGET_FAILED, error.what, error.remedy, error.log_tail)
        except (AdminError, EngineError) as error:
            remedy = getattr(error, "remedy", "")
            return RunFailure(ExitCode.TARGET_FAILED, f"{self.target.text}: {error}", remedy, self._log_tail())
        except ArtifactError as error:
            return RunFailure(ExitCode.INVALID_RUN, error.what, error.remedy)
        return None

    def _log_tail(self) -> str:
        return self._running.log_tail() if self._running is not None else ""

    def _measure(self, writer: Writer) -> None:
        spec = self.target.spec
        running = self._running = launch.start(spec, self.folder / "servers", self.display.say)
        if self.request.keep_data and spec.is_local:
            cast(Any, running).keep_data = True
        self.warnings += running.warnings
        for warning in running.warnings:
            self.display.say(f"warning: {warning}")
        self._prepare_keys(running)
        addresses = running.addresses_for_load()
        phases = all_phases(self.plan, spec.kind)
        self._manifest = describe_run(
            self.request, self.target, running.describe(), self.repeat, self.order, phases, self.folder
        )
        engine = self._engine = make_engine(self.request.engine, self.request.processes, self.plan, spec, addresses)
        engine.open()
        self._manifest["connections"] = connections_per_address(engine, self.plan, addresses)
        writer.manifest(self._manifest)
        sampler = self._sampler = Sampler(
            running.members,
            self.request.sample_period_s,
            writer.resource,
            lambda member: running.counters(cast(Member, member)),
        )
        sampler.start()
        loop = PhaseLoop(
            engine, writer, sampler, running, self.target.text, self.display, self.interruption, self.plan.timeout_s
        )
        for phase in phases:
            self._results.append(loop.carry_out(phase))

    def _prepare_keys(self, running: RunningTarget) -> None:
        """See that nobody else's keys are in the way, and that the keys' parents are there."""
        spec = self.target.spec
        prefix = self.plan.keys.prefix
        if spec.is_local and spec.kind != "zookeeper":
            return
        addresses = [member.address for member in running.members]
        admin = self._admin = connect(spec.kind, addresses, credentials_of(spec))
        if not spec.is_local:
            count = admin.count_keys(prefix)
            if count:
                raise TargetError(
                    f'{self.target.text} holds {count:,} keys under the prefix "{prefix}" already; kvbench never'
                    " overwrites or deletes what it did not write",
                    "choose another prefix: --set keys.prefix=kvbench2/, or delete them yourself",
                )
            self._keys_are_ours = True
        self._parents = admin.prepare_prefix(prefix)

    def _judge(self) -> None:
        """Whether the finished run counts. Raises RunFailure."""
        for alarm in self._alarms():
            raise RunFailure(
                ExitCode.INVALID_RUN,
                f"{self.target.text}: the store raised the alarm {alarm} and refuses writes, so the run does not count",
                "give it more room: --target 'etcd?quota=16GiB', or write less",
            )
        measured = {phase.name for phase in self.plan.phases if phase.measured}
        done = [result for result in self._results if result.phase in measured]
        if sum(int(result.completed.sum()) for result in done) == 0:
            raise RunFailure(
                ExitCode.INVALID_RUN,
                f"{self.target.text}: not one request succeeded",
                "see the errors in the table or the summary, and the servers' log below",
                self._log_tail(),
            )

    def _alarms(self) -> list[str]:
        spec = self.target.spec
        if spec.kind == "zookeeper" or self._running is None:
            return []
        if self._admin is None:
            addresses = [member.address for member in self._running.members]
            self._admin = connect(spec.kind, addresses, credentials_of(spec))
        try:
            return self._admin.alarms()
        except AdminError as error:
            self.warnings.append(f"whether the store raised an alarm is not known: {error.what}")
            return []

    def _clean_up(self) -> None:
        """Leave nothing behind; no step is left out because one before it failed."""
        steps = (self._stop_sampling, self._close_engine, self._delete_keys, self._close_admin, self._stop_servers)
        for step in steps:
            try:
                step()
            except (AdminError, TargetError, EngineError, ArtifactError, OSError) as error:
                self.warnings.append(f"while cleaning up {self.target.text}: {error}")
                self.display.say(f"warning: {self.warnings[-1]}")

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()

    def _close_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _delete_keys(self) -> None:
        """On a cluster that is not ours: take away what this run wrote."""
        if not self._keys_are_ours or self._admin is None:
            return
        prefix = self.plan.keys.prefix
        if self.request.keep_data:
            self.display.say(f'the keys under "{prefix}" are kept, as asked')
            return
        self.display.say(f'deleting the keys that this run wrote under "{prefix}"')
        try:
            deleted = self._admin.delete_prefix(prefix, None, self._parents)
        except AdminError:
            self.warnings.append(f'the keys under "{prefix}" could not be deleted: those that were written are left')
            self.display.say(f"warning: {self.warnings[-1]}")
            raise
        self.display.say(f"deleted {deleted:,} keys")

    def _close_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()

    def _stop_servers(self) -> None:
        if self._running is None:
            return
        self._running.stop()
        if self.request.keep_data and self.target.spec.is_local:
            self.display.say(f"the servers' data is kept, as asked, in {self.folder / 'servers'}")

    def _write_down(self, writer: Writer, failure: RunFailure | None) -> RunFailure | None:
        """Finish the artifact, if there is anything to finish: the logs of servers that did not start are kept."""
        if not self._manifest:
            with suppress(OSError):
                (self.folder / "servers").rmdir()
            writer.discard()
            return failure
        self._manifest["ended"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        self._manifest["exit_code"] = int(failure.code) if failure is not None else 0
        self._manifest["warnings"] = [*self.warnings, *([failure.what] if failure is not None else [])]
        try:
            writer.manifest(self._manifest)
            writer.finish()
        except ArtifactError as error:
            return failure or RunFailure(ExitCode.INVALID_RUN, error.what, error.remedy)
        return failure


def connections_per_address(engine: LoadEngine, plan: Plan, addresses: list[str]) -> dict[str, int]:
    """Load connections of each member: as the engine counts them, else as a plan's are dealt in turn."""
    counted = getattr(engine, "connections_per_address", None)
    if counted is not None:
        with suppress(EngineError):
            return dict(counted())
    share, more = divmod(plan.connections, len(addresses))
    return {address: share + (position < more) for position, address in enumerate(addresses)}
