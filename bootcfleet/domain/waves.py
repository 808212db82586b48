"""The waves of a rollout: which hosts move together, and what must hold before the next.

A wave is a set of hosts that move together; the next one starts when every host
of the last has ended.  Without rules in the policy the first is the canary.  Windows and
budgets put further limits on the hosts of a wave (`domain/window.py`, `domain/budget.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import Hook, RolloutPolicy, WaveRule
from bootcfleet.domain.selector import Selector
from bootcfleet.errors import UsageError


@dataclass(frozen=True)
class Wave:
    """Hosts that move together.

    `canary` marks the first of a policy without rules, which may not fail at all.  `rule` is the
    name of the rule that it comes from; `success` (percent, None for no threshold), `bake`
    (seconds), `approve` and the hooks are as in `WaveRule`, with the policy's own values where
    the rule says nothing.
    """

    number: int
    hosts: tuple[str, ...]
    canary: bool = False
    rule: str = ""
    success: int | None = None
    bake: float = 0.0
    approve: bool = False
    before: Hook | None = None
    after: Hook | None = None

    @property
    def title(self) -> str:
        """``canary``, ``wave 2`` or ``wave 2 (databases)``."""
        if self.canary:
            return "canary"
        return f"wave {self.number} ({self.rule})" if self.rule else f"wave {self.number}"


def plan_waves(hosts: Sequence[Host] | Sequence[str], policy: RolloutPolicy) -> tuple[Wave, ...]:
    """Divide `hosts`, in their order, into the waves that the policy's rules name, and batches.

    Percentages are of all hosts of the rollout that a rule chooses (of all hosts for canary and
    batch), never of what is left, so that the size of a wave can be told beforehand.  A wave
    that would be empty is none.  Every host is in exactly one wave.

    Raises `UsageError` for a selector that does not parse, and with `exclusive` for hosts that
    none or several of the rules choose.
    """
    known = [host if isinstance(host, Host) else Host(host) for host in hosts]
    plain = Wave(0, (), success=policy.success, bake=policy.bake)
    if not policy.waves:
        names = [host.name for host in known]
        return _batches(names, len(names), policy.canary, policy.batch, plain)
    return _by_rules(known, policy, plain)


def unmet_rules(waves: Sequence[Wave], hosts: Sequence[Host], policy: RolloutPolicy) -> list[str]:
    """The rules that choose none of the hosts in `waves`, by name or else by their selector.

    `hosts` are at least those of the waves.  A wave that is left out may be meant so, or a typing
    error that lets its canaries go with everybody else.
    """
    moving = {name for wave in waves for name in wave.hosts}
    known = [host for host in hosts if host.name in moving]
    return [
        rule.name or ", ".join(filter(None, (rule.selector, *rule.groups, *rule.hosts)))
        for rule in policy.waves
        if known and not _chosen(known, rule)
    ]


def _by_rules(hosts: Sequence[Host], policy: RolloutPolicy, plain: Wave) -> tuple[Wave, ...]:
    waves: list[Wave] = []
    # A dictionary keeps the order and takes out of its middle at once.
    rest = {host.name: host for host in hosts}
    chosen = [_chosen(hosts, rule) for rule in policy.waves]
    if policy.exclusive:
        _refuse_neither_and_both(hosts, policy.waves, chosen)
    for rule, names in zip(policy.waves, chosen, strict=True):
        free = [name for name in names if name in rest]
        if rule.limit is not None:
            free = free[: rule.limit.of(len(names))]
        if not free:
            continue
        for name in free:
            del rest[name]
        waves.append(
            Wave(
                len(waves) + 1,
                tuple(free),
                rule=rule.name,
                success=policy.success if rule.success is None else rule.success,
                bake=policy.bake if rule.bake is None else rule.bake,
                approve=rule.approve,
                before=rule.before,
                after=rule.after,
            )
        )
    return (*waves, *_batches(list(rest), len(hosts), None, policy.batch, plain, len(waves)))


def _chosen(hosts: Sequence[Host], rule: WaveRule) -> list[str]:
    """All hosts of the rollout that a rule chooses, whatever earlier rules took."""
    labels = [rule.selector] if rule.selector.strip() else []
    selector = Selector.parse(labels, rule.groups, rule.hosts)
    return [host.name for host in hosts if selector.matches(host)]


def _refuse_neither_and_both(
    hosts: Sequence[Host], rules: Sequence[WaveRule], chosen: Sequence[Sequence[str]]
) -> None:
    found: dict[str, list[str]] = {host.name: [] for host in hosts}
    for rule, names in zip(rules, chosen, strict=True):
        for name in names:
            found[name].append(rule.name)
    bad = [
        f"{name} is in {' and '.join(sets) if sets else 'neither of the sets'}"
        for name, sets in found.items()
        if len(sets) != 1
    ]
    if bad:
        noun = "host is" if len(bad) == 1 else "hosts are"
        sets = " and ".join(rule.name for rule in rules)
        raise UsageError(
            f"{len(bad)} {noun} not in exactly one of the sets {sets}",
            hint="correct their labels or the selectors of blue_green, or leave these hosts out "
            "of the selection",
            details=bad,
        )
    for rule, names in zip(rules, chosen, strict=True):
        if hosts and not names:
            raise UsageError(
                f"no host of the selection is in the set {rule.name}: nothing could be switched "
                "over",
                hint="select the hosts of both sets, or use another policy: --policy NAME",
            )


def _batches(
    names: Sequence[str],
    total: int,
    canary: Limit | None,
    batch: Limit,
    plain: Wave,
    before: int = 0,
) -> tuple[Wave, ...]:
    """A canary, unless it would be everyone, and the others in steps; numbers go on from `before`.

    Percentages are of `total`.
    """
    waves: list[Wave] = []
    start = 0
    if canary is not None and len(names) > 1 and canary.of(total) < len(names):
        start = canary.of(total)
        waves.append(replace(plain, number=before + 1, hosts=tuple(names[:start]), canary=True))
    size = batch.of(total)
    for first in range(start, len(names), size):
        number = before + len(waves) + 1
        waves.append(replace(plain, number=number, hosts=tuple(names[first : first + size])))
    return tuple(waves)
