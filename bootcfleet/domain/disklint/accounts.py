"""Rules about users and groups."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.disklint.model import At, DiskRules, Subject, named, text
from bootcfleet.domain.disktype import Backend
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

#: What osbuild takes for a hash; everything else is hashed as if it were a password.
_KNOWN_HASHES = ("$2b$", "$5$", "$6$")
_LOOKS_HASHED = ("$1$", "$2a$", "$2y$", "$y$", "$7$", "$gy$", "$sha1$", "$argon2")
_ROOT_ON_ISO = {"name", "password", "key"}


@RULES.add(
    "DSK401",
    Severity.ERROR,
    "root's key without root's home",
    reason="the builder writes the key below the home, and /root cannot be written: in bootc "
    "images it is a link to /var/roothome",
    source='bootc-image-builder, test_build_disk.py: "cannot use default /root as is"',
    remedy='write home = "/var/roothome"',
)
def root_home(subject: Subject) -> Iterable[At]:
    """Root's key on a disk, with another home."""
    if not subject.disks or subject.backend is Backend.BOOTC_INSTALL:
        return
    for path, user in subject.tables("user"):
        if user.get("name") != "root" or not text(user, "key"):
            continue
        home = text(user, "home").rstrip("/")
        if not home:
            yield At(path, 'root needs home = "/var/roothome" on a disk')
        elif home != "/var/roothome":
            yield At((*path, "home"), f"root's home is /var/roothome on a disk, not {home}")


@RULES.add(
    "DSK402",
    Severity.ERROR,
    "root with more than password and key on an ISO",
    reason="Anaconda's rootpw and sshkey are all that there is for root",
    source="osbuild kickstart: root may only have password and key",
    remedy="keep name, password and key; use a disk of its own for what disks need",
)
def root_on_iso(subject: Subject) -> Iterable[At]:
    """Further keys of root on an installer."""
    if not subject.isos:
        return
    for path, user in subject.tables("user"):
        if user.get("name") == "root":
            for key in user:
                if key not in _ROOT_ON_ISO:
                    yield At(
                        (*path, key), f"{named(subject.isos)} takes only root's password and key"
                    )


@RULES.add(
    "DSK403",
    Severity.WARNING,
    "password in plain",
    reason="it is readable in this file, in its history and in the builder's manifest",
    source="osbuild/blueprint CryptPasswords hashes it only in the builder",
    remedy="write the hash that `openssl passwd -6` prints, or use a key",
)
def plain_password(subject: Subject) -> Iterable[At]:
    """Passwords that are not hashed.  The password is never repeated."""
    for path, user in subject.tables("user"):
        password = text(user, "password")
        if password and not password.startswith((*_KNOWN_HASHES, *_LOOKS_HASHED, "!", "*")):
            yield At((*path, "password"), "is a password in plain text")


@RULES.add(
    "DSK404",
    Severity.ERROR,
    "hash that the builder takes for a password",
    reason="osbuild knows $2b$, $5$ and $6$; it hashes any other text, so that the hash itself "
    "becomes the password",
    source="osbuild crypt.PasswordIsCrypted",
    remedy="write the hash that `openssl passwd -6` prints",
)
def unknown_hash(subject: Subject) -> Iterable[At]:
    """Hashes such as yescrypt's, and locks."""
    for path, user in subject.tables("user"):
        password = text(user, "password")
        if password.startswith(_LOOKS_HASHED):
            kind = password[: password.index("$", 1) + 1] if "$" in password[1:] else password[:4]
            yield At((*path, "password"), f"a hash with {kind} is hashed once more: nobody gets in")
        elif password.startswith(("!", "*")):
            message = "does not lock the account: it becomes the password"
            yield At((*path, "password"), message, remedy="leave password out: there is none then")


@RULES.add(
    "DSK405",
    Severity.ERROR,
    "account or group that stands twice",
    reason="the second is made of the same name again, and the build stops or changes the first",
    source='osbuild/blueprint: "duplicate group name", "duplicate group ID"; org.osbuild.users',
    remedy="write it once",
)
def duplicates(subject: Subject) -> Iterable[At]:
    """Names that stand twice, and empty ones."""
    for kind in ("user", "group"):
        seen: set[str] = set()
        for path, one in subject.tables(kind):
            name = one.get("name")
            if name == "":
                yield At((*path, "name"), "is empty")
            elif isinstance(name, str):
                if name in seen:
                    yield At((*path, "name"), f"there is a {kind} {name!r} already")
                seen.add(name)
    numbers: set[int] = set()
    for path, one in subject.tables("group"):
        number = one.get("gid")
        if isinstance(number, int):
            if number in numbers:
                yield At((*path, "gid"), f"there is a group {number} already")
            numbers.add(number)


@RULES.add(
    "DSK406",
    Severity.WARNING,
    "account that nobody can log in to",
    reason="without password and key it only runs services, for which the image should make it",
    source="bootc documentation, Users and groups",
    remedy="add a key, or make it in the image with sysusers.d",
)
def no_login(subject: Subject) -> Iterable[At]:
    """Accounts without password and key."""
    for path, user in subject.tables("user"):
        if text(user, "name") and not text(user, "password") and not text(user, "key"):
            yield At(path, f"{user['name']} has neither password nor key")


@RULES.add(
    "DSK407",
    Severity.ERROR,
    "private key",
    reason="whoever has the disk or this file has the key; what is wanted is the public half",
    source="sshd(8), AUTHORIZED_KEYS FILE FORMAT",
    remedy="write the line of the file that ends in .pub",
)
def private_key(subject: Subject) -> Iterable[At]:
    """A private key where a public one belongs.  It is never repeated."""
    for path, user in subject.tables("user"):
        if "PRIVATE KEY" in text(user, "key"):
            yield At((*path, "key"), "is a private key")
