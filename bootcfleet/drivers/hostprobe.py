"""One look at a host for all that a rollout must know before it begins: a single round trip.

The script is a fixed text for any POSIX shell.  It changes nothing, and every part of it may fail:
a tool that is not there is an answer, too.  Its sections are those of `bootc.FACTS_SCRIPT` and more
of the same kind; `domain/hosttruth_read.py` reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from bootcfleet.domain.hosttruth import PULL_DROP_IN, UNITS, HostTruth
from bootcfleet.domain.hosttruth_read import read_truth
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.bootc import FACTS_SCRIPT, MARK, BootcHost, HostFacts, facts_parts
from bootcfleet.drivers.bootc_faults import classify
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import HostError, HostFault

#: Stands first in the script, so that whoever sees it run knows what it is.
TITLE = "# bootcfleet: looks at this host before a rollout; changes nothing"

#: Given in the place of a reference: the one that the host follows itself.
FOLLOWED = "-"

#: ``sh -c SCRIPT sh REFERENCE`` (empty: the registry is left alone).  Its exit code and its
#: standard error are those of ``bootc status``.
#:
#: The credentials are bootc's own: the first of the three files, or none at all (ostree-ext,
#: `globals.rs`: runtime, persistent, system).  skopeo is what bootc pulls with, and it reads the
#: host's registries.conf and certificates: nothing else would ask as bootc will.
SCRIPT = (
    TITLE
    + rf"""
LC_ALL=C; PATH="$PATH:/usr/sbin:/sbin"; export LC_ALL PATH
asked=$1
# What stands before may have no end of its line.
m() {{ printf '\n%s %s\n' '{MARK}' "$1"; }}
within() {{
  if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi
}}
{{
m clock; date +%s.%N
m os; cat /etc/os-release || cat /usr/lib/os-release
m uname; uname -r; uname -m
m uptime; cat /proc/uptime
m zone
readlink /etc/localtime || if [ -e /etc/localtime ]; then
  cat /etc/timezone || timedatectl show -p Timezone --value
else echo UTC; fi
m space
d=/; for s in /sysroot/ostree /sysroot/composefs; do [ -d $s ] && d=/sysroot; done
df -Pk $d
m repo; c=/sysroot/ostree/repo/config; [ -f $c ] && echo ostree && grep -h min-free-space $c
# Since containers-common 6 the image's own policy is below /usr, and one in /etc goes before it.
m policy; p=/etc/containers/policy.json; [ -e $p ] || p=/usr/share/containers/policy.json
head -c 262144 $p
m mounts; grep ' /usr ' /proc/mounts
m lock; head -c 4096 /var/lib/bootcfleet/lock.json
m pull; [ -e {PULL_DROP_IN} ] && echo yes
m bound
for f in /usr/lib/bootc/bound-images.d/*; do [ -f "$f" ] && grep -h '^ *Image *=' "$f"; done
m staged
if [ -e /run/ostree/staged-deployment ]; then
  stat -c %Y /run/ostree/staged-deployment
  within 5 journalctl -b -q --no-pager -n 1 -o short-iso \
    -g 'COMMAND=.*bootc (upgrade|update|switch)|bootc-fetch-apply-updates' _COMM=sudo + _PID=1
fi
m units; within 10 systemctl show --no-pager -p Id -p LoadState -p ActiveState -p UnitFileState \
  {" ".join(UNITS)}
m system; within 10 systemctl is-system-running
m failed; within 10 systemctl list-units --failed --plain --no-legend --no-pager
}} 2>/dev/null
facts=$({FACTS_SCRIPT})
code=$?
printf '%s\n' "$facts"
if [ "$asked" = {FOLLOWED} ]; then
  spec=$(printf '%s' "$facts" | tr -d ' \n' | sed -n 's/.*"spec":{{\(.*\)}},"status":{{.*/\1/p')
  case $spec in
  *'"transport":"registry"'*)
    asked=$(printf '%s' "$spec" | sed -n 's/.*"image":{{"image":"\([^"]*\)".*/\1/p') ;;
  *) asked= ;;
  esac
fi
case $asked in *[!A-Za-z0-9./:@_-]*) asked= ;; esac
if [ -n "$asked" ]; then
  m registry; echo "$asked"
  # A tag beside a digest means nothing to bootc, and skopeo refuses it.
  name=${{asked%@*}}
  if [ "$name" != "$asked" ]; then
    case ${{name##*/}} in *:*) name=${{name%:*}} ;; esac
    asked=$name@${{asked#*@}}
  fi
  auth=--no-creds
  for f in /usr/lib/ostree/auth.json /etc/ostree/auth.json /run/ostree/auth.json; do
    [ -e $f ] && auth=--authfile=$f
  done
  if command -v skopeo >/dev/null; then
    echo '=tool=skopeo'
    {{ {{ within 25 skopeo --command-timeout 20s inspect --raw $auth "docker://$asked" 2>&3
      echo "=code=$?" >&3
    }} | sha256sum | sed 's/ .*//; s/^/=sha256=/' >&3; }} 3>&1
  elif command -v curl >/dev/null; then
    echo '=tool=curl'
    host=${{asked%%/*}}; [ "$host" = docker.io ] && host=registry-1.docker.io
    http=$(curl -sS -m 20 -o /dev/null -w '%{{http_code}}' "https://$host/v2/" 2>&1)
    echo "$http" | sed '$d; s/^=//'; echo "=http=$(echo "$http" | sed -n '$s/.*\(...\)$/\1/p')"
  fi
fi
m clock_end; date +%s.%N
exit $code
"""
)


def probe(
    executor: Executor,
    host: str,
    *,
    reference: ImageRef | str | None = None,
    timeout: float = 120.0,
    wall: Callable[[], float] = time.time,
) -> HostTruth:
    """Everything about a host; `reference` is what its registry is to be asked for (`FOLLOWED`).

    `wall` is this machine's clock, in seconds since the epoch.  A host without a bootc that answers
    has a `problem`, and the rest of the facts still.  Raises `HostError` when it cannot be spoken
    to, or said nothing that is the script's.
    """
    before = wall()
    argv = ["sh", "-c", SCRIPT, "sh", str(reference) if reference else ""]
    try:
        result = executor.run(argv, timeout=timeout, as_root=True)
    except CommandTimeoutError as error:
        raise _late(host, timeout) from error
    except HostError as error:
        if error.fault is HostFault.TIMEOUT:
            raise _late(host, timeout) from error
        raise
    after = wall()
    sections = facts_parts(result.stdout)
    truth = HostTruth(host)
    try:
        truth = _with_facts(truth, BootcHost(executor, host).read_facts(result))
    except HostError as error:
        if "clock" not in sections:
            raise
        truth = HostTruth(host, problem=error)
    truth = read_truth(truth, sections, before=before, after=after)
    if truth.registry is None or truth.registry.ok is not False:
        return truth
    fault, hint = classify(1, truth.registry.message)
    fault = HostFault.REGISTRY if fault is HostFault.COMMAND_FAILED else fault
    return replace(truth, registry=replace(truth.registry, fault=fault, hint=hint))


def facts_of(truth: HostTruth) -> HostFacts | None:
    """The facts as `BootcHost.facts` has them; None where bootc did not answer."""
    if truth.status is None or truth.boot_id is None:
        return None
    return HostFacts(truth.bootc, truth.boot_id, truth.boot_time, truth.status)


def _with_facts(truth: HostTruth, facts: HostFacts) -> HostTruth:
    return HostTruth(
        truth.host,
        facts.status,
        bootc=facts.version,
        boot_id=facts.boot_id,
        boot_time=facts.boot_time,
    )


def _late(host: str, timeout: float) -> HostError:
    """Only ``bootc status`` waits without a limit in the script, for the lock."""
    return HostError(
        host,
        HostFault.LOCK_HELD,
        f"the look at it did not end within {timeout:g} s: another process holds bootc's lock",
        hint="look on the host: ps -C bootc,rpm-ostree,ostree -o pid=,etime=,args=",
    )
