"""The registry client against registries of every kind: good, odd and wrong."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.image import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    ManifestError,
    sha256,
)
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.registryconf import RegistriesConf
from tests.drivers.oddregistry import OddRegistry, Reply, Seen, manifest_reply

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "s3cret"
RAW = b'{"schemaVersion": 2,\n "config": {}, "layers": [] }\n'
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")

pytestmark = pytest.mark.usefixtures("containers_home")


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(waits: list[float]) -> Iterator[RegistryClient]:
    with RegistryClient(
        conf=RegistriesConf([]), sleep=waits.append, clock=lambda: CREATED.timestamp()
    ) as client:
        yield client


@pytest.fixture
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


def ref(registry: LabRegistry | OddRegistry, rest: str = "a:1") -> ImageRef:
    return ImageRef.parse(f"{registry.address}/{rest}")


def shown(error: RegistryError) -> str:
    return f"{error.message}\n{error.hint}\n{error.details}\n{error!r}"


def log_in(home: Path, address: str, user: str = "me") -> None:
    file = home / "run/containers/auth.json"
    file.parent.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{SECRET}".encode()).decode()
    file.write_text(json.dumps({"auths": {address: {"auth": auth}}}))


# Resolving


def test_resolve_an_image(lab: LabRegistry, client: RegistryClient) -> None:
    digest = push_image(
        lab.address, "a", "1", version="7", files={"x": b"y"}, created=CREATED,
        architecture="aarch64",
    )  # fmt: skip
    resolved = client.resolve(ref(lab))
    assert (resolved.digest, resolved.version) == (digest, "7")
    assert resolved.platforms == {ARM64: digest}


def test_resolve_an_index(lab: LabRegistry, client: RegistryClient) -> None:
    digest = push_index(lab.address, "a", "1", version="7", files={"x": b"y"}, created=CREATED)
    resolved = client.resolve(ref(lab))
    assert (resolved.digest, resolved.version) == (digest, "7")
    assert set(resolved.platforms) == {AMD64, ARM64}
    for platform, child in resolved.platforms.items():
        assert client.config(resolved.ref, platform).platform == platform
        assert resolved.accepts(str(child))
    with pytest.raises(RegistryError, match="no image for linux/s390x") as caught:
        client.config(resolved.ref, Platform("linux", "s390x"))
    assert caught.value.hint == "its platforms: linux/amd64, linux/arm64"


def test_resolve_an_index_whose_first_image_is_not_there(
    lab: LabRegistry, client: RegistryClient
) -> None:
    push_index(lab.address, "a", "1", version="7", files={"x": b"y"}, created=CREATED)
    first, _ = client.resolve(ref(lab)).platforms.values()
    assert lab.store.delete_manifest("a", str(first))
    assert client.resolve(ref(lab)).version == "7"


def test_a_digest_in_the_reference_goes_before_its_tag(
    lab: LabRegistry, client: RegistryClient
) -> None:
    digests = [
        push_image(lab.address, "a", "1", version=v, files={"x": b"y"}, created=CREATED)
        for v in ("1", "2")
    ]
    assert client.resolve(ref(lab, f"a:1@{digests[0]}")).version == "1"
    assert client.digest(ref(lab, f"a:1@{digests[0]}")) == digests[0]
    assert client.digest(ref(lab)) == digests[1]


def test_without_a_tag_it_is_latest(lab: LabRegistry, client: RegistryClient) -> None:
    push_image(lab.address, "a", "latest", version="1", files={}, created=CREATED)
    assert client.exists(ref(lab, "a"))


@pytest.mark.parametrize("head", [200, 404, 405])
def test_a_registry_that_says_no_digest(client: RegistryClient, head: int) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.method == "HEAD" and head != 200:
            return Reply(head)
        return manifest_reply(RAW, OCI_MANIFEST)

    with OddRegistry(answer) as odd:
        assert client.digest(ref(odd)) == sha256(RAW)
        assert client.exists(ref(odd)) is (head != 404)
        accepted = odd.seen[-1].headers["accept"]
    for media_type in (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST):
        assert media_type in accepted


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json", ""])
def test_a_registry_that_does_not_know_what_it_sends(client: RegistryClient, kind: str) -> None:
    with OddRegistry(lambda _: manifest_reply(RAW, kind)) as odd:
        assert client.manifest(ref(odd)) == Manifest(sha256(RAW), OCI_MANIFEST, RAW)


def test_bytes_that_are_not_those_asked_for(client: RegistryClient) -> None:
    wanted = sha256(b"other")
    with OddRegistry(lambda _: manifest_reply(RAW, OCI_MANIFEST)) as odd:
        with pytest.raises(RegistryError, match=f"sent {sha256(RAW)} where {wanted} was to come"):
            client.manifest(ref(odd, f"a@{wanted}"))
        with pytest.raises(RegistryError, match="other bytes than the blob"):
            client.blob(ref(odd), wanted)
    digest = {"Docker-Content-Digest": str(wanted)}
    with OddRegistry(lambda _: manifest_reply(RAW, OCI_MANIFEST, **digest)) as odd:
        with pytest.raises(RegistryError, match="was to come"):
            client.manifest(ref(odd))


def test_a_page_for_people_is_no_manifest(client: RegistryClient) -> None:
    with OddRegistry(lambda _: Reply(200, b"<html>log in</html>")) as odd:
        with pytest.raises(ManifestError, match="is not JSON"):
            client.resolve(ref(odd))


def test_an_answer_without_an_end_is_left(client: RegistryClient) -> None:
    with OddRegistry(lambda _: Reply(200, b" " * (33 * 1024 * 1024))) as odd:
        with pytest.raises(RegistryError, match="more than 32 MiB"):
            client.manifest(ref(odd))


# What is not there


def test_a_missing_tag_names_its_neighbours(lab: LabRegistry, client: RegistryClient) -> None:
    for tag in ("1.0", "1.1", "2.0", "nightly"):
        push_image(lab.address, "a", tag, version="1", files={}, created=CREATED)
    with pytest.raises(RegistryError, match=r"a:1\.2 is not in the registry") as caught:
        client.resolve(ref(lab, "a:1.2"))
    assert caught.value.status == 404
    assert f"{lab.address}/a:1.1" in (caught.value.hint or "")
    assert "nightly" not in (caught.value.hint or "")
    before = lab.requests()
    assert not client.exists(ref(lab, "a:1.2"))
    assert lab.requests() == before + 1
    lab.refuse("a", 403)
    with pytest.raises(RegistryError, match="HTTP 403"):
        client.exists(ref(lab, "a:1.1"))


def test_a_missing_repository(lab: LabRegistry, client: RegistryClient) -> None:
    with pytest.raises(RegistryError) as caught:
        client.resolve(ref(lab))
    assert caught.value.status == 404
    assert caught.value.hint == "the repository a is not there: check its name"
    with pytest.raises(RegistryError) as caught:
        client.tags(ref(lab))
    assert caught.value.status == 404


# Writing


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    space=st.text(" \t\n\r", max_size=8),
    annotations=st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3),
    kind=st.sampled_from([OCI_INDEX, DOCKER_LIST]),
    ascii_only=st.booleans(),
)
def test_what_is_put_is_got_to_the_byte(
    lab: LabRegistry,
    client: RegistryClient,
    space: str,
    annotations: dict[str, str],
    kind: str,
    ascii_only: bool,
) -> None:
    body = {"schemaVersion": 2, "mediaType": kind, "manifests": [], "annotations": annotations}
    text = space + json.dumps(body, ensure_ascii=ascii_only) + space
    raw = text.encode(errors="surrogatepass") if ascii_only else text.encode(errors="replace")
    manifest = Manifest(sha256(raw), kind, raw)
    assert client.put_manifest(ref(lab), manifest) == manifest.digest
    assert client.manifest(ref(lab)) == manifest
    assert client.manifest(ref(lab, f"a@{manifest.digest}")) == manifest


def test_a_tag_that_somebody_else_moved_at_once(client: RegistryClient) -> None:
    other = sha256(b"other")

    def answer(seen: Seen) -> Reply:
        return Reply(
            201 if seen.method == "PUT" else 200, headers={"Docker-Content-Digest": str(other)}
        )

    with OddRegistry(answer) as odd:
        with pytest.raises(RegistryError, match=f"is {other} after {sha256(RAW)} was written"):
            client.put_manifest(ref(odd), Manifest(sha256(RAW), OCI_MANIFEST, RAW))
        assert odd.seen[0].headers["content-type"] == OCI_MANIFEST
        assert odd.seen[0].body == RAW


def test_a_manifest_whose_parts_are_missing(lab: LabRegistry, client: RegistryClient) -> None:
    raw = json.dumps({"manifests": [{"digest": str(sha256(b"x"))}]}).encode()
    with pytest.raises(RegistryError, match="HTTP 400") as caught:
        client.put_manifest(ref(lab), Manifest(sha256(raw), OCI_INDEX, raw))
    assert caught.value.status == 400
    assert "MANIFEST_BLOB_UNKNOWN" in caught.value.details[0]


def test_blobs(lab: LabRegistry, client: RegistryClient) -> None:
    digest = client.put_blob(ref(lab), b"bytes")
    assert client.put_blob(ref(lab), b"bytes") == digest
    assert lab.requests("PUT") == 1
    assert client.blob(ref(lab), digest) == b"bytes"
    assert client.has_blob(ref(lab), digest)
    assert not client.has_blob(ref(lab), sha256(b"other"))
    assert client.blob(ref(lab), client.put_blob(ref(lab), b"")) == b""


@pytest.mark.parametrize("absolute", [False, True])
def test_an_upload_goes_where_the_registry_says(client: RegistryClient, absolute: bool) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.method == "HEAD":
            return Reply(404)
        if seen.method == "POST":
            base = f"http://{odd.address}" if absolute else ""
            return Reply(202, headers={"Location": f"{base}/upload/here?_state=a%2Bb"})
        return Reply(201)

    with OddRegistry(answer) as odd:
        client.put_blob(ref(odd), b"bytes")
        put = odd.seen[-1]
        assert (put.path, put.body) == ("/upload/here", b"bytes")
        assert put.query == {"_state": ["a+b"], "digest": [str(sha256(b"bytes"))]}


def test_an_upload_is_not_sent_to_somebody_else(client: RegistryClient) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.method == "POST":
            return Reply(202, headers={"Location": "http://evil.example.com/upload"})
        return Reply(404)

    with OddRegistry(answer) as odd:
        with pytest.raises(RegistryError, match="sends its clients to another server"):
            client.put_blob(ref(odd), b"bytes")


# Tags


@pytest.mark.parametrize("link", ["absolute", "path", "relative"])
def test_tags_through_all_pages(client: RegistryClient, link: str) -> None:
    every = [f"v{number:03}" for number in range(25)]

    def answer(seen: Seen) -> Reply:
        start = int(seen.query.get("last", ["0"])[0])
        page = every[start : start + 10]
        body = json.dumps({"name": "a", "tags": page}).encode()
        following = {
            "absolute": f"http://{odd.address}/v2/a/tags/list?last={start + 10}",
            "path": f"/v2/a/tags/list?last={start + 10}",
            "relative": f"list?last={start + 10}",
        }[link]
        more = {"Link": f'<{following}>; rel="next"'} if start + 10 < len(every) else {}
        return Reply(200, body, more)

    with OddRegistry(answer) as odd:
        assert client.tags(ref(odd)) == every
        assert len(odd.seen) == 3


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b'{"tags": ["a"]}', {"Link": '</v2/a/tags/list?n=1000>; rel="next"'}, "in a circle"),
        (b'{"tags": ["a"]}', {"Link": '<http://evil.example.com/x>; rel="next"'}, "another server"),
        (b'{"tags": 7}', {}, "a tag list that is none"),
        (b"[]", {}, "a tag list that is none"),
        (b"<html>", {}, "a tag list that is none"),
    ],
)
def test_wrong_tag_lists(
    client: RegistryClient, body: bytes, headers: dict[str, str], why: str
) -> None:
    with OddRegistry(lambda _: Reply(200, body, headers)) as odd:
        with pytest.raises(RegistryError, match=why):
            client.tags(ref(odd))


def test_no_tags_are_an_empty_list(client: RegistryClient) -> None:
    with OddRegistry(lambda _: Reply(200, b'{"tags": null}')) as odd:
        assert client.tags(ref(odd)) == []


# Trying again


def test_a_rate_limit_is_waited_for(
    lab: LabRegistry, client: RegistryClient, waits: list[float]
) -> None:
    digest = push_image(lab.address, "a", "1", version="1", files={}, created=CREATED)
    lab.refuse("a", 429, retry_after="7", times=2)
    assert client.digest(ref(lab)) == digest
    assert waits == [7, 7]
    lab.refuse("a", 429, retry_after="Fri, 02 Jan 2026 03:04:25 GMT", times=1)
    assert client.digest(ref(lab)) == digest
    assert waits == [7, 7, 20]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_servers_trouble_is_tried_again(
    lab: LabRegistry, client: RegistryClient, waits: list[float], status: int
) -> None:
    digest = push_image(lab.address, "a", "1", version="1", files={}, created=CREATED)
    lab.refuse("a", status, times=3)
    assert client.digest(ref(lab)) == digest
    assert waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("status", "retry_after", "tries", "hint"),
    [
        (429, "3", 4, "log in, or wait 3 s"),
        (429, "3600", 1, "log in, or wait 3600 s"),
        (429, "soon", 4, "limits how much it is asked"),
        (500, None, 4, "a problem of its own"),
        (403, None, 1, "podman login"),
        (401, None, 1, "podman login"),
    ],
)
def test_tries_are_bounded(
    lab: LabRegistry,
    client: RegistryClient,
    status: int,
    retry_after: str | None,
    tries: int,
    hint: str,
) -> None:
    lab.refuse("a", status, retry_after=retry_after)
    with pytest.raises(RegistryError) as caught:
        client.manifest(ref(lab))
    assert caught.value.status == status
    assert hint in (caught.value.hint or "")
    assert lab.requests("GET", "a") == tries


def test_a_connection_that_breaks_is_made_anew(client: RegistryClient, waits: list[float]) -> None:
    plan = [Reply(drop=True), Reply(drop=True)]

    def answer(seen: Seen) -> Reply:
        return plan.pop() if plan else manifest_reply(RAW, OCI_MANIFEST)

    with OddRegistry(answer) as odd:
        assert client.manifest(ref(odd)).raw == RAW
    assert waits == [0.5, 1.0]


def test_a_body_that_ends_early_is_asked_for_again(client: RegistryClient) -> None:
    short = [True]

    def answer(seen: Seen) -> Reply:
        if short:
            short.pop()
            return Reply(200, RAW, {"Content-Length": str(len(RAW) + 5), "Connection": "close"})
        return manifest_reply(RAW, OCI_MANIFEST)

    with OddRegistry(answer) as odd:
        assert client.manifest(ref(odd)).raw == RAW


def test_a_registry_that_is_not_there(client: RegistryClient, waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(RegistryError, match="connection refused") as caught:
            client.manifest(ImageRef.parse(f"127.0.0.1:{port}/a:1"))
    assert (caught.value.status, waits) == (None, [])
    assert f"curl -v https://127.0.0.1:{port}/v2/" in (caught.value.hint or "")


def test_a_registry_whose_name_is_none(
    client: RegistryClient, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RegistryError, match="its name has no address") as caught:
        client.manifest(ImageRef.parse("registry.invalid/a:1"))
    assert caught.value.hint == "check the name: getent hosts registry.invalid"
    assert waits == []


def test_a_registry_that_does_not_answer(waits: list[float]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        with RegistryClient(
            conf=RegistriesConf([]), sleep=waits.append, read_timeout=0.05, connect_timeout=0.05
        ) as client:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(RegistryError, match="does not answer in time"):
                client.manifest(ImageRef.parse(f"{address}/a:1"))


def test_an_outage_is_survived(lab: LabRegistry, client: RegistryClient) -> None:
    digest = push_image(lab.address, "a", "1", version="1", files={}, created=CREATED)
    assert client.digest(ref(lab)) == digest
    where = ref(lab)
    lab.stop()
    with pytest.raises(RegistryError, match="cannot be reached"):
        client.digest(where)
    lab.start()
    assert client.digest(where) == digest


# Mirrors


def mirrored(tmp_path: Path, primary: str, mirror: str, waits: list[float]) -> RegistryClient:
    file = tmp_path / "mirrors.conf"
    file.write_text(
        f'[[registry]]\nprefix = "r.example.com"\nlocation = "{primary}"\n'
        f'[[registry.mirror]]\nlocation = "{mirror}/copy"\n'
    )
    return RegistryClient(conf=RegistriesConf([file]), sleep=waits.append)


def test_a_mirror_comes_first_and_a_failing_one_is_passed_over(
    lab: LabRegistry, tmp_path: Path, waits: list[float]
) -> None:
    wanted = ImageRef.parse("r.example.com/a:1")
    with LabRegistry() as mirror, mirrored(tmp_path, lab.address, mirror.address, waits) as client:
        with pytest.raises(RegistryError) as caught:
            client.resolve(wanted)
        assert caught.value.message == "r.example.com/a:1 is not in the registry"
        assert caught.value.details == (f"mirror: {mirror.address} answers HTTP 404",)

        push_image(lab.address, "a", "1", version="primary", files={}, created=CREATED)
        assert client.resolve(wanted).version == "primary"
        push_image(mirror.address, "copy/a", "1", version="mirror", files={}, created=CREATED)
        assert client.resolve(wanted).version == "mirror"
        mirror.refuse("copy/a", 500)
        assert client.resolve(wanted).version == "primary"


# Who we are


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode()


def test_basic_is_sent_when_asked_for_and_then_at_once(
    client: RegistryClient, containers_home: Path
) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.authorization != basic("me"):
            return Reply(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        return manifest_reply(RAW, OCI_MANIFEST)

    with OddRegistry(answer) as odd:
        with pytest.raises(RegistryError) as caught:
            client.manifest(ref(odd))
        assert caught.value.status == 401
        assert "refuses anonymous access to a" in caught.value.message
        assert caught.value.hint == f"log in: podman login {odd.address}"

        log_in(containers_home, odd.address)
        before = len(odd.seen)
        for _ in range(3):
            client.manifest(ref(odd))
        assert [seen.authorization for seen in odd.seen[before:]] == [None, *[basic("me")] * 3]


def test_a_wrong_password_is_tried_once_and_not_shown(
    client: RegistryClient, containers_home: Path
) -> None:
    with OddRegistry(lambda _: Reply(401, headers={"WWW-Authenticate": "Basic realm=r"})) as odd:
        log_in(containers_home, odd.address)
        with pytest.raises(RegistryError, match="refuses the user 'me'") as caught:
            client.manifest(ref(odd))
        assert len(odd.seen) == 2
    assert SECRET not in shown(caught.value)
    assert basic("me") not in shown(caught.value)


class TokenRegistry:
    """A registry with a token service of its own on another port, as Docker Hub has."""

    def __init__(self, check: Callable[[Seen], bool] = lambda seen: True) -> None:
        self.tokens: list[str] = []
        self._check = check
        self._lock = threading.Lock()
        self.service = OddRegistry(self._token)
        self.registry = OddRegistry(self._answer)

    def __enter__(self) -> TokenRegistry:
        self.service.__enter__()
        self.registry.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.__exit__()
        self.service.__exit__()

    def _token(self, seen: Seen) -> Reply:
        if not self._check(seen):
            return Reply(401)
        with self._lock:
            self.tokens.append(f"t0ken{len(self.tokens)}")
            return Reply(200, json.dumps({"token": self.tokens[-1]}).encode())

    def _answer(self, seen: Seen) -> Reply:
        if self.tokens and seen.authorization == f"Bearer {self.tokens[-1]}":
            return manifest_reply(RAW, OCI_MANIFEST)
        return Reply(
            401,
            headers={
                "WWW-Authenticate": [
                    "Negotiate",
                    f'Bearer realm="http://{self.service.address}/token?x=1",service="svc",'
                    'scope="repository:a:pull"',
                ]
            },
        )


def test_a_token_is_fetched_once_and_renewed_when_it_has_expired(client: RegistryClient) -> None:
    with TokenRegistry() as made:
        for _ in range(3):
            client.manifest(ref(made.registry))
        (asked,) = made.service.seen
        assert asked.query == {"x": ["1"], "service": ["svc"], "scope": ["repository:a:pull"]}
        assert asked.authorization is None
        made.tokens.append("another")  # the old one counts no more
        client.manifest(ref(made.registry))
        assert len(made.service.seen) == 2


def test_threads_share_a_token(client: RegistryClient) -> None:
    with TokenRegistry() as made:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: client.manifest(ref(made.registry)), range(64)))
        assert len(made.service.seen) == 1


def test_credentials_go_to_the_token_service_alone(
    client: RegistryClient, containers_home: Path
) -> None:
    with TokenRegistry(lambda seen: seen.authorization == basic("me")) as made:
        with pytest.raises(RegistryError, match="refuses anonymous access") as caught:
            client.manifest(ref(made.registry))
        assert caught.value.status == 401
        log_in(containers_home, made.registry.address)
        client.manifest(ref(made.registry))
        assert made.service.seen[-1].query["account"] == ["me"]
        assert basic("me") not in [seen.authorization for seen in made.registry.seen]


def test_an_identity_token_is_posted(client: RegistryClient, containers_home: Path) -> None:
    def check(seen: Seen) -> bool:
        return seen.method == "POST" and b"refresh_token=r3fresh" in seen.body

    with TokenRegistry(check) as made:
        file = containers_home / "run/containers/auth.json"
        file.parent.mkdir()
        entry = {"auth": "", "identitytoken": "r3fresh"}
        file.write_text(json.dumps({"auths": {made.registry.address: entry}}))
        client.manifest(ref(made.registry))
        assert b"grant_type=refresh_token" in made.service.seen[0].body
        assert "r3fresh" not in made.service.seen[0].target


def test_a_push_asks_for_the_right_to_push(client: RegistryClient) -> None:
    with TokenRegistry() as made:
        with pytest.raises(RegistryError, match="was written to it"):
            client.put_manifest(ref(made.registry), Manifest(sha256(b"{}"), OCI_INDEX, b"{}"))
        assert "repository:a:pull,push" in made.service.seen[0].query["scope"]


@pytest.mark.parametrize(
    ("challenge", "why"),
    [
        ("", "refuses anonymous access"),
        ("Negotiate", "refuses anonymous access"),
        ('Bearer service="x"', "does not say where from"),
        ('Bearer realm="file:///etc/passwd"', "does not say where from"),
        ('Bearer realm="relative/token"', "does not say where from"),
    ],
)
def test_challenges_that_cannot_be_met(client: RegistryClient, challenge: str, why: str) -> None:
    with OddRegistry(lambda _: Reply(401, headers={"WWW-Authenticate": challenge})) as odd:
        with pytest.raises(RegistryError, match=why):
            client.manifest(ref(odd))
        assert len(odd.seen) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b'{"token": "\xc3\xa9"}'],
)
def test_a_token_service_that_gives_none(client: RegistryClient, body: bytes) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.path == "/token":
            return Reply(200, body)
        realm = f'Bearer realm="http://{odd.address}/token"'
        return Reply(401, headers={"WWW-Authenticate": realm})

    with OddRegistry(answer) as odd:
        with pytest.raises(RegistryError, match="gave no token"):
            client.manifest(ref(odd))


# Redirects


def test_a_blob_elsewhere_is_fetched_without_our_credentials(
    client: RegistryClient, containers_home: Path
) -> None:
    data = b"the blob"

    def answer(seen: Seen) -> Reply:
        if seen.authorization != basic("me"):
            return Reply(401, headers={"WWW-Authenticate": "Basic realm=r"})
        return Reply(307, headers={"Location": f"http://{storage.address}/x?signature=5ign"})

    with OddRegistry(lambda _: Reply(200, data)) as storage, OddRegistry(answer) as odd:
        log_in(containers_home, odd.address)
        assert client.blob(ref(odd), sha256(data)) == data
        assert storage.seen[0].authorization is None
        # A redirect is a yes; storage services sign for GET alone.
        assert client.has_blob(ref(odd), sha256(data))
        assert len(storage.seen) == 1


def test_a_redirect_on_the_same_server_keeps_them(
    client: RegistryClient, containers_home: Path
) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.authorization != basic("me"):
            return Reply(401, headers={"WWW-Authenticate": "Basic realm=r"})
        if seen.path == "/moved":
            return Reply(200, RAW)
        return Reply(302, headers={"Location": "/moved"})

    with OddRegistry(answer) as odd:
        log_in(containers_home, odd.address)
        assert client.manifest(ref(odd)).raw == RAW


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/v2/a/manifests/1", "redirects in a circle"),
        ("file:///etc/passwd", "redirects to no address"),
        ("http://[::1/x", "redirects to no address"),
        ("http://127.0.0.1:99999/x", "redirects to no address"),
    ],
)
def test_redirects_that_lead_nowhere(client: RegistryClient, place: str, why: str) -> None:
    with OddRegistry(lambda _: Reply(302, headers={"Location": place})) as odd:
        with pytest.raises(RegistryError, match=why):
            client.manifest(ref(odd))


# Many at once


def test_connections_are_kept(client: RegistryClient) -> None:
    with OddRegistry(lambda _: manifest_reply(RAW, OCI_MANIFEST)) as odd:
        for _ in range(20):
            client.manifest(ref(odd))
        assert odd.seen[0].headers["user-agent"].startswith("bootcfleet/")
        # One where TLS was tried, and one for everything else.
        assert odd.connections <= 3


def test_many_hosts_pull_at_once(lab: LabRegistry, client: RegistryClient) -> None:
    digest = push_image(
        lab.address, "a", "1", version="1", files={"x": b"y" * 10_000}, created=CREATED
    )

    def pull(_: int) -> Digest:
        manifest = client.manifest(ref(lab))
        for layer, _size in manifest.layers:
            assert client.blob(ref(lab), layer)
        return manifest.digest

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(pull, range(300))) == {digest}
