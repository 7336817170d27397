"""The rare calls of etcd and of what speaks its API, over grpcio."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc

from kvbench.load.admin import AdminError, DeleteProgress, MemberStatus
from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_channels import CredentialsError, explain, open_channel, tls_credentials
from kvbench.wire.proto import messages, methods
from kvbench.wire.proto.methods import Method

DELETE_BATCH = 5_000
"""Keys per DeleteRange: larger ones stall the store, and one for all of millions of keys may not end in time."""


def prefix_end(prefix: bytes) -> bytes:
    """The first key beyond all that begin with ``prefix``; b"\\0" (no end) when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\x00"


class EtcdAdmin:
    """See ``kvbench.load.admin.Admin``. Calls go to the first address that answers."""

    def __init__(self, addresses: Sequence[str], credentials: Credentials, timeout_s: float) -> None:
        self._addresses = list(addresses)
        self._credentials = credentials
        self._timeout_s = timeout_s
        try:
            self._tls = tls_credentials(credentials)
        except CredentialsError as error:
            raise AdminError(error.what, error.remedy) from error
        self._channels: dict[str, grpc.Channel] = {}
        self._token = ""

    def _invoke(self, address: str, method: Method, request: Any) -> Any:
        if address not in self._channels:
            self._channels[address] = open_channel(address, self._tls)
        call = self._channels[address].unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        metadata = (("token", self._token),) if self._token else None
        return call(request, timeout=self._timeout_s, metadata=metadata)

    def _authenticate(self, address: str) -> None:
        """Get a token; a server without authentication needs none."""
        if self._token or not self._credentials.user:
            return
        request = messages.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
        try:
            self._token = self._invoke(address, methods.AUTHENTICATE, request).token
        except grpc.RpcError as error:
            if "authentication is not enabled" not in str(error.details()):
                raise

    def _call_at(self, address: str, method: Method, request: Any) -> Any:
        """Call one member; a token that has expired is got anew, once."""
        self._authenticate(address)
        try:
            return self._invoke(address, method, request)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED or not self._token:
                raise
        self._token = ""
        self._authenticate(address)
        return self._invoke(address, method, request)

    def _call(self, method: Method, request: Any, doing: str) -> Any:
        last: Any = None
        for address in self._addresses:
            try:
                return self._call_at(address, method, request)
            except grpc.RpcError as error:
                last = error
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    break
        raise AdminError(*explain(last, self._addresses, doing, self._credentials.uses_tls)) from last

    def count_keys(self, prefix: str) -> int:
        """How many keys begin with ``prefix``."""
        key = prefix.encode()
        request = messages.RangeRequest(key=key or b"\x00", range_end=prefix_end(key), count_only=True)
        return int(self._call(methods.RANGE, request, f"counting the keys under {prefix!r}").count)

    def prepare_prefix(self, prefix: str) -> tuple[str, ...]:
        """etcd's keys need no parents."""
        return ()

    def delete_prefix(self, prefix: str, progress: DeleteProgress | None = None, created: Sequence[str] = ()) -> int:
        """Delete all keys that begin with ``prefix``, DELETE_BATCH at a time. Raises ValueError for an empty prefix."""
        if not prefix:
            raise ValueError("an empty prefix would delete everything; give the prefix of kvbench's keys")
        key = prefix.encode()
        end = prefix_end(key)
        total = self.count_keys(prefix)
        deleted = 0
        doing = f"deleting the keys under {prefix!r}"
        while True:
            request = messages.RangeRequest(key=key, range_end=end, limit=DELETE_BATCH, keys_only=True)
            found = self._call(methods.RANGE, request, doing)
            if not found.kvs:
                return deleted
            first, last = found.kvs[0].key, found.kvs[-1].key
            batch = messages.DeleteRangeRequest(key=first, range_end=last + b"\x00")
            deleted += int(self._call(methods.DELETE_RANGE, batch, doing).deleted)
            if progress is not None:
                progress(deleted, max(total, deleted))

    def _statuses(self) -> tuple[dict[str, Any], Any]:
        """The status of each address that answers, and the last failure."""
        found: dict[str, Any] = {}
        failure: Any = None
        for address in self._addresses:
            try:
                found[address] = self._call_at(address, methods.STATUS, messages.StatusRequest())
            except grpc.RpcError as error:
                failure = error
        if not found:
            doing = "asking for the status"
            raise AdminError(*explain(failure, self._addresses, doing, self._credentials.uses_tls)) from failure
        return found, failure

    def _member_list(self) -> list[Any]:
        return list(self._call(methods.MEMBER_LIST, messages.MemberListRequest(), "asking for the members").members)

    def status(self) -> list[MemberStatus]:
        """Every member that answers, in the order of the addresses."""
        names = {member.ID: member.name for member in self._member_list()}
        return [
            MemberStatus(
                address=address,
                name=names.get(answer.header.member_id, ""),
                version=answer.version,
                is_leader=answer.header.member_id == answer.leader,
                revision=answer.header.revision,
                data_bytes=answer.dbSize,
            )
            for address, answer in self._statuses()[0].items()
        ]

    def leader_address(self) -> str:
        """host:port of the leader: one of the addresses given if it is among them, else as it announces itself."""
        found, _ = self._statuses()
        for address, answer in found.items():
            if answer.leader and answer.header.member_id == answer.leader:
                return address
        leaders = {answer.leader for answer in found.values()} - {0}
        for member in self._member_list():
            if member.ID in leaders and member.clientURLs:
                return str(urlsplit(member.clientURLs[0]).netloc)
        raise AdminError(
            f"the members at {', '.join(self._addresses)} have no leader",
            "see whether a majority of the members is up",
        )

    def revision(self) -> int:
        """The highest revision that any member has applied."""
        return max(int(answer.header.revision) for answer in self._statuses()[0].values())

    def alarms(self) -> list[str]:
        """Alarms raised, as "NOSPACE at m1"."""
        answer = self._call(methods.ALARM, messages.AlarmRequest(), "asking for alarms")
        raised = [alarm for alarm in answer.alarms if alarm.alarm != messages.NONE]
        names = {member.ID: member.name for member in self._member_list()} if raised else {}
        return [
            f"{messages.AlarmType.Name(alarm.alarm)} at {names.get(alarm.memberID) or format(alarm.memberID, 'x')}"
            for alarm in raised
        ]

    def members(self) -> list[str]:
        """host:port of every member, as it announces itself."""
        return [urlsplit(url).netloc for member in self._member_list() for url in member.clientURLs[:1]]

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
