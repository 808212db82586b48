"""The lab registry, request by request, as the distribution specification has them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, sha256
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers import labhandler
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.errors import FleetError

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATA = bytes(range(256)) * 10
DIGEST = str(sha256(DATA))

pytestmark = pytest.mark.usefixtures("containers_home")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["errors"][0]["code"])


class Caller:
    """One kept connection to a registry."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)

    def __call__(
        self, method: str, path: str, body: Any = None, *, chunked: bool = False, **headers: str
    ) -> Answer:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        self._connection.request(method, path, body, sent, encode_chunked=chunked)
        response = self._connection.getresponse()
        found = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(params=["memory", "directory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LabRegistry]:
    directory = None if request.param == "memory" else tmp_path / "registry"
    with LabRegistry(directory) as registry:
        yield registry


@pytest.fixture
def call(registry: LabRegistry) -> Iterator[Caller]:
    caller = Caller(registry.address)
    yield caller
    caller.close()


def put_blob(call: Caller, data: bytes = DATA, name: str = "a") -> str:
    answer = call("POST", f"/v2/{name}/blobs/uploads/?digest={sha256(data)}", data)
    assert answer.status == 201
    return str(sha256(data))


def manifest_of(config: bytes = b"{}", **more: object) -> bytes:
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/x",
            "digest": str(sha256(config)),
            "size": len(config),
        },
        "layers": [],
        **more,
    }
    return json.dumps(body).encode()


def put_manifest(call: Caller, tag: str, name: str = "a", **more: object) -> str:
    put_blob(call, b"{}", name)
    raw = manifest_of(**more)
    answer = call("PUT", f"/v2/{name}/manifests/{tag}", raw, Content_Type=OCI_MANIFEST)
    assert answer.status == 201, answer.body
    return str(sha256(raw))


# Blobs


def test_the_base(call: Caller) -> None:
    for path in ("/v2/", "/v2"):
        answer = call("GET", path)
        assert (answer.status, answer.json) == (200, {})
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_a_blob_in_one_piece(call: Caller) -> None:
    assert call("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404
    put_blob(call)
    head, got = call("HEAD", f"/v2/a/blobs/{DIGEST}"), call("GET", f"/v2/a/blobs/{DIGEST}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(DATA)))
    assert (got.body, got.headers["docker-content-digest"]) == (DATA, DIGEST)
    assert call("GET", f"/v2/b/blobs/{DIGEST}").code == "BLOB_UNKNOWN"


def test_a_blob_in_pieces_with_their_ranges(call: Caller) -> None:
    begun = call("POST", "/v2/a/blobs/uploads/")
    assert begun.status == 202
    where = begun.headers["location"]
    first = call("PATCH", where, DATA[:1000], Content_Range="0-999")
    assert (first.status, first.headers["range"]) == (202, "0-999")
    # A piece that leaves a gap is refused, and says how far it is.
    gap = call("PATCH", where, DATA[2000:], Content_Range="2000-2559")
    assert (gap.status, gap.headers["range"]) == (416, "0-999")
    asked = call("GET", where)
    assert (asked.status, asked.headers["range"]) == (204, "0-999")
    assert call("PATCH", where, DATA[1000:2000], Content_Range="1000-1999").status == 202
    done = call("PUT", f"{where}?digest={DIGEST}", DATA[2000:], Content_Range="2000-2559")
    assert (done.status, done.headers["docker-content-digest"]) == (201, DIGEST)
    assert call("GET", done.headers["location"]).body == DATA
    assert call("PUT", f"{where}?digest={DIGEST}").code == "BLOB_UPLOAD_UNKNOWN"


def test_a_blob_in_http_chunks(call: Caller) -> None:
    where = call("POST", "/v2/a/blobs/uploads/").headers["location"]
    pieces = (DATA[start : start + 100] for start in range(0, len(DATA), 100))
    answer = call("PATCH", where, pieces, chunked=True, Transfer_Encoding="chunked")
    assert (answer.status, answer.headers["range"]) == (202, f"0-{len(DATA) - 1}")
    assert call("PUT", f"{where}?digest={DIGEST}").status == 201


def test_an_empty_blob(call: Caller) -> None:
    digest = put_blob(call, b"")
    assert call("GET", f"/v2/a/blobs/{digest}").body == b""


@pytest.mark.parametrize("digest", [str(sha256(b"other")), "sha256:short", "md5:x", ""])
def test_a_blob_that_is_another(call: Caller, registry: LabRegistry, digest: str) -> None:
    answer = call("POST", f"/v2/a/blobs/uploads/?digest={digest or 'x'}", DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    where = call("POST", "/v2/a/blobs/uploads/").headers["location"]
    assert call("PUT", f"{where}?digest={digest}", DATA).code == "DIGEST_INVALID"
    assert registry.store.uploads == {}
    assert call("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404


def test_an_upload_that_is_given_up(call: Caller, registry: LabRegistry) -> None:
    where = call("POST", "/v2/a/blobs/uploads/").headers["location"]
    assert call("DELETE", where).status == 204
    assert call("DELETE", where).code == "BLOB_UPLOAD_UNKNOWN"
    assert call("PATCH", where, b"x").status == 404
    if registry.store.directory:
        assert list((registry.store.directory / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, DATA[:10]),
        ("bytes=2550-", 206, DATA[2550:]),
        ("bytes=2550-9999", 206, DATA[2550:]),
        ("bytes=2560-", 416, None),
        ("bytes=9-3", 416, None),
        ("lines=1-2", 200, DATA),
    ],
)
def test_a_part_of_a_blob(call: Caller, asked: str, status: int, part: bytes | None) -> None:
    put_blob(call)
    answer = call("GET", f"/v2/a/blobs/{DIGEST}", Range=asked)
    assert answer.status == status
    if part is not None:
        assert answer.body == part


def test_a_blob_mounted_from_another_repository(call: Caller) -> None:
    put_blob(call, name="source")
    mounted = call("POST", f"/v2/target/blobs/uploads/?mount={DIGEST}&from=source")
    assert (mounted.status, mounted.headers["docker-content-digest"]) == (201, DIGEST)
    assert call("GET", f"/v2/target/blobs/{DIGEST}").body == DATA
    # The source need not be named, and one that has it not begins an upload.
    assert call("POST", f"/v2/other/blobs/uploads/?mount={DIGEST}").status == 201
    assert call("POST", f"/v2/x/blobs/uploads/?mount={DIGEST}&from=none").status == 202
    assert call("DELETE", f"/v2/target/blobs/{DIGEST}").status == 202
    assert call("HEAD", f"/v2/target/blobs/{DIGEST}").status == 404
    assert call("HEAD", f"/v2/source/blobs/{DIGEST}").status == 200
    assert call("DELETE", f"/v2/target/blobs/{DIGEST}").code == "BLOB_UNKNOWN"


@pytest.mark.parametrize("how", ["length", "chunked", "patch"])
def test_a_blob_that_is_too_large(
    call: Caller, registry: LabRegistry, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(labhandler, "MAX_BLOB", 1000)
    path = f"/v2/a/blobs/uploads/?digest={DIGEST}"
    if how == "length":
        answer = call("POST", path, DATA)
    elif how == "chunked":
        answer = call("POST", path, iter([DATA]), chunked=True, Transfer_Encoding="chunked")
    else:
        where = call("POST", "/v2/a/blobs/uploads/").headers["location"]
        assert call("PATCH", where, DATA[:600]).status == 202
        answer = call("PATCH", where, DATA[600:1200])
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    assert answer.headers["connection"] == "close"
    assert call("GET", "/v2/").status == 200  # by another connection


# Manifests


def test_a_manifest_keeps_its_bytes_and_type(call: Caller) -> None:
    put_blob(call, b"{}")
    raw = b"\n " + manifest_of() + b"\t\n"
    digest = str(sha256(raw))
    put = call("PUT", "/v2/a/manifests/1", raw, Content_Type=OCI_MANIFEST)
    assert (put.status, put.headers["docker-content-digest"]) == (201, digest)
    assert put.headers["location"] == f"/v2/a/manifests/{digest}"
    for reference in ("1", digest):
        got, head = (call(m, f"/v2/a/manifests/{reference}") for m in ("GET", "HEAD"))
        assert (got.status, got.body) == (200, raw)
        assert got.headers["content-type"] == OCI_MANIFEST
        assert (head.status, head.body) == (200, b"")
        assert head.headers["docker-content-digest"] == digest
        assert head.headers["content-length"] == str(len(raw))
    assert call("GET", "/v2/b/manifests/1").code == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize(
    ("reference", "raw", "code"),
    [
        ("1", b"no json", "MANIFEST_INVALID"),
        ("1", b"{}", "MANIFEST_INVALID"),
        ("1", b"[" * 5000, "MANIFEST_INVALID"),
        ("1", manifest_of(layers=[{"digest": "x", "size": 1}]), "MANIFEST_INVALID"),
        ("1", manifest_of(layers=["x"]), "MANIFEST_INVALID"),
        ("1", manifest_of(mediaType=OCI_INDEX), "MANIFEST_INVALID"),
        ("1", manifest_of(b"absent"), "MANIFEST_BLOB_UNKNOWN"),
        ("1", manifest_of(layers=[{"digest": DIGEST, "size": 1}]), "MANIFEST_BLOB_UNKNOWN"),
        (DIGEST, manifest_of(), "DIGEST_INVALID"),
        ("sha512:" + "0" * 128, manifest_of(), "DIGEST_INVALID"),
        ("-tag", manifest_of(), "MANIFEST_INVALID"),
        ("t" * 129, manifest_of(), "MANIFEST_INVALID"),
    ],
)
def test_manifests_that_are_not_taken(call: Caller, reference: str, raw: bytes, code: str) -> None:
    put_blob(call, b"{}")
    answer = call("PUT", f"/v2/a/manifests/{reference}", raw, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.code) == (400, code)
    assert call("GET", "/v2/a/tags/list").json["tags"] == []


def test_a_layer_that_lives_elsewhere_need_not_be_there(call: Caller) -> None:
    layer = {"digest": DIGEST, "size": 1, "urls": ["https://example.com/layer"]}
    put_manifest(call, "1", layers=[layer])


def test_a_manifest_that_is_too_large(call: Caller) -> None:
    raw = b" " * (4 * 1024 * 1024 + 1)
    answer = call("PUT", "/v2/a/manifests/1", raw, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_deleting_a_tag_and_deleting_a_digest(call: Caller) -> None:
    digest = put_manifest(call, "1")
    assert put_manifest(call, "2") == digest
    assert put_manifest(call, "3") == digest
    assert call("DELETE", "/v2/a/manifests/1").status == 202
    assert call("GET", "/v2/a/tags/list").json["tags"] == ["2", "3"]
    assert call("HEAD", f"/v2/a/manifests/{digest}").status == 200
    assert call("DELETE", f"/v2/a/manifests/{digest}").status == 202
    assert call("GET", "/v2/a/tags/list").json["tags"] == []
    assert call("DELETE", f"/v2/a/manifests/{digest}").code == "MANIFEST_UNKNOWN"


def test_referrers(call: Caller) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1}
    raw = manifest_of(subject=subject, artifactType="application/x.sbom", annotations={"a": "b"})
    put_blob(call, b"{}")
    put = call("PUT", f"/v2/a/manifests/{sha256(raw)}", raw, Content_Type=OCI_MANIFEST)
    assert put.headers["oci-subject"] == DIGEST
    second = put_manifest(call, "other", subject=subject)
    every = call("GET", f"/v2/a/referrers/{DIGEST}")
    assert every.headers["content-type"] == OCI_INDEX
    found = {entry["digest"]: entry for entry in every.json["manifests"]}
    assert set(found) == {str(sha256(raw)), second}
    assert found[str(sha256(raw))] == {
        "mediaType": OCI_MANIFEST, "digest": str(sha256(raw)), "size": len(raw),
        "artifactType": "application/x.sbom", "annotations": {"a": "b"},
    }  # fmt: skip
    assert found[second]["artifactType"] == "application/x"
    some = call("GET", f"/v2/a/referrers/{DIGEST}?artifactType=application/x.sbom")
    assert some.headers["oci-filters-applied"] == "artifactType"
    assert [entry["digest"] for entry in some.json["manifests"]] == [str(sha256(raw))]
    assert call("GET", f"/v2/none/referrers/{DIGEST}").json["manifests"] == []
    assert call("GET", "/v2/a/referrers/x").code == "DIGEST_INVALID"


# Lists


def test_tags_in_pages(call: Caller) -> None:
    tags = [f"t{number}" for number in range(5)]
    for tag in reversed(tags):
        put_manifest(call, tag)
    found, path, pages = [], "/v2/a/tags/list?n=2", 0
    while path:
        answer = call("GET", path)
        assert answer.json["name"] == "a"
        found, pages = found + answer.json["tags"], pages + 1
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert (found, pages) == (tags, 3)
    assert call("GET", "/v2/a/tags/list").json["tags"] == tags
    assert call("GET", "/v2/a/tags/list?last=t2").json["tags"] == ["t3", "t4"]
    assert call("GET", "/v2/a/tags/list?n=0").json["tags"] == []
    assert call("GET", "/v2/a/tags/list?n=x").code == "PAGINATION_NUMBER_INVALID"
    assert call("GET", "/v2/none/tags/list").code == "NAME_UNKNOWN"


def test_the_catalogue_in_pages(call: Caller) -> None:
    for name in ("b/c", "a", "b"):
        put_blob(call, name=name)
    assert call("GET", "/v2/_catalog").json == {"repositories": ["a", "b", "b/c"]}
    first = call("GET", "/v2/_catalog?n=2")
    assert first.json == {"repositories": ["a", "b"]}
    assert first.headers["link"] == '</v2/_catalog?n=2&last=b>; rel="next"'


# Wrong requests


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "NAME_INVALID"),
        ("GET", "/v2/A/tags/list", 404, "NAME_INVALID"),
        ("GET", "/v2/../../etc/passwd", 404, "NAME_INVALID"),
        ("POST", "/v2/a/../b/blobs/uploads/", 404, "NAME_INVALID"),
        ("POST", "/v2/a//b/blobs/uploads/", 404, "NAME_INVALID"),
        ("POST", "/v2/a%2Fb/blobs/uploads/", 404, "NAME_INVALID"),
        ("POST", "/v2/_blobs/blobs/uploads/", 404, "NAME_INVALID"),
        ("POST", "/v2/a/blobs/uploads/0a", 404, "NAME_INVALID"),
        ("GET", "/v2/a/blobs/sha256:..", 400, "DIGEST_INVALID"),
        ("DELETE", "/v2/a/tags/list", 405, "UNSUPPORTED"),
        ("POST", "/v2/a/manifests/1", 405, "UNSUPPORTED"),
        ("PUT", "/v2/", 405, "UNSUPPORTED"),
    ],
)
def test_requests_that_mean_nothing(
    call: Caller, registry: LabRegistry, method: str, path: str, status: int, code: str
) -> None:
    # With a body that nobody reads: the connection is good for the next request all the same.
    answer = call(method, path, b"x" * 5000)
    assert (answer.status, answer.code) == (status, code)
    assert call("GET", "/v2/").status == 200
    assert registry.store.repositories == {}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n",
        b"GET\r\n\r\n",
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_harms_nobody(
    registry: LabRegistry, call: Caller, request_bytes: bytes
) -> None:
    host, _, port = registry.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request_bytes)
        said = b""
        while piece := connection.recv(4096):  # it ends: the registry closed the connection
            said += piece
    assert b'{"errors": [{' in said
    assert call("GET", "/v2/").status == 200


# Faults and counting


def test_a_refusal_is_for_one_repository_and_counts(call: Caller, registry: LabRegistry) -> None:
    put_manifest(call, "1")
    put_manifest(call, "1", name="b")
    before = registry.requests()
    registry.refuse("a", 401)
    answer = call("GET", "/v2/a/manifests/1")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert call("GET", "/v2/b/manifests/1").status == 200
    registry.refuse("a", 429, retry_after="9", times=2)
    limited = [call("GET", "/v2/a/manifests/1") for _ in range(3)]
    assert [answer.status for answer in limited] == [429, 429, 200]
    assert limited[0].headers["retry-after"] == "9"
    registry.refuse("a", 500)
    assert call("HEAD", "/v2/a/manifests/1").status == 500
    registry.refuse("a", None)
    assert call("HEAD", "/v2/a/manifests/1").status == 200
    assert registry.requests() - before == 7
    assert registry.requests("HEAD", "a") == 2
    assert registry.requests("HEAD", "b") == 0


# Its life


def test_stopping_ends_kept_connections(registry: LabRegistry, call: Caller) -> None:
    assert call("GET", "/v2/").status == 200
    address = registry.address
    registry.stop()
    registry.stop()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        call("GET", "/v2/")
    with pytest.raises(FleetError, match="has not been started"):
        _ = registry.address
    registry.start()
    assert registry.address == address


def test_a_port_that_is_taken(registry: LabRegistry) -> None:
    port = int(registry.address.partition(":")[2])
    with pytest.raises(FleetError, match=f"cannot listen on 127.0.0.1:{port}"):
        LabRegistry(port=port).start()


def test_a_directory_is_read_again(tmp_path: Path) -> None:
    ref = "team/app"
    with LabRegistry(tmp_path / "r") as first:
        digest = push_index(
            first.address, ref, "1", version="3", files={"a": DATA}, created=CREATED
        )
        push_image(first.address, ref, "gone", version="2", files={}, created=CREATED)
        caller = Caller(first.address)
        assert caller("DELETE", f"/v2/{ref}/manifests/gone").status == 202
        # Broken off: what it left is no blob, and is cleared away.
        where = caller("POST", f"/v2/{ref}/blobs/uploads/").headers["location"]
        assert caller("PATCH", where, DATA).status == 202
        caller.close()
    with LabRegistry(tmp_path / "r") as second, RegistryClient(conf=RegistriesConf([])) as client:
        resolved = client.resolve(ImageRef.parse(f"{second.address}/{ref}:1"))
        assert (resolved.digest, resolved.version) == (digest, "3")
        assert client.tags(resolved.ref) == ["1"]
        for child in resolved.platforms.values():
            ((layer, size),) = client.manifest(resolved.ref.with_digest(child)).layers
            assert len(client.blob(resolved.ref, layer)) == size
    assert list((tmp_path / "r/uploads").iterdir()) == []


def test_many_push_at_once(registry: LabRegistry) -> None:
    def push(number: int) -> str:
        return str(
            push_image(
                registry.address,
                f"app{number % 3}",
                f"t{number}",
                version=str(number % 5),
                files={"data": DATA * (number % 5)},
                created=CREATED,
            )
        )

    with ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(push, range(30)))
    assert len(set(digests)) == 5
    store = registry.store
    assert sum(len(store.repository(f"app{number}").tags) for number in range(3)) == 30
    assert store.uploads == {}


# Images for labs


def test_the_same_arguments_make_the_same_digest(registry: LabRegistry) -> None:
    def push(tag: str, version: str = "1") -> str:
        files = {"etc/motd": b"hello\n", "usr/share/x/y": b""}
        return str(
            push_image(registry.address, "a", tag, version=version, files=files, created=CREATED)
        )

    assert push("1") == push("2") != push("3", "2")


def test_push_by_a_client(registry: LabRegistry) -> None:
    with RegistryClient(conf=RegistriesConf([])) as client:
        digest = push_image(
            client, f"{registry.address}/a", "1", version="1", files={}, created=CREATED
        )
        assert client.digest(ImageRef.parse(f"{registry.address}/a:1")) == digest
