"""What a member says on standard error while it runs: what an operator has to know and no client is told."""

import sys
import time

from kvbench.server.end_records import GrpcEnd
from kvbench.server.records import CONNECTED, Figure, Server
from kvbench.wire.peer import PeerError

LOOK_S = 1.0
"""Between two looks."""
AGAIN_S = 10.0
"""Between two lines about the same."""

_STRANGERS: dict[int, str] = {
    PeerError.OTHER_CLUSTER: "it belongs to another cluster or one of another size: are --peers and --cluster-token the"
    " same everywhere?",
    PeerError.NOT_A_MEMBER: "it says that it is this member, or one that there is not: is each --member given once?",
    PeerError.OTHER_FORMAT: "it is another version of kvbench that speaks differently",
}


def say(text: str) -> None:
    """A line on standard error."""
    print(f"kvbench: {text}", file=sys.stderr, flush=True)


class Notices:
    """Looks at a member's figures from time to time."""

    def __init__(self, server: Server, end: GrpcEnd) -> None:
        self._server, self._end = server, end
        self._told = {Figure.TURNED_AWAY: 0, Figure.STRANGERS: 0}
        self._told_s = dict.fromkeys([*self._told, Figure.READY], time.monotonic() - AGAIN_S)
        self._told_s[Figure.READY] += AGAIN_S

    def look(self) -> None:
        """Say what is new since the last look."""
        turned_away = self._new(Figure.TURNED_AWAY)
        if turned_away:
            places = len(self._end.links)
            say(f"{turned_away:,} connections turned away: all {places:,} places are taken (--connections)")
        why = _STRANGERS.get(int(self._server.figures[Figure.STRANGER_CODE]))
        if why and self._new(Figure.STRANGERS):
            say(f"another member was refused: {why}")
        if self._server.figures[Figure.READY] == 0 and self._is_due(Figure.READY):
            others = int((self._server.ways["address_bytes"] > 0).sum()) - 1
            connected = int((self._server.ways["state"] == CONNECTED).sum())
            say(f"not serving yet: {connected} of {others} other members are connected")

    def _new(self, which: Figure) -> int:
        """By how much a counter grew, if that is to be said now."""
        count = int(self._server.figures[which])
        more = count - self._told[which]
        if more == 0 or not self._is_due(which):
            return 0
        self._told[which] = count
        return more

    def _is_due(self, which: Figure) -> bool:
        now = time.monotonic()
        if now - self._told_s[which] < AGAIN_S:
            return False
        self._told_s[which] = now
        return True
