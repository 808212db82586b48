"""Rules about secrets: whatever is in a layer is everybody's who can pull the image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from bootcfleet.domain.lint.filesystem import written
from bootcfleet.domain.lint.model import (
    CONTAINERFILE,
    At,
    RuleSet,
    Severity,
    Step,
    Subject,
    decoded,
    writes,
)

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|PWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY"
    r"|ACTIVATION_?KEY|CREDENTIALS?)(_[0-9]+)?$",
    re.IGNORECASE,
)


@rule(
    "BCF451",
    Severity.ERROR,
    "secret as ENV or ARG",
    reason="both are in the image's history, where `podman history` shows them",
    source=f"Containerfile(5) ARG; podman-build(1) --secret; {_NOTES} (13)",
    remedy="declare it under `secrets:` and use RUN --mount=type=secret,id=…",
)
def environment(subject: Subject) -> Iterable[At]:
    """By the name of the variable; also build arguments of the project file."""
    for one in subject.containerfile.instructions:
        if one.keyword in ("ENV", "ARG"):
            for name, value in one.pairs():
                if _NAME.search(name) and (value or one.keyword == "ARG") and "/" not in value:
                    yield At(one.line, f"{one.keyword} {name}")
    for name in subject.build_args:
        if _NAME.search(name):
            yield At(subject.last_from, f"build_args: {name}")


#: A private key begins.
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")


@rule(
    "BCF452",
    Severity.ERROR,
    "private key",
    reason="everybody who can pull the image has it, and no later layer takes it away",
    source=f"{_NOTES} (13)",
    remedy="let the host make or fetch it (systemd credentials, certmonger, ACME); for the build, "
    "`secrets:`",
)
def private_keys(subject: Subject) -> Iterable[At]:
    """PEM and OpenPGP private keys, in any file of the context and in the Containerfile."""
    for path, data in _everything(subject):
        for match in PRIVATE_KEY.finditer(data):
            yield At(data[: match.start()].count(b"\n") + 1, "a private key begins here", path)


def _everything(subject: Subject) -> Iterator[tuple[str, bytes]]:
    yield CONTAINERFILE, subject.rendered.containerfile.encode("utf-8", "surrogateescape")
    for path, file in subject.files.items():
        yield path, file.data


#: Tokens whose form says what they are.
TOKENS = (
    ("AWS access key", rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("GitHub token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    ("GitLab token", rb"\bgl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,}"),
    ("Slack token", rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    ("Google API key", rb"\bAIza[0-9A-Za-z_-]{35}"),
    ("Docker Hub token", rb"\bdckr_pat_[A-Za-z0-9_-]{20,}"),
    ("npm token", rb"\bnpm_[A-Za-z0-9]{36}\b"),
    ("PyPI token", rb"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
    ("Vault token", rb"\bhvs\.[A-Za-z0-9_-]{24,}"),
    ("Stripe key", rb"\b[sr]k_live_[0-9A-Za-z]{20,}"),
)
#: A URL with user and password (its groups).
PASSWORD_URL = re.compile(
    rb"\b[a-z][a-z0-9+.-]{1,20}://([^/\s:@\"'<>]{1,80}):([^/\s:@\"'<>]{1,200})@", re.I
)
#: Words that stand for a password.
PLACEHOLDER = re.compile(r"[$%{<*]|^(x+|\.+|pass(word)?|secret|changeme|user|token)$", re.I)


@rule(
    "BCF453",
    Severity.ERROR,
    "token, or password in a URL",
    reason="everybody who can pull the image can use it",
    source="formats as their services document them; RFC 3986 userinfo",
    remedy="make a new one, for this one is known; give it to the build as a secret, or to the "
    "host by systemd credentials",
)
def tokens(subject: Subject) -> Iterable[At]:
    """Known forms of tokens, and URLs with user and password."""
    for path, data in _everything(subject):
        if b"\0" in data:
            continue
        for what, pattern in TOKENS:
            for match in re.finditer(pattern, data):
                yield At(data[: match.start()].count(b"\n") + 1, f"it looks like a {what}", path)
        for match in PASSWORD_URL.finditer(data):
            if not PLACEHOLDER.search(match[2].decode("utf-8", "replace")):
                line = data[: match.start()].count(b"\n") + 1
                yield At(line, "a URL has a password in it", path)


_SETTING = re.compile(
    r"""^\s*(?:export\s+|Environment=["']?|-\s+)?["']?([\w.-]*?(?:password|passwd|passphrase|secret
    |token|api[_-]?key|psk|pwd))["']?\s*([=:])\s*(["']?)([^\s"'#;,]{4,})\3["']?\s*[,;]?\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_SECRET = re.compile(
    r"[$<%{@/\[(*]|^(yes|no|true|false|none|null|ask|prompt|required|optional|disabled|enabled|never"
    r"|always|default|system|files|file:.*|sha\d+|md5|crypt|scram-.*|\d+)",
    re.IGNORECASE,
)
_CODE = re.compile(r"\.(html?|js|css|md|svg|py|rb|go|c|h|txt|po)$")


@rule(
    "BCF454",
    Severity.WARNING,
    "setting that looks like a password",
    reason="everybody who can pull the image can read it, and all hosts share it",
    source=f"{_NOTES} (13)",
    remedy="read it from a file of the host or a systemd credential; suppress the finding with the "
    "reason when it is none",
)
def settings(subject: Subject) -> Iterable[At]:
    """``password = value`` in settings and what a RUN writes; ``:`` only in YAML and JSON."""
    for step in subject.steps:
        if step.name in ("echo", "printf", "cat") and (list(writes(step)) or _piped(step)):
            for word in (*step.command.arguments, *step.command.heredoc.split("\n")):
                for line in word.replace("\\n", "\n").split("\n"):
                    match = _SETTING.match(line)
                    if match and match[2] == "=" and not _NO_SECRET.match(match[4]):
                        yield At(step.line, f"{match[1]} has a value")
    for path, file in subject.files.items():
        if _CODE.search(path):
            continue
        colon = path.endswith((".yaml", ".yml", ".json"))
        for number, line in enumerate((decoded(file) or "").split("\n"), 1):
            match = _SETTING.match(line)
            if match and (match[2] == "=" or colon) and not _NO_SECRET.match(match[4]):
                yield At(number, f"{match[1]} has a value", path)


def _piped(step: Step) -> bool:
    return step.command.pipe + 1 < step.command.pipe_length


@rule(
    "BCF455",
    Severity.WARNING,
    "file that is named like a secret",
    reason="keys, keyrings and password stores have such names; it is in a layer or its build's "
    "context",
    source="names of OpenSSH, OpenSSL, GnuPG, kubectl, curl and Java's keytool",
    remedy="keep it out of files/; give it to the build as a secret",
)
def names(subject: Subject) -> Iterable[At]:
    """Private keys of SSH, PKCS#12, keytabs, .netrc, kubeconfig, .env."""
    pattern = re.compile(
        r"(^|/)(id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.my\.cnf|\.env|\.git-credentials|kubeconfig"
        r"|\.htpasswd|krb5\.keytab|\.aws/credentials|\.vault-token)$"
        r"|\.(p12|pfx|jks|keytab|kdbx|ppk|keystore)$"
    )
    for path in subject.files:
        if pattern.search(path):
            yield At(1, "its name is that of a secret", path)


_AUTH = re.compile(r"(^|/)(auth\.json|\.dockercfg|\.docker/config\.json)$")


def _has_credentials(text: str) -> bool:
    try:
        body: Any = json.loads(text)
    except ValueError:
        return False
    auths = body.get("auths", body) if isinstance(body, dict) else {}
    if not isinstance(auths, dict):
        return False
    return any(
        isinstance(one, dict) and any(one.get(key) for key in ("auth", "password", "identitytoken"))
        for one in auths.values()
    )


@rule(
    "BCF456",
    Severity.ERROR,
    "registry credentials in the build context",
    reason="they are in git, and in a layer that everybody who pulls the image can read",
    source=f"containers-auth.json(5); {_NOTES} (15)",
    remedy="give each host its own /etc/ostree/auth.json; or mount it as a secret and install it "
    "with mode 0600, knowing who can pull",
)
def pull_secret(subject: Subject) -> Iterable[At]:
    """auth.json and its like with an entry; an empty one ({}) is for credential helpers."""
    for path, file in subject.files.items():
        target = next((one.path for one in subject.placed if one.source == path), path)
        if (_AUTH.search(path) or _AUTH.search(target)) and _has_credentials(decoded(file) or ""):
            yield At(1, "it holds credentials of a registry", path)


@rule(
    "BCF457",
    Severity.ERROR,
    "pull secret that everybody on the host can read",
    reason="any service or user of the host can pull, or push, with it",
    source=f"bootc documentation, Secrets; {_NOTES} (15)",
    remedy="chmod 0600 in the same RUN, or install -m 0600",
)
def pull_secret_mode(subject: Subject) -> Iterable[At]:
    """A RUN that writes auth.json without giving it 0600."""
    for step in subject.final_steps:
        for path in writes(step):
            if not re.search(r"/auth\.json$", path) or path.startswith(("/run/", "/tmp/")):  # noqa: S108
                continue
            run = subject.same_run(step)
            tight = step.name == "install" and (step.command.value("-m", "--mode") or "") in (
                "600", "0600", "400", "0400",
            )  # fmt: skip
            for one in run:
                if one.name == "chmod" and path in one.command.operands[1:]:
                    tight = (
                        re.fullmatch(r"0?[46]00|go=|u=rw,go=", one.command.operands[0]) is not None
                    )
                if one.name == "umask" and one.command.operands[:1] in (("077",), ("0077",)):
                    tight = True
            if not tight:
                yield At(step.line, f"{path} is not given mode 0600")


@rule(
    "BCF458",
    Severity.ERROR,
    "the builder's entitlement in the image",
    reason="whoever pulls the image can use the subscription with its certificates and id",
    source=f"{_NOTES} (25); subscription-manager(8)",
    remedy="mount them as secrets (build_secrets), outside of the layer",
)
def entitlement(subject: Subject) -> Iterable[At]:
    """Files below /etc/pki/entitlement, /etc/pki/consumer, /etc/rhsm-host, /var/lib/rhsm."""
    pattern = re.compile(
        r"/etc/(pki/(entitlement|consumer)(-host)?|rhsm-host)(/.*)?|/var/lib/rhsm(/.*)?"
        r"|/etc/yum\.repos\.d/redhat\.repo"
    )
    for path, at in written(subject):
        if pattern.fullmatch(path.rstrip("/")):
            yield at


@rule(
    "BCF459",
    Severity.ERROR,
    "a secret is copied out of its mount",
    reason="the mount keeps it out of the layer; the copy is in it",
    source=f"podman-build(1) --secret; {_NOTES} (13), (25)",
    remedy="read it where it is mounted; remove what a program leaves behind in the same RUN",
)
def copied_secret(subject: Subject) -> Iterable[At]:
    """A command that names the mount and writes a file that stays; pull secrets are BCF457's."""
    for step in subject.final_steps:
        targets = [
            mount.get("target") or mount.get("dst") or f"/run/secrets/{mount.get('id', '')}"
            for mount in step.instruction.mounts()
            if mount.get("type") == "secret"
        ]
        reads = [
            target
            for target in targets
            if any(target in word for word in step.command.arguments)
            or any(one.operator == "<" and one.target == target for one in step.command.redirects)
        ]
        if not reads or step.name not in ("cp", "install", "mv", "cat", "tee", "dd", "base64"):
            continue
        removed = {
            word
            for one in subject.same_run(step)
            if one.name in ("rm", "shred")
            for word in one.command.operands
        }
        for path in writes(step):
            stays = not path.startswith(("/run/", "/tmp/", "/dev/")) and path not in removed  # noqa: S108
            if stays and not path.endswith("/auth.json"):
                yield At(step.line, f"{reads[0]} is written to {path}")


_OPTION = re.compile(
    r"--?(password|passwd|pass|passphrase|token|secret|api-?key|activation-?key|auth-?token)",
    re.IGNORECASE,
)


@rule(
    "BCF460",
    Severity.ERROR,
    "secret on a command line",
    reason="the command is in the image's history, and in the log of every build",
    source=f"podman-history(1); {_NOTES} (13), (25)",
    remedy='read it from a secret\'s mount: --password-file, or "$(cat /run/NAME)"',
)
def command_line(subject: Subject) -> Iterable[At]:
    """``--password=value``, ``--activationkey value`` with the value itself."""
    for step in subject.steps:
        words = step.command.arguments
        for place, word in enumerate(words):
            option, equals, value = word.partition("=")
            if not _OPTION.fullmatch(option):
                continue
            if not equals:
                value = words[place + 1] if place + 1 < len(words) else ""
            if value and not value.startswith(("-", "$", "`", "/", "@", "<")):
                yield At(step.line, f"{step.name} gets {option} with its value")
