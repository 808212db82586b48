"""How a rollout may go: waves, budgets, windows, time limits, health, and what failures lead to.

Plain data: it is read from ``rollouts:`` of the project (`domain/rollout_spec.py`), laid over
by options of the command line, and kept whole in the rollout's journal, so that a resumed
rollout goes on by the policy that it was begun with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.window import Windows


class OnFailure(StrEnum):
    """What becomes of a host whose health checks failed after its update."""

    #: ``bootc rollback``, reboot, verified.
    ROLLBACK = "rollback"
    #: ``bootc rollback``, and the next reboot is left to the admin.
    QUEUE = "queue-rollback"
    #: Nothing: it stays on the new image.
    LEAVE = "leave"


class OnHalt(StrEnum):
    """What becomes of the hosts that were updated well, when the rollout halts."""

    LEAVE = "leave"
    #: They go back too, newest wave first.
    ROLLBACK = "rollback"


class Download(StrEnum):
    """When the hosts of later waves download."""

    #: When their wave starts.
    WAVE = "wave"
    #: All at once, when the rollout starts; the windows are for reboots alone.
    AHEAD = "ahead"


class SoftReboot(StrEnum):
    """Whether a reboot may be one of userspace alone (systemd's soft-reboot)."""

    NEVER = "never"
    #: Where the host says that the staged deployment can be.
    AUTO = "auto"


class HealthKind(StrEnum):
    """What a health rule asks."""

    #: ``systemctl is-system-running``; `allow` names failed units that do not count.
    SYSTEM = "system"
    #: greenboot's verdict, where it is installed.
    GREENBOOT = "greenboot"
    #: An HTTP GET from the controller: `url` with {host} and {address}, `status` expected.
    HTTP = "http"
    #: A TCP connection from the controller to `port`.
    TCP = "tcp"
    #: A command on the host, with exit code 0.
    COMMAND = "command"


@dataclass(frozen=True)
class HealthRule:
    """One more thing that must hold on a host after its reboot.

    It is tried `retries` times more after the first failure, `interval` seconds apart;
    `timeout` is in seconds, for each try.
    """

    kind: HealthKind
    name: str = ""
    allow: tuple[str, ...] = ()
    url: str = ""
    status: tuple[int, ...] = (200,)
    port: int = 0
    argv: tuple[str, ...] = ()
    timeout: float = 10.0
    retries: int = 10
    interval: float = 3.0


@dataclass(frozen=True)
class MetricGate:
    """A Prometheus query that must hold before a wave starts and while it bakes.

    `server` is the base URL; every sample that `query` returns must satisfy `compare`
    (one of ``<``, ``<=``, ``>``, ``>=``, ``==``, ``!=``) with `threshold`.  No sample at all holds
    only with `empty_ok`.  `interval` is in seconds, between two questions while it bakes.
    """

    name: str
    server: str
    query: str
    compare: str
    threshold: float
    empty_ok: bool = False
    interval: float = 30.0
    timeout: float = 10.0


class HookKind(StrEnum):
    """Where a hook runs."""

    #: A command on the controller.
    LOCAL = "local"
    #: A command on the host, as root.
    REMOTE = "remote"
    #: An HTTP POST of JSON.
    WEBHOOK = "webhook"


@dataclass(frozen=True)
class Hook:
    """Something to be done around a host's reboot, or between waves.

    Words of `argv` and `url` may have {host}, {address}, {rollout}, {wave} and
    ``{label.NAME}`` in them.  `timeout` is in seconds.
    """

    kind: HookKind
    argv: tuple[str, ...] = ()
    url: str = ""
    timeout: float = 300.0


class NotifyForm(StrEnum):
    """What the body of a webhook looks like."""

    #: The event as an object: `domain/notify.py`.
    JSON = "json"
    #: An incoming webhook of Slack.
    SLACK = "slack"
    #: An incoming webhook of Mattermost.
    MATTERMOST = "mattermost"


class NotifyEvent(StrEnum):
    """What somebody may want to be told of."""

    STARTED = "started"
    WAVE_FINISHED = "wave-finished"
    #: A wave waits for ``rollout approve``.
    APPROVAL = "approval"
    HALTED = "halted"
    HOST_FAILED = "host-failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class NotifyTarget:
    """A webhook, and what it is told.

    One of `url` and `url_env` is set; `url_env` and `token_env` name environment variables of the
    controller, so that no secret comes into the journal.  The token goes as a bearer token.
    Without `events` it is told of all of them.
    """

    form: NotifyForm = NotifyForm.JSON
    url: str = ""
    url_env: str = ""
    token_env: str = ""
    events: tuple[NotifyEvent, ...] = ()


@dataclass(frozen=True)
class WaveRule:
    """A wave of the policy: who is in it, and what its end must look like.

    `selector`, `groups` and `hosts` (names and globs) are as on the command line; without any of
    them it is all hosts that are in no earlier wave.  `limit` counts the hosts that are chosen so
    in the whole rollout.  `success` is the least percentage of its hosts that must end well;
    `bake` is in seconds.  `approve`: it starts only after ``rollout approve``.  `before` and
    `after` are hooks on the controller.
    """

    name: str = ""
    selector: str = ""
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    limit: Limit | None = None
    success: int | None = None
    bake: float | None = None
    approve: bool = False
    before: Hook | None = None
    after: Hook | None = None


@dataclass(frozen=True)
class Timeouts:
    """Time limits of a host's phases, in seconds.

    `boot` is generous because servers with much memory test it for minutes;
    `settle` is for a system that answers while it still starts.  `offline` is how long a
    rollout stays open for hosts that cannot be reached.
    """

    stage: float = 1800.0
    boot: float = 900.0
    settle: float = 300.0
    hook: float = 300.0
    offline: float = 0.0


@dataclass(frozen=True)
class Retries:
    """How transient failures are tried again: `attempts` more, from `first` to `most` seconds."""

    attempts: int = 3
    first: float = 5.0
    most: float = 300.0


@dataclass(frozen=True)
class Budgets:
    """How many hosts may be away or at work at once; None is no limit.

    `max_unavailable` counts hosts that are being rebooted or checked, that did not come back,
    or are unhealthy.  `per_group` is the same within each value of each label of `group_by`.
    `downloads` and `reboots` are of all hosts, `downloads_per` within each value of a label
    (one registry mirror a site).
    """

    max_failures: Limit = field(default_factory=lambda: Limit(0))
    max_unavailable: Limit | None = None
    group_by: tuple[str, ...] = ()
    per_group: Limit | None = None
    downloads: int | None = None
    reboots: int | None = None
    downloads_label: str | None = None
    downloads_per: int | None = None
    reboots_label: str | None = None
    reboots_per: int | None = None


@dataclass(frozen=True)
class RolloutPolicy:
    """Everything above together.

    Without `waves`, `canary` hosts go first and then `batch` at a time; with them, who is in
    none of them goes last, in steps of `batch`.  A failed canary (the first wave of the two) always
    halts.  With `exclusive` (blue-green) each host must be chosen by exactly one of `waves`.
    """

    name: str = "default"
    canary: Limit | None = field(default_factory=lambda: Limit(1))
    batch: Limit = field(default_factory=lambda: Limit(25, percent=True))
    waves: tuple[WaveRule, ...] = ()
    #: Least percentage of a wave's hosts that must end well; None leaves it to `max_failures`.
    success: int | None = None
    bake: float = 0.0
    budgets: Budgets = field(default_factory=Budgets)
    windows: Windows = field(default_factory=Windows)
    download: Download = Download.WAVE
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    health: tuple[HealthRule, ...] = ()
    gates: tuple[MetricGate, ...] = ()
    on_failure: OnFailure = OnFailure.ROLLBACK
    on_halt: OnHalt = OnHalt.LEAVE
    soft_reboot: SoftReboot = SoftReboot.NEVER
    drain: tuple[Hook, ...] = ()
    undrain: tuple[Hook, ...] = ()
    #: Webhooks that are told how it goes; see `domain/notify.py`.
    notify: tuple[NotifyTarget, ...] = ()
    exclusive: bool = False
