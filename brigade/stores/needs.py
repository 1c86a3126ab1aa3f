"""The stores that a feature cannot do without. Readiness depends on what all features need. This module opens nothing."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Store = Literal["postgres", "redis"]
STORES: tuple[Store, ...] = get_args(Store)


@dataclass(frozen=True)
class Needs:
    """Groups of stores. At least one store of each group must answer."""

    groups: frozenset[frozenset[Store]]

    def are_met_by(self, answering: Collection[Store]) -> bool:
        return all(not group.isdisjoint(answering) for group in self.groups)

    @classmethod
    def of_all(cls, needs: Iterable["Needs"]) -> "Needs":
        return cls(frozenset(group for each in needs for group in each.groups))


def needs(*stores: Store, one_of: Collection[Store] = ()) -> Needs:
    """Say which stores must answer for a feature to be of use: each of `stores`, and any of `one_of`.

    A feature's module says so as `needed = needs("postgres")`. Without the line it needs both stores.

    Raises:
        ValueError: there is no such store.
    """
    if unknown := {*stores, *one_of} - set(STORES):
        raise ValueError(f"There is no store called {', '.join(sorted(unknown))}: there are {' and '.join(STORES)}.")
    groups = [frozenset({store}) for store in stores] + ([frozenset(one_of)] if one_of else [])
    return Needs(frozenset(groups))


NEEDS_ALL = needs(*STORES)
