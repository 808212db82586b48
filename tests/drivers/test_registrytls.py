"""TLS with registries: private CAs, client certificates, and what is never trusted."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.image import OCI_MANIFEST, sha256
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.registryconf import RegistriesConf
from tests.drivers.certificates import PrivateCa, Signed
from tests.drivers.oddregistry import OddRegistry, Reply, Seen, manifest_reply

RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCa:
    return PrivateCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def signed(ca: PrivateCa) -> Signed:
    return ca.sign("server")


def server_side(signed: Signed, *, clients: PrivateCa | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    if clients is not None:
        # Within the handshake, so that a refusal is one of the handshake too.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.path)
    return context


def serve(signed: Signed, *, clients: PrivateCa | None = None) -> OddRegistry:
    return OddRegistry(
        lambda _: manifest_reply(RAW, OCI_MANIFEST), tls=server_side(signed, clients=clients)
    )


def certs_d(home: Path, odd: OddRegistry) -> Path:
    folder = home / ".config/containers/certs.d" / odd.address
    folder.mkdir(parents=True)
    return folder


def ref(odd: OddRegistry) -> ImageRef:
    return ImageRef.parse(f"{odd.address}/a:1")


class Strict:
    """A client to which loopback registries are registries like any other."""

    def __init__(self, folder: Path) -> None:
        self.waits: list[float] = []
        self._file = folder / "registries.conf"

    def client(self, odd: OddRegistry, *, insecure: bool = False) -> RegistryClient:
        said = "true" if insecure else "false"
        self._file.write_text(f'[[registry]]\nlocation = "{odd.address}"\ninsecure = {said}\n')
        return RegistryClient(conf=RegistriesConf([self._file]), sleep=self.waits.append)


@pytest.fixture
def strict(tmp_path: Path, containers_home: Path) -> Iterator[Strict]:
    strict = Strict(tmp_path)
    yield strict
    # Nothing about trust gets better by trying it again.
    assert strict.waits == []


def test_an_unknown_ca(strict: Strict, signed: Signed) -> None:
    with serve(signed) as odd, strict.client(odd) as client:
        with pytest.raises(RegistryError, match="is not trusted") as caught:
            client.manifest(ref(odd))
        assert f"/etc/containers/certs.d/{odd.address}/ca.crt" in (caught.value.hint or "")
        assert odd.seen == []


def test_a_ca_in_certs_d(
    strict: Strict, signed: Signed, ca: PrivateCa, containers_home: Path
) -> None:
    with serve(signed) as odd, strict.client(odd) as client:
        shutil.copy(ca.path, certs_d(containers_home, odd) / "ca.crt")
        assert client.manifest(ref(odd)).raw == RAW


def test_a_ca_by_the_environment(
    strict: Strict, signed: Signed, ca: PrivateCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.path))
    with serve(signed) as odd, strict.client(odd) as client:
        assert client.manifest(ref(odd)).raw == RAW


def test_a_ca_for_another_port_does_not_count(
    strict: Strict, signed: Signed, ca: PrivateCa, containers_home: Path
) -> None:
    with serve(signed) as other, serve(signed) as odd, strict.client(odd) as client:
        shutil.copy(ca.path, certs_d(containers_home, other) / "ca.crt")
        with pytest.raises(RegistryError, match="is not trusted"):
            client.manifest(ref(odd))


@pytest.mark.parametrize(
    ("address", "days", "why", "hint"),
    [
        ("127.0.0.2", 30, "mismatch|not valid for", "use a name that is in the certificate"),
        ("127.0.0.1", -1, "expired", "renew the registry's certificate"),
    ],
)
def test_certificates_that_are_not_right(
    strict: Strict,
    ca: PrivateCa,
    containers_home: Path,
    address: str,
    days: int,
    why: str,
    hint: str,
) -> None:
    with serve(ca.sign("wrong", address=address, days=days)) as odd, strict.client(odd) as client:
        shutil.copy(ca.path, certs_d(containers_home, odd) / "ca.crt")
        with pytest.raises(RegistryError, match=why) as caught:
            client.manifest(ref(odd))
        assert hint in (caught.value.hint or "")


def test_a_client_certificate(
    strict: Strict, signed: Signed, ca: PrivateCa, containers_home: Path
) -> None:
    with serve(signed, clients=ca) as odd:
        folder = certs_d(containers_home, odd)
        shutil.copy(ca.path, folder / "ca.crt")
        with strict.client(odd) as client, pytest.raises(RegistryError) as caught:
            client.manifest(ref(odd))
        assert "client.cert with client.key" in (caught.value.hint or "")
        own = ca.sign("client")
        shutil.copy(own.certificate, folder / "client.cert")
        shutil.copy(own.key, folder / "client.key")
        with strict.client(odd) as client:
            assert client.manifest(ref(odd)).raw == RAW


def test_plain_http_is_spoken_only_where_it_is_said(strict: Strict) -> None:
    with OddRegistry(lambda _: manifest_reply(RAW, OCI_MANIFEST)) as odd:
        with strict.client(odd) as client:
            with pytest.raises(RegistryError, match="does not speak TLS") as caught:
                client.manifest(ref(odd))
            assert "insecure = true" in (caught.value.hint or "")
        with strict.client(odd, insecure=True) as client:
            assert client.manifest(ref(odd)).raw == RAW


def test_a_declared_insecure_registry_may_have_any_certificate(
    strict: Strict, ca: PrivateCa
) -> None:
    with serve(ca.sign("wrong", address="127.0.0.2")) as odd:
        with strict.client(odd, insecure=True) as client:
            assert client.manifest(ref(odd)).raw == RAW


def test_a_loopback_registry_with_a_ca_must_keep_to_it(
    signed: Signed, containers_home: Path, tmp_path: Path
) -> None:
    with serve(signed) as odd, RegistryClient(conf=RegistriesConf([])) as client:
        assert client.manifest(ref(odd)).raw == RAW
    with serve(signed) as odd, RegistryClient(conf=RegistriesConf([])) as client:
        shutil.copy(PrivateCa(tmp_path / "other").path, certs_d(containers_home, odd) / "ca.crt")
        with pytest.raises(RegistryError, match="is not trusted"):
            client.manifest(ref(odd))


def test_credentials_do_not_leave_tls(
    strict: Strict, signed: Signed, ca: PrivateCa, containers_home: Path
) -> None:
    """Neither a redirect nor a token service leads from TLS to plain HTTP."""
    with OddRegistry(lambda _: Reply(200, RAW)) as plain:
        replies = {
            "/v2/moved/manifests/1": Reply(302, headers={"Location": f"http://{plain.address}/x"}),
            "/v2/token/manifests/1": Reply(
                401, headers={"WWW-Authenticate": f'Bearer realm="http://{plain.address}/token"'}
            ),
        }

        def answer(seen: Seen) -> Reply:
            return replies[seen.path]

        with OddRegistry(answer, tls=server_side(signed)) as odd, strict.client(odd) as client:
            shutil.copy(ca.path, certs_d(containers_home, odd) / "ca.crt")
            for name, why in (("moved", "from TLS to plain HTTP"), ("token", "over plain HTTP")):
                with pytest.raises(RegistryError, match=why):
                    client.manifest(ImageRef.parse(f"{odd.address}/{name}:1"))
        assert plain.seen == []


def test_a_redirect_does_not_take_the_client_certificate_along(
    strict: Strict, signed: Signed, ca: PrivateCa, containers_home: Path
) -> None:
    data = b"blob"
    with serve(signed, clients=ca) as storage:

        def answer(_: Seen) -> Reply:
            return Reply(307, headers={"Location": f"https://{storage.address}/x"})

        with OddRegistry(answer, tls=server_side(signed)) as odd, strict.client(odd) as client:
            for folder in (certs_d(containers_home, odd), certs_d(containers_home, storage)):
                shutil.copy(ca.path, folder / "ca.crt")
            own = ca.sign("client")
            folder = containers_home / ".config/containers/certs.d" / odd.address
            shutil.copy(own.certificate, folder / "client.cert")
            shutil.copy(own.key, folder / "client.key")
            with pytest.raises(RegistryError, match=r"TLS with .* failed"):
                client.blob(ref(odd), sha256(data))
        assert storage.seen == []


def test_a_proxy_is_used_and_not_shown(
    tmp_path: Path, containers_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain HTTP through a proxy: the whole address arrives there, with the proxy's login."""
    file = tmp_path / "registries.conf"
    file.write_text('[[registry]]\nlocation = "registry.example.com"\ninsecure = true\n')
    refusing = [True]

    def answer(seen: Seen) -> Reply:
        if seen.method == "CONNECT" or refusing:
            return Reply(503)
        return manifest_reply(RAW, OCI_MANIFEST)

    with OddRegistry(answer) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:s3cret@{proxy.address}")
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{proxy.address}")
        monkeypatch.setenv("no_proxy", "10.0.0.0/8,other.example.com")
        with RegistryClient(conf=RegistriesConf([file]), sleep=lambda _: None) as client:
            wanted = ImageRef.parse("registry.example.com/a:1")
            with pytest.raises(RegistryError) as caught:
                client.manifest(wanted)
            assert (
                "s3cret" not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"
            )
            refusing.clear()
            assert client.manifest(wanted).raw == RAW
        last = proxy.seen[-1]
        assert last.target == "http://registry.example.com/v2/a/manifests/1"
        assert last.headers["proxy-authorization"].startswith("Basic ")
