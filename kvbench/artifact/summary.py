"""The summary: every number that tables and gates read, computed from what an artifact holds and from nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kvbench.artifact import members, schema
from kvbench.artifact.context import RunContext
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.files import write_json
from kvbench.artifact.reader import Artifact, read_all
from kvbench.artifact.writer import SCALARS
from kvbench.ops.errors import ERROR_CODES, outcome_is_unknown
from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT, PhaseResult
from kvbench.stats import buckets, histograms, percentiles, throughput, verdict

SCHEMA = 1
LITTLE_MIN, LITTLE_MAX = 0.95, 1.05
"""Outside this range throughput, response time and clients contradict each other."""
PERCENTILE_TITLES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
MACHINE_SHARE_MAX = 0.95
OTHER_SHARE_MAX = 0.1
STEAL_SHARE_MAX = 0.05


def summarize_phase(
    result: PhaseResult, rows: Iterable[Mapping[str, Any]], context: RunContext, artifact: str = "."
) -> dict[str, Any]:
    """One entry of a summary's "runs". ``rows``: the run's resource rows, of all phases. ``artifact``: its folder,
    relative to the summary's.
    """
    rows = list(rows)
    end_ns = result.start_ns + result.duration_ns
    open_loop = result.phase in context.open_loop
    found = verdict.of_phase(result, open_loop)
    servers = members.servers(rows, result.start_ns, end_ns)
    servers_cpu_s = sum(member["cpu_s"] or 0.0 for member in servers)
    machine = members.machine(rows, result.start_ns, end_ns, result.cpu_ns, servers_cpu_s, context.cpus)
    zero_s, zero_longest_s = _zero_seconds(result)
    entry: dict[str, Any] = {
        "target": dict(context.target),
        "repeat": context.repeat,
        "phase": result.phase,
        "duration_s": result.duration_ns / 1e9,
        "end_reason": result.end_reason,
        "error_text": result.error_text,
        "loop": "open" if open_loop else "closed",
        "verdict": found.name,
        "verdict_reason": found.reason,
        "warnings": [],
        "operations": {name: _operation(result, place) for place, name in enumerate(result.operations)},
        "zero_throughput_s": zero_s,
        "zero_throughput_s_longest": zero_longest_s,
        "client": _client(result, rows, context),
        "littles_law": _littles_law(result, context, open_loop),
        "machine": machine,
        "members": servers,
        "artifact": artifact,
    }
    entry["warnings"] = [*context.warnings, *warnings_of(entry)]
    return entry


def _operation(result: PhaseResult, place: int) -> dict[str, Any]:
    codes = result.errors[:, place, :].sum(axis=0)
    completed = int(result.completed[:, place].sum())
    zero_s, zero_longest_s = throughput.zero_seconds(result.completed[:, place], result.duration_ns)
    return {
        "offered": int(result.offered[:, place].sum()),
        "sent": int(result.sent[:, place].sum()),
        "completed": completed,
        "throughput_ops_s": _per_second(completed, result.duration_ns),
        "errors": {schema.error_name(code): int(codes[code]) for code in range(ERROR_CODES) if codes[code]},
        "unknown_outcomes": int(sum(codes[code] for code in range(ERROR_CODES) if outcome_is_unknown(code))),
        "zero_throughput_s": zero_s,
        "zero_throughput_s_longest": zero_longest_s,
        "response_time_ns": _distribution(result, RESPONSE, place),
        "service_time_ns": _distribution(result, SERVICE, place),
        "wait_time_ns": _distribution(result, WAIT, place),
        "error_time_ns": _distribution(result, ERROR, place),
    }


def _per_second(count: int, duration_ns: int) -> float:
    return count * 1e9 / duration_ns if duration_ns > 0 else 0.0


def _distribution(result: PhaseResult, time: int, place: int) -> dict[str, Any]:
    found = percentiles.distribution(*histograms.of(result.histograms, time, place))
    return {
        "count": found.count,
        "mean": found.mean,
        **found.percentiles,
        "max": found.max,
        "insufficient": list(found.insufficient),
    }


def _requests(result: PhaseResult) -> int:
    """Successes of operations that are requests."""
    return int(result.completed[:, verdict.request_columns(result.operations)].sum())


def _zero_seconds(result: PhaseResult) -> tuple[int, int]:
    return throughput.zero_seconds(result.completed.sum(axis=1), result.duration_ns)


def _client(result: PhaseResult, rows: list[Mapping[str, Any]], context: RunContext) -> dict[str, Any]:
    requests = _requests(result)
    own = members.by_member(rows).get(schema.KVBENCH_MEMBER, [])
    rss = members.readings(own, "rss_bytes", result.start_ns, result.start_ns + result.duration_ns)
    thread_cpu_ns = sum(thread.cpu_ns for thread in result.threads)
    return {
        # A phase that was cut off has no CPU time written down: not known is not nothing.
        "cpu_ns_per_request": result.cpu_ns / requests if requests and result.cpu_ns else None,
        "load_thread_cpu_ns_per_request": thread_cpu_ns / requests if requests and result.threads else None,
        "threads": len(result.threads),
        "connections": context.connections,
        "clients": context.clients,
        "blocked_share": verdict.busiest(result.threads),
        "send_lag_ns_max": max((thread.send_lag_ns_max for thread in result.threads), default=None),
        **{name: getattr(result, name) for name in SCALARS if name != "cpu_ns"},
        "rss_bytes_max": max(rss, default=None),
        "load_threads": [
            {
                "wall_s": thread.wall_ns / 1e9,
                "cpu_s": thread.cpu_ns / 1e9,
                "run_delay_s": thread.run_delay_ns / 1e9,
                "blocked_share": verdict.blocked_share(thread),
                "send_lag_ns_max": thread.send_lag_ns_max,
            }
            for thread in result.threads
        ],
    }


def _littles_law(result: PhaseResult, context: RunContext, open_loop: bool) -> dict[str, Any]:
    """Requests that failed held their clients too, so both kinds count."""
    requests = verdict.request_columns(result.operations)
    rows = result.histograms[np.isin(result.histograms["operation"], requests)]
    held = rows[(rows["time"] == RESPONSE) | (rows["time"] == ERROR)]
    sum_ns = float(np.dot(buckets.middle_of(held["bucket"]).astype(np.float64), held["count"].astype(np.float64)))
    in_flight = throughput.in_flight_mean(sum_ns, result.duration_ns)
    clients = 0 if open_loop else context.clients
    rate = _per_second(int(held["count"].sum()), result.duration_ns)
    return {
        "in_flight_mean": in_flight,
        "ratio": throughput.littles_law_ratio(in_flight, rate, context.think_time_s, clients),
    }


def warnings_of(entry: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing a run's numbers, most of it with its remedy."""
    client = entry["client"]
    found = []
    if entry["verdict"] == verdict.GENERATOR_BOUND:
        found.append(f"{entry['verdict_reason']}: the result is kvbench's limit; use more --load-threads or cores")
    if entry["verdict"] == verdict.UNKNOWN:
        found.append(entry["verdict_reason"])
    if entry["end_reason"] in ("interrupted", "failed"):
        ended = "failed" if entry["end_reason"] == "failed" else "was interrupted"
        found.append(f"the phase {ended}: the numbers are of what it had")
    if client["cap_reached"]:
        found.append(
            f"{client['cap_reached']:,} requests were due while the cap of {client['in_flight_cap']:,} in flight was "
            "reached: they waited, and their response time counts it"
        )
    if client["clipped"]:
        found.append(f"{client['clipped']:,} values beyond an hour were recorded as an hour")
    if client["seconds_merged"]:
        found.append(
            f"the percentiles of {client['seconds_merged']} seconds stand in an earlier second's: kvbench itself was "
            "held up; whole-run percentiles are exact"
        )
    broken = client["reconnects"] - _connections_closed_on_purpose(entry)
    if broken > 0:
        found.append(f"connections broke {broken:,} times")
    if entry["zero_throughput_s"]:
        found.append(
            f"{entry['zero_throughput_s']} of {int(max(1, entry['duration_s']))} seconds had no success "
            f"(longest row: {entry['zero_throughput_s_longest']})"
        )
    found += _error_warnings(entry) + _consistency_warnings(entry)
    return found


def _connections_closed_on_purpose(entry: Mapping[str, Any]) -> int:
    """ZooKeeper closes the connection of a session that was closed, which is its way to give up a lease."""
    revoked = entry["operations"].get("lease_revoke")
    if revoked is None or entry["target"].get("kind") != "zookeeper":
        return 0
    # Those on their way when the phase began or ended may be counted on one side only.
    return int(revoked["completed"]) + int(entry["client"]["connections"])


def _error_warnings(entry: Mapping[str, Any]) -> list[str]:
    found = []
    for name, operation in entry["operations"].items():
        failed = sum(operation["errors"].values())
        if failed:
            share = _percent(failed, failed + operation["completed"])
            codes = ", ".join(f"{code} {count:,}" for code, count in operation["errors"].items())
            unknown = operation["unknown_outcomes"]
            found.append(f"{name}: {share} failed ({codes}); {unknown:,} of them may have been applied")
    if entry["error_text"]:
        found.append(f"the last message of a server that refused a request: {entry['error_text']}")
    thin = {
        name: [PERCENTILE_TITLES[called] for called in operation["response_time_ns"]["insufficient"]]
        for name, operation in entry["operations"].items()
        if operation["completed"] and operation["response_time_ns"]["insufficient"]
    }
    if thin:
        listed = "; ".join(f"{name} {', '.join(called)}" for name, called in thin.items())
        found.append(f"fewer than {percentiles.BEYOND_MIN} values lie beyond these, too few to rely on: {listed}")
    return found


def _percent(part: int, whole: int) -> str:
    """A share to 2 significant digits; all of it and nothing of it only where that is so."""
    share = 100 * part / max(1, whole)
    return "all" if part == whole else f"{share:.2g} %" if share < 99 else f"{min(share, 99.99):.4g} %"


def _consistency_warnings(entry: Mapping[str, Any]) -> list[str]:
    found = []
    ratio = entry["littles_law"]["ratio"]
    if ratio is not None and not LITTLE_MIN <= ratio <= LITTLE_MAX:
        found.append(
            f"throughput x response time is {ratio:.2f} of the clients (Little's law asks for 1): clients were idle, "
            "or the phase was short beside its start and end"
        )
    share = entry["machine"]["cpu_share"]
    if share is not None and share > MACHINE_SHARE_MAX:
        found.append(f"the machine was {100 * share:.0f} % busy: all that runs on it competes for its cores")
    other = entry["machine"]["other_cpu_share"]
    if other is not None and other > OTHER_SHARE_MAX:
        took = f"processes that are neither kvbench nor its servers took {100 * other:.0f} % of the machine's CPU time"
        ours = entry["target"].get("local", True)
        found.append(f"{took}: " + ("end them and run again" if ours else "the target's, if it runs here, or others"))
    steal = entry["machine"]["steal_share"]
    if steal is not None and steal > STEAL_SHARE_MAX:
        found.append(f"the hypervisor gave {100 * steal:.0f} % of the machine's CPU time to others")
    return found


def document(workload: str, kvbench: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A summary.json."""
    return {"schema": SCHEMA, "workload": workload, "kvbench": kvbench, "runs": runs}


def of_artifact(artifact: Artifact, called: str = ".") -> dict[str, Any]:
    """The summary of one artifact: an entry per measured phase."""
    context = artifact.context
    runs = [
        summarize_phase(result, artifact.resource_rows, context, called)
        for name, result in artifact.phases.items()
        if context.is_measured(name)
    ]
    return document(context.workload, context.kvbench, runs)


def of_artifacts(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """The summary of several runs of one workload, by the names of their folders, in the order of their repeats.

    Raises ArtifactError when the workloads differ.
    """
    parts = [of_artifact(artifact, called) for called, artifact in artifacts.items()]
    runs = sorted((run for part in parts for run in part["runs"]), key=lambda run: int(run["repeat"]))
    workloads = list(dict.fromkeys(part["workload"] for part in parts))
    if len(workloads) > 1:
        raise ArtifactError(f"runs of several workloads: {', '.join(workloads)}", "report on each of them alone")
    return document(workloads[0], parts[0]["kvbench"], runs)


def recompute(folder: Path) -> dict[str, Any]:
    """The summary of an artifact's folder, or of a result's folder with several, from their raw files only.

    Raises ArtifactError for a folder without results, or a damaged one.
    """
    return of_artifacts(read_all(folder))


def write_result(folder: Path) -> dict[str, Any]:
    """Write the summary.json of a result's folder from its artifacts, and return it. Raises ArtifactError."""
    content = recompute(folder)
    write_json(folder / schema.SUMMARY, content)
    return content
