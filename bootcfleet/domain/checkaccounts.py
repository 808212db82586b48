"""Users and groups against what a check expects of them."""

from __future__ import annotations

from bootcfleet.domain.checkfacts import Facts, Verb
from bootcfleet.domain.checkkinds import GroupCheck, UserCheck
from bootcfleet.domain.checksystem import Problem, declared


def user_problems(spec: UserCheck, target: str, facts: Facts) -> list[Problem]:
    """What is wrong with a user."""
    answer = facts.get(Verb.USER, target)
    fields = (answer.text("passwd") or "").split(":")
    if spec.absent:
        return [Problem("no such user", f"uid {fields[2]}")] if len(fields) > 6 else []
    if len(fields) < 7:
        return [Problem("the user", "no such user")]
    problems = []
    for what, wanted, found in (
        ("uid", spec.uid, fields[2]),
        ("gid", spec.gid, fields[3]),
        ("home", spec.home, fields[5]),
        ("shell", spec.shell, fields[6]),
    ):
        if wanted is not None and str(wanted) != found:
            problems.append(Problem(f"{what} {wanted}", f"{what} {found}"))
    groups = (answer.text("groups") or "").split()
    if missing := [group for group in spec.groups if group not in groups]:
        problems.append(Problem(f"in {', '.join(missing)}", f"in {', '.join(groups) or 'none'}"))
    return problems + _sysusers("u", spec.sysusers, target, facts)


def group_problems(spec: GroupCheck, target: str, facts: Facts) -> list[Problem]:
    """What is wrong with a group."""
    fields = (facts.get(Verb.GROUP, target).text("group") or "").split(":")
    if spec.absent:
        return [Problem("no such group", f"gid {fields[2]}")] if len(fields) > 2 else []
    if len(fields) < 3:
        return [Problem("the group", "no such group")]
    problems = []
    if spec.gid is not None and str(spec.gid) != fields[2]:
        problems.append(Problem(f"gid {spec.gid}", f"gid {fields[2]}"))
    return problems + _sysusers("g", spec.sysusers, target, facts)


def _sysusers(kind: str, wanted: bool | None, target: str, facts: Facts) -> list[Problem]:
    if wanted is None:
        return []
    found = target in declared(facts.get(Verb.SYSUSERS).all("conf"), kind)
    if found is wanted:
        return []
    words = ("declared in sysusers.d", "not declared in sysusers.d")
    return [Problem(*(words if wanted else words[::-1]))]
