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
    said = _Said()
    late = f"did not end within {hook.timeout:g} s and was stopped"
    try:
        result = executor.run(
            argv, timeout=hook.timeout, as_root=hook.kind is HookKind.REMOTE, on_line=said.line
        )
    except CommandTimeoutError as error:
        raise FleetError(late, details=said.last()) from error
    except HostError as error:
        if error.fault is HostFault.TIMEOUT:
            raise FleetError(late, details=said.last()) from error
        raise
    if not result.ok:
        if not said.last():
            # An executor may tell no lines as they come.
            for name in ("stdout", "stderr"):
                for text in getattr(result, name).splitlines():
                    said.line(name, text)
        last = said.last()
        why = f": {last[-1]}" if last else ""
        raise FleetError(f"ended with exit code {result.exit_code}{why}", details=last)


class _Said:
    """The last lines of a command.

    Its two streams come in no order, so that what it complains of on standard error stands last
    and is cut off last.
    """

    def __init__(self) -> None:
        self._streams = {name: deque[str](maxlen=_LINES) for name in ("stdout", "stderr")}

    def line(self, stream: str, text: str) -> None:
        """Take a line in; called from several threads."""
        if shown := printable(text):
            self._streams[stream].append(shown)

    def last(self) -> tuple[str, ...]:
        """At most `_LINES` lines."""
        out, err = (list(self._streams[name]) for name in ("stdout", "stderr"))
        return tuple([*out, *err][-_LINES:])
