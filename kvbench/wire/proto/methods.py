"""Paths of etcd's gRPC methods, with the messages each takes and gives."""

from typing import Any, NamedTuple

from kvbench.wire.proto import messages


class Method(NamedTuple):
    """One method: what a gRPC channel needs to call it."""

    path: str
    request: Any
    response: Any


RANGE = Method("/etcdserverpb.KV/Range", messages.RangeRequest, messages.RangeResponse)
RANGE_STREAM = Method("/etcdserverpb.KV/RangeStream", messages.RangeRequest, messages.RangeStreamResponse)
PUT = Method("/etcdserverpb.KV/Put", messages.PutRequest, messages.PutResponse)
DELETE_RANGE = Method("/etcdserverpb.KV/DeleteRange", messages.DeleteRangeRequest, messages.DeleteRangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", messages.TxnRequest, messages.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", messages.CompactionRequest, messages.CompactionResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", messages.WatchRequest, messages.WatchResponse)
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", messages.LeaseGrantRequest, messages.LeaseGrantResponse)
LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", messages.LeaseRevokeRequest, messages.LeaseRevokeResponse)
LEASE_KEEP_ALIVE = Method(
    "/etcdserverpb.Lease/LeaseKeepAlive", messages.LeaseKeepAliveRequest, messages.LeaseKeepAliveResponse
)
LEASE_TIME_TO_LIVE = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive", messages.LeaseTimeToLiveRequest, messages.LeaseTimeToLiveResponse
)
LEASE_LEASES = Method("/etcdserverpb.Lease/LeaseLeases", messages.LeaseLeasesRequest, messages.LeaseLeasesResponse)
MEMBER_LIST = Method("/etcdserverpb.Cluster/MemberList", messages.MemberListRequest, messages.MemberListResponse)
ALARM = Method("/etcdserverpb.Maintenance/Alarm", messages.AlarmRequest, messages.AlarmResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", messages.StatusRequest, messages.StatusResponse)
HASH = Method("/etcdserverpb.Maintenance/Hash", messages.HashRequest, messages.HashResponse)
HASH_KV = Method("/etcdserverpb.Maintenance/HashKV", messages.HashKVRequest, messages.HashKVResponse)
SNAPSHOT = Method("/etcdserverpb.Maintenance/Snapshot", messages.SnapshotRequest, messages.SnapshotResponse)
DEFRAGMENT = Method("/etcdserverpb.Maintenance/Defragment", messages.DefragmentRequest, messages.DefragmentResponse)
MOVE_LEADER = Method("/etcdserverpb.Maintenance/MoveLeader", messages.MoveLeaderRequest, messages.MoveLeaderResponse)
HEALTH_CHECK = Method("/grpc.health.v1.Health/Check", messages.HealthCheckRequest, messages.HealthCheckResponse)
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", messages.AuthenticateRequest, messages.AuthenticateResponse)
