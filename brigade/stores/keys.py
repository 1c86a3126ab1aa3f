"""The only place that makes keys of Redis: each carries the deployment's name, so that neighbours never share one."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys. `deployment` may hold any characters; braces in it are no hash tag."""

    deployment: str

    @property
    def prefix(self) -> str:
        """The prefix of keys that may be on any server of a cluster. Compute it once for many keys."""
        return f"{quote(self.deployment, safe='')}:"

    def tagged(self, group: str, *parts: str) -> str:
        """A key of a group, whose keys all lie on one server of a cluster, so that one script can reach them."""
        return ":".join((f"{{{self.prefix}{group}}}", *parts))
