"""Artifacts and referrers against registries that have the API, and against those without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from bootcfleet.domain.artifact import EMPTY, EMPTY_TYPE, Descriptor, fallback_tag, referrers_index
from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, Manifest
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.labstore import Stored
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.registryartifact import Artifacts, DeleteUnsupportedError
from bootcfleet.drivers.registryconf import RegistriesConf
from tests.drivers.oddregistry import OddRegistry, Reply, Seen

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPE = "application/vnd.bootcfleet.test.v1+json"
JSON = "application/json"

pytestmark = pytest.mark.usefixtures("containers_home")


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(conf=RegistriesConf([]), sleep=lambda _: None) as client:
        yield client


@pytest.fixture
def artifacts(client: RegistryClient) -> Artifacts:
    return Artifacts(client, sleep=lambda _: None)


@pytest.fixture(params=["referrers API", "no referrers API"])
def registry(request: pytest.FixtureRequest) -> Iterator[LabRegistry]:
    with (
        LabRegistry()
        if request.param == "referrers API"
        else LabRegistry(without=["referrers"]) as registry
    ):
        yield registry


def image(
    registry: LabRegistry, tag: str = "1", repository: str = "app"
) -> tuple[ImageRef, Digest]:
    digest = push_image(
        registry.address, repository, tag, version=tag, files={"v": tag.encode()}, created=CREATED
    )
    return ImageRef.parse(f"{registry.address}/{repository}"), digest


def _stored(manifest: Manifest) -> Stored:
    return Stored(manifest.media_type, manifest.raw)


def test_what_is_pushed_is_found_and_read(registry: LabRegistry, artifacts: Artifacts) -> None:
    repo, digest = image(registry)
    assert artifacts.referrers(repo, digest) == ()
    pushed = artifacts.push(
        repo,
        TYPE,
        [(JSON, b'{"a": 1}', {"part": "one"}), ("text/plain", b"two", {})],
        subject=digest,
        tag=None,
        annotations={"why": "test"},
    )
    manifest, layers = artifacts.fetch(repo.with_digest(pushed))
    assert layers == (b'{"a": 1}', b"two")
    assert manifest.annotations == {"why": "test"}
    body = manifest.body
    assert body["artifactType"] == TYPE
    assert body["config"] == {
        "mediaType": EMPTY_TYPE,
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": len(EMPTY),
    }
    assert body["layers"][0]["annotations"] == {"part": "one"}
    assert body["subject"]["digest"] == str(digest)
    (found,) = artifacts.referrers(repo, digest)
    assert found == Descriptor(OCI_MANIFEST, pushed, len(manifest.raw), TYPE, {"why": "test"})
    assert artifacts.referrers(repo, digest, "application/other") == ()
    assert artifacts.referrers(repo, digest, TYPE) == (found,)


def test_pushing_the_same_again_lists_it_once(registry: LabRegistry, artifacts: Artifacts) -> None:
    repo, digest = image(registry)
    first = artifacts.push(repo, TYPE, [(JSON, b"{}", {})], subject=digest)
    assert artifacts.push(repo, TYPE, [(JSON, b"{}", {})], subject=digest) == first
    other = artifacts.push(repo, TYPE, subject=digest, annotations={"n": "2"})
    assert {one.digest for one in artifacts.referrers(repo, digest)} == {first, other}


def test_without_blobs_and_with_a_tag(registry: LabRegistry, artifacts: Artifacts) -> None:
    repo = ImageRef.parse(f"{registry.address}/history")
    pushed = artifacts.push(repo, TYPE, tag="log", annotations={"n": "1"})
    manifest, layers = artifacts.fetch(repo.with_tag("log"))
    assert (manifest.digest, layers) == (pushed, ())
    assert [one["mediaType"] for one in manifest.body["layers"]] == [EMPTY_TYPE]
    with pytest.raises(RegistryError) as caught:
        artifacts.fetch(repo.with_tag("none"))
    assert caught.value.status == 404


def test_the_fallback_tag_is_only_where_it_is_needed(artifacts: Artifacts) -> None:
    with LabRegistry() as new, LabRegistry(without=["referrers"]) as old:
        for registry in (new, old):
            repo, digest = image(registry)
            artifacts.push(repo, TYPE, subject=digest)
            tags = registry.store.repository("app").tags
            assert (fallback_tag(digest) in tags) == (registry is old)


def test_a_subject_that_is_not_there(registry: LabRegistry, artifacts: Artifacts) -> None:
    repo, _ = image(registry)
    with pytest.raises(RegistryError) as caught:
        artifacts.push(repo, TYPE, subject=Digest("sha256:" + "0" * 64))
    assert caught.value.status == 404


def test_deleting_takes_it_out_of_the_list(registry: LabRegistry, artifacts: Artifacts) -> None:
    repo, digest = image(registry)
    gone = artifacts.push(repo, TYPE, subject=digest, annotations={"n": "1"})
    kept = artifacts.push(repo, TYPE, subject=digest, annotations={"n": "2"})
    artifacts.delete(repo.with_digest(gone))
    assert [one.digest for one in artifacts.referrers(repo, digest)] == [kept]
    assert str(gone) not in registry.store.repository("app").manifests
    if fallback_tag(digest) in registry.store.repository("app").tags:
        listed = registry.store.repository("app").tags[fallback_tag(digest)]
        assert str(gone) not in registry.store.repository("app").manifests[listed].raw.decode()


def test_a_tag_and_a_digest_are_deleted_apart(client: RegistryClient, artifacts: Artifacts) -> None:
    with LabRegistry() as registry:
        repo, digest = image(registry)
        client.put_manifest(repo.with_tag("2"), client.manifest(repo.with_tag("1")))
        artifacts.delete_tag(repo.with_tag("2"))
        artifacts.delete_tag(repo.with_tag("2"))  # gone already
        assert client.tags(repo) == ["1"]
        client.put_manifest(repo.with_tag("2"), client.manifest(repo.with_tag("1")))
        artifacts.delete_manifest(repo, digest)
        artifacts.delete_manifest(repo, digest)  # gone already
        assert client.tags(repo) == []
        with pytest.raises(ValueError, match="is not a tag"):
            artifacts.delete_tag(repo.with_digest(digest))


@pytest.mark.parametrize("status", [400, 405, 404, 202])
def test_a_registry_that_deletes_nothing(artifacts: Artifacts, status: int) -> None:
    """404 and 202 are what some say who then keep it."""

    def answer(seen: Seen) -> Reply:
        return Reply(status) if seen.method == "DELETE" else Reply(200, b"{}")

    with OddRegistry(answer) as odd:
        repo = ImageRef.parse(f"{odd.address}/app")
        with pytest.raises(DeleteUnsupportedError, match="does not delete") as caught:
            artifacts.delete_tag(repo.with_tag("1"))
        assert "storage.delete.enabled" in (caught.value.hint or "")
        if status != 202:
            with pytest.raises(DeleteUnsupportedError):
                artifacts.delete_manifest(repo, Digest("sha256:" + "1" * 64))


def test_a_refused_deletion_is_no_unsupported_one(artifacts: Artifacts) -> None:
    with OddRegistry(lambda _: Reply(403)) as odd:
        with pytest.raises(RegistryError) as caught:
            artifacts.delete_tag(ImageRef.parse(f"{odd.address}/app:1"))
        assert caught.value.status == 403
        assert not isinstance(caught.value, DeleteUnsupportedError)


# The fallback list


def test_entries_that_are_not_true_are_left_out(
    client: RegistryClient, artifacts: Artifacts
) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)
        _, other = image(registry, "2")
        true = artifacts.push(repo, TYPE, subject=digest)
        foreign = artifacts.push(repo, TYPE, subject=other)
        missing = Descriptor(OCI_MANIFEST, Digest("sha256:" + "2" * 64), 7, TYPE)
        tag = repo.with_tag(fallback_tag(digest))
        entries = json.loads(client.manifest(tag).raw)["manifests"]
        entries[0]["artifactType"] = "application/a-lie"
        entries += [
            Descriptor.of_manifest(client.manifest(repo.with_digest(foreign))).to_json(),
            Descriptor.of_manifest(client.manifest(repo.with_digest(digest))).to_json(),
            missing.to_json(),
        ]
        index = referrers_index(entries)
        registry.store.put_manifest("app", str(index.digest), _stored(index), tag.tag)
        assert [(one.digest, one.artifact_type) for one in artifacts.referrers(repo, digest)] == [
            (true, TYPE)
        ]


def test_what_another_client_wrote_into_the_list_stays(
    client: RegistryClient, artifacts: Artifacts
) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)
        artifacts.push(repo, TYPE, subject=digest)
        tag = repo.with_tag(fallback_tag(digest))
        (entry,) = json.loads(client.manifest(tag).raw)["manifests"]
        index = referrers_index([{**entry, "x-foreign": [1]}])
        client.put_manifest(tag, index)
        artifacts.push(repo, TYPE, subject=digest, annotations={"n": "2"})
        entries = json.loads(client.manifest(tag).raw)["manifests"]
        assert entries[0]["x-foreign"] == [1]
        assert len(entries) == 2


def test_gitlab_answers_the_tag_with_the_subject(artifacts: Artifacts) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)
        registry.store.put_manifest(
            "app", str(digest), registry.store.repository("app").manifests[str(digest)],
            fallback_tag(digest),
        )  # fmt: skip
        assert artifacts.referrers(repo, digest) == ()
        pushed = artifacts.push(repo, TYPE, subject=digest)
        assert [one.digest for one in artifacts.referrers(repo, digest)] == [pushed]


def test_another_image_under_the_tag_is_not_overwritten(artifacts: Artifacts) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)
        image(registry, fallback_tag(digest))
        assert artifacts.referrers(repo, digest) == ()
        with pytest.raises(RegistryError, match="something else than a list"):
            artifacts.push(repo, TYPE, subject=digest)


def test_many_writers_lose_no_entry() -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)

        def push(number: int) -> Digest:
            with RegistryClient(conf=RegistriesConf([])) as client:
                return Artifacts(client, sleep=lambda _: None).push(
                    repo, TYPE, subject=digest, annotations={"n": str(number)}
                )

        with ThreadPoolExecutor(4) as pool:
            pushed = set(pool.map(push, range(8)))
        with RegistryClient(conf=RegistriesConf([])) as client:
            found = Artifacts(client).referrers(repo, digest)
        assert {one.digest for one in found} == pushed


def test_an_entry_that_another_writer_took_out_is_written_again(client: RegistryClient) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)
        tag = fallback_tag(digest)
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 1:  # the other one had read the list before we wrote it
                index = referrers_index([])
                registry.store.put_manifest("app", str(index.digest), _stored(index), tag)

        pushed = Artifacts(client, sleep=sleep).push(repo, TYPE, subject=digest)
        assert [one.digest for one in Artifacts(client).referrers(repo, digest)] == [pushed]
        assert len(waits) == 2


def test_a_list_that_never_keeps_anything(client: RegistryClient) -> None:
    with LabRegistry(without=["referrers"]) as registry:
        repo, digest = image(registry)

        def sleep(_: float) -> None:
            registry.store.delete_manifest("app", fallback_tag(digest))

        with pytest.raises(RegistryError, match="does not keep what is written to it"):
            Artifacts(client, sleep=sleep).push(repo, TYPE, subject=digest)


# The API


def test_pages_of_referrers(artifacts: Artifacts) -> None:
    def entry(digit: str) -> dict[str, object]:
        return Descriptor(OCI_MANIFEST, Digest("sha256:" + digit * 64), 3, TYPE).to_json()

    def answer(seen: Seen) -> Reply:
        second = "last" in seen.query
        index = referrers_index([entry("2" if second else "1")])
        link = {} if second else {"Link": f'<{seen.path}?last=x>; rel="next"'}
        return Reply(200, index.raw, {"Content-Type": OCI_INDEX, **link})

    with OddRegistry(answer) as odd:
        repo = ImageRef.parse(f"{odd.address}/app")
        found = artifacts.referrers(repo, Digest("sha256:" + "0" * 64), TYPE)
        assert [str(one.digest)[7] for one in found] == ["1", "2"]
        assert odd.seen[0].query == {"artifactType": [TYPE]}
        # A registry need not filter: then we do.
        assert artifacts.referrers(repo, Digest("sha256:" + "0" * 64), "a/b") == ()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404),
        Reply(400),
        Reply(405),
        Reply(200, b"<html>", {"Content-Type": "text/html"}),
        Reply(200, b"{}", {"Content-Type": OCI_INDEX}),
    ],
)
def test_answers_that_mean_no_such_api(artifacts: Artifacts, reply: Reply) -> None:
    def answer(seen: Seen) -> Reply:
        return reply if "/referrers/" in seen.path else Reply(404)

    with OddRegistry(answer) as odd:
        repo = ImageRef.parse(f"{odd.address}/app")
        assert artifacts.referrers(repo, Digest("sha256:" + "0" * 64)) == ()
        assert any("/manifests/sha256-" in seen.path for seen in odd.seen)


@pytest.mark.parametrize("status", [403, 500])
def test_a_registry_that_refuses_says_nothing_of_referrers(
    artifacts: Artifacts, status: int
) -> None:
    with OddRegistry(lambda _: Reply(status)) as odd:
        with pytest.raises(RegistryError) as caught:
            artifacts.referrers(ImageRef.parse(f"{odd.address}/a"), Digest("sha256:" + "0" * 64))
        assert caught.value.status == status
