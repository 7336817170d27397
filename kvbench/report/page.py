"""What the page says in words and tables; the template only lays it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvbench.report import numbers
from kvbench.report.views import PhaseView, ReportView, RunView, TargetView
from kvbench.stats import comparison

VERDICTS = {
    "server-bound": "The server was the limit",
    "generator-bound": "kvbench was the limit",
    "paced": "The schedule was the limit",
    "unknown": "What was the limit is not known",
}


@dataclass(frozen=True)
class Row:
    """One line of the main table: one operation of one phase of one run."""

    colour: str
    target: str
    run: str
    operation: str
    throughput: str
    p50: str
    p99: str
    p999: str
    longest: str
    errors: tuple[str, ...]
    client_cpu: str
    memory: tuple[str, ...]
    verdict: str


@dataclass(frozen=True)
class Limit:
    """What limited one run, in words."""

    colour: str
    title: str
    verdict: str
    headline: str
    reason: str
    evidence: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """One figure of one target beside the first target's."""

    figure: str
    """Empty in all lines of a figure but its first."""
    colour: str
    target: str
    median: str
    spread: str
    ratio: str


def run_name(view: ReportView, run: RunView, phase: PhaseView) -> str:
    """What tells a run's phase from others in this report; empty when there is only one."""
    parts = []
    if view.repeats > 1:
        parts.append(f"run {run.repeat}")
    if len(view.phase_names) > 1:
        parts.append(phase.name)
    return ", ".join(parts)


def rows_of(view: ReportView) -> list[Row]:
    """The main table, one line per operation."""
    return [
        _row(view, target, run, phase, name)
        for target in view.targets
        for run in target.runs
        for phase in run.phases
        for name in phase.result.operations
    ]


def _row(view: ReportView, target: TargetView, run: RunView, phase: PhaseView, name: str) -> Row:
    operation = phase.entry["operations"][name]
    times = operation["response_time_ns"]
    failed = sum(operation["errors"].values())
    # What belongs to the whole run stands in its first line only.
    first = name == phase.result.operations[0]
    cpu_ns = phase.entry["client"]["cpu_ns_per_request"]
    return Row(
        colour=target.colour,
        target=target.label,
        run=run_name(view, run, phase),
        operation=name,
        throughput=numbers.count(operation["throughput_ops_s"]),
        p50=numbers.percentile_ms(times, "p50"),
        p99=numbers.percentile_ms(times, "p99"),
        p999=numbers.percentile_ms(times, "p999"),
        longest=numbers.milliseconds(times["max"]) if times["count"] else numbers.MISSING,
        errors=_errors(operation["errors"], failed, operation["completed"]),
        client_cpu=(numbers.MISSING if cpu_ns is None else numbers.significant(cpu_ns / 1e3)) if first else "",
        memory=(tuple(_memory(member) for member in phase.entry["members"]) or (numbers.MISSING,)) if first else (),
        verdict=phase.entry["verdict"] if first else "",
    )


def _errors(errors: Mapping[str, int], failed: int, completed: int) -> tuple[str, ...]:
    """All failures and their share, then a line per code, the most frequent first."""
    if not failed:
        return ("0",)
    share = numbers.significant(100 * failed / (failed + completed), 2)
    codes = sorted(errors.items(), key=lambda item: -item[1])
    return (f"{failed:,} ({share} %)", *(f"{code} {count:,}" for code, count in codes))


def _memory(member: Mapping[str, Any]) -> str:
    return f"{member['name']} {numbers.size(member['rss_bytes_max'])}"


def limits_of(view: ReportView) -> list[Limit]:
    """What limited each run, and what to know before believing its numbers."""
    return [_limit(view, target, run, phase) for target in view.targets for run in target.runs for phase in run.phases]


def _limit(view: ReportView, target: TargetView, run: RunView, phase: PhaseView) -> Limit:
    entry = phase.entry
    client, machine = entry["client"], entry["machine"]
    evidence = []
    if client["blocked_share"] is not None:
        evidence.append(f"the busiest load thread waited {numbers.percent(client['blocked_share'])} of its time")
    if machine["cpu_share"] is not None:
        evidence.append(f"the machine's cores were {numbers.percent(machine['cpu_share'])} busy")
    if machine["client_cpu_share"] is not None:
        evidence.append(f"kvbench took {numbers.percent(machine['client_cpu_share'])} of their time")
    if machine["other_cpu_share"] is not None:
        evidence.append(f"processes that have no part in the run {numbers.percent(machine['other_cpu_share'])}")
    name = run_name(view, run, phase)
    return Limit(
        colour=target.colour,
        title=f"{target.label}, {name}" if name else target.label,
        verdict=entry["verdict"],
        headline=VERDICTS.get(entry["verdict"], entry["verdict"]),
        reason=entry["verdict_reason"],
        evidence="; ".join(evidence),
        warnings=tuple(entry["warnings"]),
    )


def comparisons_of(view: ReportView) -> list[Comparison]:
    """Medians over the repeats per target, with the ratio to the first target; none for a single run of one target.

    Taken of the operation with the most successes, in the last phase that all targets have.
    """
    if (len(view.targets) < 2 and view.repeats < 2) or not view.operations:
        return []
    operation, phase = view.operations[0], view.phase_names[-1]
    where = f", {phase}" if len(view.phase_names) > 1 else ""
    figures = (
        (f"{operation}{where}: throughput (requests / s)", "throughput", numbers.count),
        (f"{operation}{where}: response time p50 (ms)", "p50", numbers.milliseconds),
        (f"{operation}{where}: response time p99 (ms)", "p99", numbers.milliseconds),
        (f"client CPU per request{where} (µs)", "cpu", lambda value: numbers.significant(value / 1e3)),
        (f"memory of all members, RSS max{where}", "memory", numbers.size),
    )
    same_keys = _hold_same_keys(view, phase)
    found: list[Comparison] = []
    titles: set[str] = set()
    for title, figure, shown in figures:
        values = [_values(target, phase, operation, figure) for target in view.targets]
        for target, own in zip(view.targets, values, strict=True):
            known = [value for value in own.values() if value is not None]
            if not known:
                continue
            rounds = comparison.median_of_rounds(known)
            spread = f"{shown(rounds.least)} to {shown(rounds.most)}" if rounds.count > 1 else numbers.MISSING
            ratio = "1 (reference)" if target is view.targets[0] else _ratio(values[0], own)
            if figure == "memory" and not same_keys:
                ratio = "not compared: different numbers of keys"
            shown_title = "" if title in titles else title
            titles.add(title)
            found.append(Comparison(shown_title, target.colour, target.label, shown(rounds.median), spread, ratio))
    return found


def _hold_same_keys(view: ReportView, phase: str) -> bool:
    """Whether all runs wrote the same number of distinct keys, to 1 %: memory is comparable at equal contents only."""
    keys = [int(found.entry["client"]["keys_touched"]) for found in view.phases() if found.name == phase]
    return max(keys) <= 1.01 * min(keys)


def _values(target: TargetView, phase: str, operation: str, figure: str) -> dict[int, float | None]:
    """One figure by repeat."""
    found: dict[int, float | None] = {}
    for run in target.runs:
        for view in run.phases:
            if view.name == phase and operation in view.result.operations:
                found[run.repeat] = _value(view.entry, operation, figure)
    return found


def _value(entry: Mapping[str, Any], operation: str, figure: str) -> float | None:
    measured = entry["operations"][operation]
    if figure == "throughput":
        return float(measured["throughput_ops_s"])
    if figure == "cpu":
        return None if entry["client"]["cpu_ns_per_request"] is None else float(entry["client"]["cpu_ns_per_request"])
    if figure == "memory":
        sizes = [member["rss_bytes_max"] for member in entry["members"]]
        return float(sum(sizes)) if sizes and None not in sizes else None
    return float(measured["response_time_ns"][figure]) if measured["response_time_ns"]["count"] else None


def _ratio(reference: Mapping[int, float | None], own: Mapping[int, float | None]) -> str:
    """This target's figure over the reference's, of the repeats that both have."""
    pairs = [(first, second) for repeat, second in own.items() if (first := reference.get(repeat)) and second]
    if not pairs:
        return numbers.MISSING
    found = comparison.paired_ratio([first for first, _ in pairs], [second for _, second in pairs])
    if found.low is None or found.high is None:
        return f"{found.ratio:.2f} x"
    return f"{found.ratio:.2f} x ({found.low:.2f} to {found.high:.2f})"


def facts_of(view: ReportView) -> list[tuple[str, str]]:
    """(name, value) of what the run was made with, for the page's foot."""
    manifest = view.manifest
    plan: Mapping[str, Any] = manifest.get("plan") or {}
    machine: Mapping[str, Any] = manifest.get("machine") or {}
    keys: Mapping[str, Any] = plan.get("keys") or {}
    facts = [
        ("Command", " ".join(map(str, manifest.get("command") or ()))),
        ("Started", str(manifest.get("started", ""))),
        ("Clients", f"{plan.get('clients')} on {plan.get('connections')} connections" if "clients" in plan else ""),
        ("Keys", _keys(keys)),
        ("Machine", _joined([machine.get("cpu_model"), _cores(machine), numbers.size(machine.get("memory_bytes"))])),
        ("Kernel", str(machine.get("kernel", ""))),
        ("File system", str(machine.get("file_system", ""))),
        ("kvbench", _joined([view.kvbench, str(manifest.get("commit", ""))[:12]])),
    ]
    return [(name, value) for name, value in facts if value]


def _keys(keys: Mapping[str, Any]) -> str:
    if "count" not in keys:
        return ""
    return f"{keys['count']:,} of {keys.get('size_bytes', '?')} bytes, {keys.get('distribution', '?')}"


def _cores(machine: Mapping[str, Any]) -> str:
    return f"{machine['cpus']} cores" if machine.get("cpus") else ""


def _joined(parts: Sequence[Any]) -> str:
    return ", ".join(str(part) for part in parts if part and part != numbers.MISSING)


def question_of(view: ReportView) -> str:
    """The workload's question, if it has one."""
    workload = view.manifest.get("workload")
    return str(workload.get("question", "")) if isinstance(workload, Mapping) else ""
