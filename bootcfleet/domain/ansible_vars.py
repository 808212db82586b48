"""What the variables of an Ansible host mean here.

Connection variables become our connection.  Every other plain value becomes a
label where its text can be one, unless its name speaks of a secret: labels are
printed.  All but Ansible's own stay available as ``vars``.
"""

from __future__ import annotations

import getopt
import re
import shlex
from collections.abc import Mapping
from typing import Any

from bootcfleet.domain.inventory import Connection, Host, address_problem, label_problem
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import ConfigError, FleetError

_CONNECTION = {
    "ansible_host": "address",
    "ansible_ssh_host": "address",
    "ansible_port": "port",
    "ansible_ssh_port": "port",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "ansible_ssh_private_key_file": "identity_file",
    "ansible_private_key_file": "identity_file",
    "ansible_become": "become",
    "ansible_ssh_timeout": "connect_timeout",
    "ansible_timeout": "connect_timeout",
}
_SSH_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")

_SECRET = re.compile(
    r"(?:^|_)pass(?:$|_)|passw|passphrase|secret|token|api_?key|private_?key|credential",
    re.IGNORECASE,
)
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})


def host_of(
    file: str, line: int | None, name: str, groups: frozenset[str], variables: Mapping[str, Any]
) -> Host:
    """The host that these variables describe.  Raises `ConfigError`."""

    def wrong(key: str, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(message, file=file, line=line, field=f"{name}.{key}", hint=hint)

    settings: dict[str, Any] = {}
    for key, value in variables.items():
        if key not in _CONNECTION or value is None or value == "":
            continue
        if "{{" in str(value):
            raise wrong(
                key,
                f"{value!r} is a Jinja expression, which is not evaluated here",
                "write the value out",
            )
        setting = _CONNECTION[key]
        try:
            settings[setting] = _setting(setting, value)
        except ValueError as error:
            raise wrong(key, str(error)) from error
    for key in _SSH_ARGUMENTS:
        if jump := proxy_jump(str(variables.get(key) or "")):
            if problem := address_problem(jump):
                raise wrong(key, problem)
            settings["proxy_jump"] = jump
    image: ImageRef | None = None
    if given := variables.get("bootcfleet_image"):
        try:
            image = ImageRef.parse(str(given))
        except FleetError as error:
            raise wrong("bootcfleet_image", error.message, error.hint) from error
    plain = {key: value for key, value in variables.items() if not key.startswith("ansible_")}
    connection = Connection().over(settings)
    checked = str(variables.get("bootcfleet_image_checks", True)).strip().lower() in _TRUE
    return Host(name, groups, _labels(plain), connection, image, (), plain, checked)


def _setting(setting: str, value: Any) -> Any:
    """The value as `Connection` has it.  Raises ValueError that says what is wrong."""
    text = str(value).strip()
    match setting:
        case "port":
            if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
                raise ValueError(f"{value!r} is not a port")
            return int(text)
        case "connect_timeout":
            if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or not float(text):
                raise ValueError(f"{value!r} is not a number of seconds")
            return float(text)
        case "become":
            return text.lower() in _TRUE
        case "address" | "user":
            if problem := address_problem(text):
                raise ValueError(problem)
            return text
        case _:
            return text


def _labels(variables: Mapping[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, value in variables.items():
        if key.startswith("bootcfleet_image") or not isinstance(value, str | int | float):
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not _SECRET.search(key) and label_problem(key, text) is None:
            labels[key] = text
    return labels


def proxy_jump(arguments: str) -> str | None:
    """The jump host among ssh's arguments, as ``ssh -J`` takes it; None where there is none.

    It stands as ``-J host``, as ``-o ProxyJump=host``, or in the older form as
    ``-o ProxyCommand="ssh -W %h:%p host"``.
    """
    try:
        words = shlex.split(arguments)
    except ValueError:
        return None
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        if word.startswith("-J"):
            return word[2:] or following
        option = following if word == "-o" else word.removeprefix("-o")
        match = re.fullmatch(r"(Proxy(?:Jump|Command))\s*[= ]\s*(.+)", option, re.IGNORECASE)
        if match and match[1].lower() == "proxyjump":
            return match[2]
        if match:
            return _jump_of_command(match[2])
    return None


def _jump_of_command(command: str) -> str | None:
    """``ssh -W %h:%p user@host`` as a jump host; other commands cannot be one."""
    try:
        program, *rest = shlex.split(command)
        options, hosts = getopt.gnu_getopt(rest, "46AaCkqTtvxW:p:l:o:i:F:")
    except (ValueError, getopt.GetoptError):
        return None
    given = dict(options)
    if program.rpartition("/")[2] != "ssh" or given.get("-W") != "%h:%p" or len(hosts) != 1:
        return None
    user = f"{given['-l']}@" if "-l" in given and "@" not in hosts[0] else ""
    port = f":{given['-p']}" if "-p" in given else ""
    return f"{user}{hosts[0]}{port}"
