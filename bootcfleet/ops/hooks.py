"""Runs the hooks of a rollout: a command here, a command on the host, a webhook."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from bootcfleet.domain.hook import HookContext, fill, fill_url, missing_labels
from bootcfleet.domain.rollout_policy import Hook, HookKind
from bootcfleet.drivers.bootc_faults import printable
from bootcfleet.drivers.command import CommandTimeoutError, Executor, LocalExecutor
from bootcfleet.drivers.webhook import Webhook
from bootcfleet.errors import FleetError, HostError, HostFault

__all__ = ["HookContext", "run_hook"]

#: Lines of output that a failure carries.
_LINES = 10


def run_hook(hook: Hook, context: HookContext, executor: Executor | None) -> None:
    """Run a hook to its end; `executor` is the host's, for a hook that runs there.

    Raises `HostError` where it is one host's (``hook-failed``; a connection that breaks keeps its
    own fault), or else `FleetError`; the last lines of output are its details.
    """
    try:
        if missing := missing_labels(hook, context.labels):
            raise FleetError(
                f"needs the label {missing[0]!r}, which the host does not have",
                hint="give the host that label in the inventory",
            )
        if hook.kind is HookKind.WEBHOOK:
            url = fill_url(hook.url, context.values())
            Webhook(url, timeout=hook.timeout).post(context.to_json())
        elif hook.kind is HookKind.LOCAL:
            here = Path(context.directory) if context.directory else None
            _command(LocalExecutor(env=context.environment(), cwd=here), hook, context)
        elif executor is None:
            raise FleetError("has no host to run on")
        else:
            _command(executor, hook, context)
    except HostError:
        raise
    except FleetError as error:
        what = f"the {context.event} hook" if context.event else "the hook"
        message = f"{what} {_name(hook)}: {error.message}"
        if not context.host:
            raise FleetError(message, hint=error.hint, details=error.details) from error
        raise HostError(
            context.host,
            HostFault.HOOK_FAILED,
            message,
            hint=error.hint,
            details=error.details,
        ) from error


def _name(hook: Hook) -> str:
    """What a hook is called in a message; its words and the path of its URL may be secret."""
    return hook.kind if hook.kind is HookKind.WEBHOOK else hook.argv[0]


def _command(executor: Executor, hook: Hook, context: HookContext) -> None:
    values = context.values()
    argv = [fill(word, values) for word in hook.argv]
    said: deque[str] = deque(maxlen=_LINES)

    def line(_: str, text: str) -> None:
        if shown := printable(text):
            said.append(shown)

    late = f"did not end within {hook.timeout:g} s and was stopped"
    try:
        result = executor.run(
            argv, timeout=hook.timeout, as_root=hook.kind is HookKind.REMOTE, on_line=line
        )
    except CommandTimeoutError as error:
        raise FleetError(late, details=tuple(said)) from error
    except HostError as error:
        if error.fault is HostFault.TIMEOUT:
            raise FleetError(late, details=tuple(said)) from error
        raise
    if not result.ok:
        last = f": {said[-1]}" if said else ""
        raise FleetError(f"ended with exit code {result.exit_code}{last}", details=tuple(said))
