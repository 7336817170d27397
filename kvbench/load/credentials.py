"""How to reach a target that asks who is there."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """TLS files (PEM) and a user. Everything empty: plain text and nobody in particular."""

    ca: str = ""
    """File of the authority that signed the servers' certificates; empty with ``cert`` set: the system's own."""
    cert: str = ""
    """File of the client's certificate."""
    key: str = ""
    """File of the client's private key."""
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    """Use TLS with the system's authorities although no file is named."""

    @property
    def uses_tls(self) -> bool:
        """Whether connections are TLS."""
        return self.tls or bool(self.ca or self.cert or self.key)
