"""Asks a system all questions of its checks in one command, through any executor.

The program below is a fixed text: what users write travels as lines on its
standard input and never becomes part of a command line, so nothing needs
quoting. It is written for any POSIX shell with coreutils, and answers a line
``NUMBER KEY BASE64`` for each thing that it found.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from bootcfleet.domain.checkfacts import Answer, Facts, Question, Said
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import FleetError, HostError, HostFault

#: Bytes of a file or answer that are looked at.
MAX_CONTENT = 1024 * 1024

#: Stands first in the program, so that whoever sees it run knows what it is.
TITLE = "# bootcfleet: asks this system for the facts of its checks; changes nothing"

PROGRAM = (
    TITLE
    + r"""
LC_ALL=C; PATH="$PATH:/usr/sbin:/sbin"; export LC_ALL PATH
# What a shell's profile said before may have no end of its line.
echo
say() { printf '%s\t%s\t' "$n" "$1"; base64 | tr -d '\n'; echo; }
n=0
exec 3<&0 </dev/null
while IFS='	' read -r verb a b c <&3; do
  n=$((n + 1))
  case $verb in
  file)
    if [ -e "$a" ] || [ -L "$a" ]; then
      stat -c '%F|%a|%u|%U|%g|%G' -- "$a" 2>&1 | say itself
      [ -e "$a" ] && stat -L -c '%F|%a|%u|%U|%g|%G' -- "$a" 2>&1 | say through
      [ -L "$a" ] && readlink -- "$a" | say link
    fi ;;
  content) [ -f "$a" ] && head -c MAX_CONTENT -- "$a" 2>/dev/null | say content ;;
  sha256) [ -f "$a" ] && sha256sum -- "$a" 2>/dev/null | cut -d' ' -f1 | tr -d '\\' | say sha256 ;;
  package)
    if command -v rpm >/dev/null; then
      q='%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n'
      found=$(rpm -q --qf "$q" -- "$a" 2>/dev/null) ||
        found=$(rpm -q --whatprovides --qf "$q" -- "$a" 2>/dev/null) || found=
      printf '%s' "$found" | say found
    else echo 'there is no rpm' | say error; fi ;;
  unit)
    if command -v systemctl >/dev/null; then systemctl is-enabled -- "$a" 2>&1 | say enabled
    else echo 'there is no systemctl' | say error; fi ;;
  unitstate)
    systemctl show -p LoadState -p ActiveState -p SubState -- "$a" 2>&1 | say state
    journalctl -q -b -n 1 -o cat "_SYSTEMD_UNIT=$a" 2>/dev/null | say log ;;
  user)
    getent passwd -- "$a" 2>/dev/null | say passwd
    id -Gn -- "$a" 2>/dev/null | say groups ;;
  group) getent group -- "$a" 2>/dev/null | say group ;;
  sysusers)
    for f in /usr/lib/sysusers.d/*.conf /etc/sysusers.d/*.conf; do
      [ -f "$f" ] && cat "$f" | say conf
    done ;;
  listen) for f in tcp tcp6 udp udp6; do cat /proc/net/$f 2>/dev/null | say $f; done ;;
  kargs)
    uname -m | say machine
    for f in /usr/lib/bootc/kargs.d/*.toml; do [ -f "$f" ] && cat "$f" | say toml; done ;;
  cmdline) cat /proc/cmdline | say cmdline ;;
  kernels)
    for f in /usr/lib/modules/*; do [ -d "$f" ] && printf '%s' "${f##*/}" | say kernel; done ;;
  repositories)
    for f in /etc/yum.repos.d/*.repo /etc/yum/repos.d/*.repo /etc/distro.repos.d/*.repo \
      /usr/share/dnf5/repos.d/*.repo; do [ -f "$f" ] && cat "$f" | say repo; done ;;
  http)
    if command -v curl >/dev/null; then
      body=$(mktemp)
      [ "$c" = insecure ] && k=-k || k=
      code=$(curl $k -gsS --noproxy '*' -m "$b" -o "$body" -w '%{http_code}' -- "$a" \
        2>"$body.err") || say error <"$body.err"
      printf '%s' "$code" | say status
      head -c MAX_CONTENT -- "$body" | say body
      rm -f -- "$body" "$body.err"
    elif command -v python3 >/dev/null; then
      python3 -I -c 'import base64, ssl, sys, urllib.error, urllib.request as r
n, url, seconds, tls = sys.argv[1:]
class Stay(r.HTTPRedirectHandler):
    def redirect_request(self, *a): return None
context = ssl.create_default_context()
if tls == "insecure":
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
opener = r.build_opener(r.ProxyHandler({}), Stay, r.HTTPSHandler(context=context))
def say(key, data): print(n, key, base64.b64encode(data).decode(), sep="\t")
try:
    try: answer = opener.open(url, timeout=float(seconds))
    except urllib.error.HTTPError as error: answer = error
    say("status", str(answer.status).encode()); say("body", answer.read(MAX_CONTENT))
except Exception as error: say("error", str(error).encode())' "$n" "$a" "$b" "$c" ||
        echo 'python3 does not work' | say error
    else echo 'there is neither curl nor python3' | say error; fi ;;
  system)
    systemctl is-system-running 2>&1 | say state
    systemctl list-units --failed --plain --no-legend --no-pager 2>&1 | say failed ;;
  esac
done
echo "$n END"
"""
).replace("MAX_CONTENT", str(MAX_CONTENT))


def probe(
    executor: Executor,
    questions: Sequence[Question],
    commands: Sequence[tuple[tuple[str, ...], float]] = (),
    *,
    timeout: float = 120.0,
) -> Facts:
    """Answer the questions, all in one command, and run the commands (words, seconds) after it.

    A system that cannot be asked is no error here: it answers nothing, and the
    facts say why. `timeout` is in seconds, for the questions.
    """
    answers: dict[Question, Answer] = {}
    error = ""
    if questions:
        lines = "".join(
            "\t".join((question.verb, *question.words)) + "\n" for question in questions
        )
        try:
            result = executor.run(
                ["sh", "-c", PROGRAM], stdin=lines.encode(), timeout=timeout, as_root=True
            )
            answers = _parse(result.stdout, questions)
            if f"{len(questions)} END" not in result.stdout.splitlines()[-1:]:
                said = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["nothing"]
                error = f"the system could not be asked (exit code {result.exit_code}): {said[0]}"
        except (HostError, CommandTimeoutError) as failure:
            error = failure.message
    said_by = {}
    for words, seconds in commands:
        said_by[words] = Said(error=error) if error else _run(executor, words, seconds)
    return Facts(answers, said_by, error)


def _run(executor: Executor, words: tuple[str, ...], seconds: float) -> Said:
    try:
        result = executor.run(words, timeout=seconds, as_root=True)
    except CommandTimeoutError:
        return Said(error=f"no end within {seconds:g} s")
    except HostError as error:
        late = error.fault is HostFault.TIMEOUT
        return Said(error=f"no end within {seconds:g} s" if late else error.message)
    except FleetError as error:
        return Said(error=error.message)
    return Said(result.exit_code, result.stdout[:MAX_CONTENT], result.stderr[:MAX_CONTENT])


def _parse(text: str, questions: Sequence[Question]) -> dict[Question, Answer]:
    """The answers by question; a line that is not the probe's is passed over."""
    parts: dict[int, list[tuple[str, bytes]]] = {
        number: [] for number in range(1, len(questions) + 1)
    }
    for line in text.splitlines():
        number, _, rest = line.partition("\t")
        key, tab, data = rest.partition("\t")
        if not tab or not number.isdecimal() or int(number) not in parts:
            continue
        try:
            parts[int(number)].append((key, base64.b64decode(data, validate=True)))
        except binascii.Error:
            continue
    return {
        question: Answer(tuple(parts[number])) for number, question in enumerate(questions, start=1)
    }
