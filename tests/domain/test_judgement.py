"""What a host's failure to answer makes of its state."""

from __future__ import annotations

import pytest

from bootcfleet.domain.action import Action, ActionKind
from bootcfleet.domain.judgement import Problem, after_problem
from bootcfleet.domain.rollout import HostPhase, HostState
from bootcfleet.errors import HostFault
from tests.rolloutmaker import BEGAN, a_rollout


@pytest.mark.parametrize("phase", [HostPhase.PENDING, HostPhase.STAGING, HostPhase.STAGED])
def test_a_host_that_is_put_off_says_once_why(phase: HostPhase) -> None:
    problem = Problem(HostFault.UNREACHABLE, "web1 port 22 cannot be reached: no route to host")
    tried = HostState(phase, tries=99)
    state = after_problem(
        a_rollout(), Action(ActionKind.OBSERVE, "web1", "", tried), tried, problem, BEGAN
    )
    assert state.phase is HostPhase.DEFERRED
    assert state.message == problem.message
