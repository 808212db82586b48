"""Rules about what a build fetches from the network."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Step, Subject, decoded
from bootcfleet.domain.lint.packages import dnf, installs, sets_option

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_GIT_OFF = re.compile(r"http\.sslverify[= ](false|0)", re.I)
_OFF = re.compile(r"^\s*sslverify\s*=\s*(0|no|false)\s*$", re.I)


@rule(
    "BCF209",
    Severity.ERROR,
    "TLS certificates are not checked",
    reason="anybody on the way can answer in the server's place",
    source="curl(1) --insecure; wget(1) --no-check-certificate; dnf.conf(5) sslverify",
    remedy="give the server's CA: ca_certificates of soe, or --cacert",
)
def tls(subject: Subject) -> Iterable[At]:
    """``curl -k``, ``wget --no-check-certificate``, ``sslverify=0``, git's http.sslVerify."""
    for step in subject.steps:
        command = step.command
        off = (
            (step.name == "curl" and command.has("-k", "--insecure"))
            or (step.name == "wget" and command.has("--no-check-certificate"))
            or (dnf(step) is not None and sets_option(step, "sslverify", "0|no|false"))
            or (step.name == "git" and _GIT_OFF.search(_words(step)))
            or any(word.upper().startswith("GIT_SSL_NO_VERIFY=") for word in command.assignments)
            or (step.name in ("pip", "pip3") and command.has("--trusted-host"))
        )
        if off:
            yield At(step.line, f"{step.name} takes any certificate")
    for file in subject.placed:
        if re.match(r"/etc/(yum\.repos\.d|dnf)/", file.path):
            for number, line in enumerate((decoded(file.file) or "").split("\n"), 1):
                if _OFF.match(line):
                    yield At(number, "sslverify is off", file.source)


def _words(step: Step) -> str:
    return " ".join(step.command.words)


_DOWNLOADS = frozenset({"curl", "wget"})
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "python", "python3", "perl"})


@rule(
    "BCF212",
    Severity.ERROR,
    "a script from the network is run unseen",
    reason="whoever holds that server decides what is in the image, today and in every rebuild",
    source="SLSA 1.0, Threats, use of a compromised dependency",
    remedy="put the script into files/, or download it, check its sha256 and run it then",
)
def piped_shell(subject: Subject) -> Iterable[At]:
    """``curl … | bash``, ``bash <(curl …)``, ``sh -c "$(curl …)"``."""
    for run in {step.instruction.line: step.instruction for step in subject.steps}.values():
        steps = [step for step in subject.steps if step.instruction.line == run.line]
        for place, step in enumerate(steps):
            command = step.command
            if step.name in _DOWNLOADS and command.pipe + 1 < command.pipe_length:
                rest = steps[place + 1 : place + command.pipe_length - command.pipe]
                if any(one.name in _SHELLS for one in rest):
                    yield At(step.line, f"what {step.name} gets is run at once")
            elif _runs_network(step):
                yield At(step.line, f"{step.name} runs what it gets from the network")


def _runs_network(step: Step) -> bool:
    if step.name in _SHELLS:
        return re.search(r"(<\(|\$\(|`)\s*(curl|wget)\b", _words(step)) is not None
    reads = step.name in ("source", ".", "eval")
    return reads and re.search(r"\b(curl|wget)\b", _words(step)) is not None


_CHECKS = frozenset(
    {"sha256sum", "sha512sum", "gpg", "gpgv", "cosign", "minisign", "rpmkeys", "openssl"}
)


@rule(
    "BCF213",
    Severity.WARNING,
    "a download that nothing checks",
    reason="a rebuild may get something else from the same address, and nobody would see it",
    source="SLSA 1.0, Threats, use of a compromised dependency; Containerfile(5) ADD --checksum",
    remedy="check it in the same RUN: echo 'SHA256  FILE' | sha256sum -c",
)
def downloads(subject: Subject) -> Iterable[At]:
    """curl and wget into a file without a checksum or signature in the same RUN."""
    for step in subject.steps:
        if step.name not in _DOWNLOADS or not re.search(r"\b(https?|ftp)://", _words(step)):
            continue
        run = subject.same_run(step)
        if any(one.name in _CHECKS for one in run) or "_HEAD" in _words(step):
            continue
        piped = step.command.pipe + 1 < step.command.pipe_length
        into = run[run.index(step) + 1 :][:1]
        if piped and into and into[0].name in _SHELLS:
            continue  # BCF212 says it.
        yield At(step.line, f"nothing proves that {step.name} got what was meant")


@rule(
    "BCF216",
    Severity.WARNING,
    "RPM from an address",
    reason="dnf does not check the signature of a package that is named by URL or path: "
    "localpkg_gpgcheck is off",
    source="dnf.conf(5) localpkg_gpgcheck",
    remedy="take it from a repository; or rpm --import its key and --setopt=localpkg_gpgcheck=1",
)
def remote_rpm(subject: Subject) -> Iterable[At]:
    """``dnf install https://….rpm`` and ``rpm -i https://…``."""
    for step in subject.final_steps:
        words = installs(step) or ()
        if step.name == "rpm" and step.command.has("-i", "-U", "-F", "--install", "--upgrade"):
            words = step.command.operands
        if sets_option(step, "localpkg_gpgcheck", "1|yes|true"):
            continue
        for word in words:
            if re.match(r"(https?|ftp)://", word):
                yield At(step.line, f"nothing proves that {word} is what was meant")
