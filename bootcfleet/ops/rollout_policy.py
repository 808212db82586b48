"""Which policy a rollout goes by: the one that is named, the project's default, or our own."""

from __future__ import annotations

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.rollout_spec import DEFAULT
from bootcfleet.errors import UsageError
from bootcfleet.ops.project import LoadedProject


def choose_policy(loaded: LoadedProject | None, name: str | None = None) -> RolloutPolicy:
    """The policy `name` of the project; without a name its ``default``, or what holds without one.

    Raises `UsageError` for a name that the project does not have.
    """
    rollouts = loaded.project.rollouts if loaded is not None else {}
    wanted = DEFAULT if name is None else name
    if wanted in rollouts:
        return rollouts[wanted].policy(wanted)
    if wanted == DEFAULT:
        return RolloutPolicy()
    where = "there is no project here" if loaded is None else "see rollouts: in bootcfleet.yaml"
    raise UsageError(
        f"there is no rollout policy {wanted!r}",
        hint=did_you_mean(wanted, [*rollouts, DEFAULT]) if rollouts else where,
    )
