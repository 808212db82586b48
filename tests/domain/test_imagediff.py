"""What differs between two images, and how it is told."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.download import Download, human
from bootcfleet.domain.evr import Evr
from bootcfleet.domain.imagediff import (
    FleetDownload,
    HostDownload,
    ImageDiff,
    diff_content,
    diff_facts,
    diff_packages,
)
from bootcfleet.domain.imagediff_format import data, markdown, text
from bootcfleet.domain.imagefacts import ImageFacts, image_facts, wanted_size
from bootcfleet.domain.imagetree import Entry, Kind, flatten
from bootcfleet.domain.package import Package
from bootcfleet.domain.reference import Digest


def package(
    name: str, version: str, release: str = "1", arch: str = "x86_64", sha: str = ""
) -> Package:
    return Package(name, Evr(0, version, release), arch, sha256=sha or f"{name}{version}{release}")


def test_packages_up_down_added_removed_rebuilt() -> None:
    found = diff_packages(
        [package("a", "1.9"), package("b", "2"), package("c", "1"), package("d", "1", sha="x")],
        [
            package("a", "1.10"),
            package("b", "2~rc1"),
            package("d", "1", sha="y"),
            package("e", "1"),
        ],
    )
    assert [c.after.name for c in found.upgraded] == ["a"]
    assert [c.after.name for c in found.downgraded] == ["b"]
    assert [p.name for p in found.removed] == ["c"]
    assert [c.after.name for c in found.rebuilt] == ["d"]
    assert [p.name for p in found.added] == ["e"]
    assert found.touched == {"a", "b", "c", "d", "e"}


def test_of_several_kernels_the_newest_replaces_the_newest() -> None:
    one, two, three = (package("kernel", v) for v in ("6.1", "6.2", "6.3"))
    found = diff_packages([one, two], [two, three])
    assert [(c.before.evr.version, c.after.evr.version) for c in found.upgraded] == [("6.1", "6.3")]
    found = diff_packages([one], [one, two])
    assert [p.evr.version for p in found.added] == ["6.2"]
    assert not found.upgraded


def test_another_architecture_is_another_package() -> None:
    found = diff_packages([package("a", "1", arch="i686")], [package("a", "1", arch="x86_64")])
    assert (len(found.added), len(found.removed)) == (1, 1)


some = st.lists(
    st.builds(package, st.sampled_from("ab"), st.sampled_from(["1", "1.0", "2", "2~a"])), max_size=4
)


@given(some, some)
def test_backwards_is_the_opposite(old: list[Package], new: list[Package]) -> None:
    forth, back = diff_packages(old, new), diff_packages(new, old)
    assert set(forth.added) == set(back.removed)
    assert {(c.before, c.after) for c in forth.upgraded} == {
        (c.after, c.before) for c in back.downgraded
    }
    assert bool(diff_packages(old, old)) is False


def test_facts() -> None:
    found = diff_facts({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert found.to_json() == {
        "added": {"c": "4"},
        "removed": {"a": "1"},
        "changed": {"b": {"before": "2", "after": "3"}},
    }
    assert not diff_facts({"a": "1"}, {"a": "1"})


def entry(path: str, content: str = "", mode: int = 0o644, **more: object) -> Entry:
    return Entry(path, Kind.FILE, mode, 0, 0, len(content), content, kept=content, **more)  # type: ignore[arg-type]


def facts(files: dict[str, str], packages: tuple[Package, ...] = (), **owners: str) -> ImageFacts:
    links = {p: t.removeprefix("-> ") for p, t in files.items() if t.startswith("-> ")}
    tree = flatten(
        [
            [
                Entry(p, Kind.SYMLINK, 0o777, 0, 0, link=links[p]) if p in links else entry(p, t)
                for p, t in files.items()
            ]
        ]
    )

    def read(path: str) -> bytes | None:
        found = tree.get(tree.real(path))
        return found.kept.encode() if found else None

    config = json.dumps({"config": {"Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}}}})
    return image_facts(tree, config.encode(), read, packages, owners)


def test_units() -> None:
    lib, etc = "usr/lib/systemd/system", "etc/systemd/system"
    install = "[Unit]\n[Install]\nWantedBy=multi-user.target\n"
    found = facts(
        {
            f"{lib}/on.service": install,
            f"{lib}/off.service": install,
            f"{lib}/fixed.service": "[Service]\n",
            f"{lib}/also.service": "[Install]\nAlso=on.service\n",
            f"{lib}/no.service": install,
            f"{lib}/other.service": "-> on.service",
            f"{lib}/many@.service": install,
            f"{lib}/vendor.service": "[Service]\n",
            f"{lib}/x.target.wants/vendor.service": "-> ../vendor.service",
            f"{etc}/multi-user.target.wants/on.service": f"-> /{lib}/on.service",
            f"{etc}/multi-user.target.wants/many@1.service": f"-> /{lib}/many@.service",
            f"{etc}/no.service": "-> /dev/null",
            f"{etc}/README": "no unit",
        }
    ).units
    assert found == {
        "on.service": "enabled",
        "off.service": "disabled",
        "fixed.service": "static",
        "also.service": "indirect",
        "no.service": "masked",
        "other.service": "alias",
        "many@.service": "enabled",
        "vendor.service": "static",
    }


def test_accounts_and_never_a_password() -> None:
    found = facts(
        {
            "etc/passwd": "root:$6$secret:0:0:root:/root:/bin/bash\nbad line\n",
            "usr/lib/passwd": "svc:x:80:80::/:/sbin/nologin\nroot:x:9:9::/:/x\n",
            "etc/group": "root:x:0:\nwheel:x:10:b,a\n",
            "usr/lib/sysusers.d/a.conf": 'u! web 48:100 "Web" /srv/web\ng logs -\n'
            "m web wheel\nu a -\n",
            "usr/lib/sysusers.d/b.conf": "u hidden 7\n",
            "etc/sysusers.d/b.conf": "# replaced\n",
        }
    )
    assert found.users == {
        "root": "uid 0, gid 0, home /root, shell /bin/bash",
        "svc": "uid 80, gid 80, home /, shell /sbin/nologin",
        "web": "uid 48, gid 100, home /srv/web, shell /sbin/nologin",
        "a": "uid automatic, gid automatic, home /, shell /sbin/nologin",
    }
    assert found.groups["wheel"] == "gid 10: a, b, web"
    assert found.groups["logs"] == "gid automatic"
    assert "secret" not in repr((found.users, found.groups))


def test_ports_kernel_arguments_and_labels() -> None:
    base = "usr/lib/firewalld"
    found = facts(
        {
            f"{base}/services/ssh.xml": '<service><port protocol="tcp" port="22"/></service>',
            f"{base}/zones/public.xml": '<zone><service name="http"/></zone>',
            "etc/firewalld/zones/public.xml": '<zone target="DROP"><service name="ssh"/>'
            '<service name="own"/><port port="9090" protocol="udp"/></zone>',
            f"{base}/zones/bomb.xml": '<!DOCTYPE z [<!ENTITY a "b">]><zone/>',
            "etc/firewalld/firewalld.conf": "# x\nDefaultZone=work\n",
            "usr/lib/bootc/kargs.d/1.toml": 'kargs = ["quiet", "a=1"]\n',
            "usr/lib/bootc/kargs.d/2.toml": 'kargs = ["a=1"]\nmatch-architectures = ["aarch64"]\n',
            "usr/lib/bootc/kargs.d/3.toml": "kargs = [",
        }
    )
    assert found.ports == {
        "default zone": "work",
        "bomb": "not readable",
        "public: target": "DROP",
        "public: ssh": "22/tcp",
        "public: own": "open",
        "public: 9090/udp": "open",
        "EXPOSE 80/tcp": "declared",
    }
    assert found.kargs == {
        "quiet": "1.toml",
        "a=1": "1.toml, 2.toml (aarch64)",
        "(3.toml is not readable)": "3.toml",
    }
    assert found.labels == {"x": "y"}


_TEXTS = (
    "[" * 5000, "<zone>" * 5000, "kargs = 5\nmatch-architectures = 7\n", "kargs = [1, [2]]\n",
    'u "', "m a\n", "u\n", "a:b\n", ":::::::\n", "<zone><service/><port/></zone>",
    "<port port='1' protocol='\x01'/>", "[Install]\nAlso=\n", "\x00" * 50, "DefaultZone=\n",
)  # fmt: skip
_PATHS = (
    "etc/passwd", "usr/lib/group", "usr/lib/sysusers.d/a.conf", "etc/firewalld/firewalld.conf",
    "usr/lib/firewalld/zones/z.xml", "etc/firewalld/services/s.xml", "usr/lib/bootc/kargs.d/a.toml",
    "usr/lib/systemd/system/a.service", "etc/systemd/system/a.service",
    "etc/systemd/system/x.wants/a.service",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(_PATHS), st.sampled_from(_TEXTS) | st.text(max_size=30)),
    st.sampled_from(['{"config": {"Labels": [], "ExposedPorts": 7}}', "[" * 9999, "7", "{"])
    | st.text(max_size=10),
)
def test_an_image_may_hold_anything(files: dict[str, str], config: str) -> None:
    tree = flatten([[entry(path, content) for path, content in files.items()]])

    def read(path: str) -> bytes | None:
        found = tree.get(tree.real(path))
        return found.kept.encode("utf-8", "surrogatepass") if found else None

    raw = config.encode("utf-8", "surrogatepass")
    found = image_facts(tree, raw, read, (), {})
    one = facts({})
    for content in (diff_content(found, one), diff_content(one, found)):
        whole = ImageDiff("a", "b", "x", "y", None, content)
        assert json.dumps(data(whole))
        for said in (text(whole), markdown(whole)):
            assert "\x00" not in said


def test_what_is_kept_of_an_image() -> None:
    assert wanted_size("usr/share/rpm/rpmdb.sqlite") > 2**29
    assert wanted_size("etc/passwd") > 0
    for path in ("etc/shadow", "etc/ssh/ssh_host_key", "root/.ssh/id_rsa", "usr/bin/bash"):
        assert wanted_size(path) == 0, path


def image_diff(*, fleet: bool = False) -> ImageDiff:
    before = facts({"etc/motd": "a", "usr/bin/old": "1", "usr/bin/p": "1"}, (package("p", "1"),))
    after = facts(
        {"etc/motd": "b", "usr/bin/p": "2", "etc/new|bar": "\x1b[31m"},
        (package("p", "2"),),
        **{"/usr/bin/p": "p"},
    )
    digest = Digest("sha256:" + "1" * 64)
    sizes = Download(((digest, 1_500_000),), ((digest, 10**9),), 100, 200, 0)
    counted = FleetDownload(
        (HostDownload("h1", "sha256:a", 300), HostDownload("h2", "sha256:a", 300)),
        (),
        (HostDownload("h3", "sha256:c", 1000, "at most"),),
        (HostDownload("h4", None, None, "unreachable"),),
    )
    content = diff_content(before, after)
    return ImageDiff(
        "soe:prod", "soe:dev", "sha256:a", "sha256:b", sizes, content, counted if fleet else None
    )


def test_as_text() -> None:
    assert text(image_diff(fleet=True)) == (
        "soe:prod (sha256:a)\n"
        "  → soe:dev (sha256:b)\n"
        "\n"
        "download: 1.5 MB (1500300 bytes): 1 of 2 layers new; 1.0 GB are there already\n"
        "\n"
        "packages: 1 upgraded\n"
        "  ^ p.x86_64  1-1 → 2-1\n"
        "\n"
        "files (and 1 of the packages above): 1 added, 1 removed, 1 changed\n"
        "  + /etc/new|bar  -0644 0:0 5 B\n"
        "  - /usr/bin/old  -0644 0:0 1 B\n"
        "  ~ /etc/motd  content: -0644 0:0 1 B → -0644 0:0 1 B\n"
        "\n"
        "layers (1 shared): 1 added\n"
        f"  + sha256:{'1' * 64}  1.5 MB\n"
        "\n"
        "fleet: 1.6 kB (1600 bytes) for all hosts\n"
        "  on A: 2 hosts, 300 B each, 600 B together\n"
        "  on B already: 0 hosts\n"
        "  on something else: 1 host, 1.0 kB each, 1.0 kB together\n"
        "    h3  1.0 kB (1000 bytes)  from sha256:c  at most\n"
        "  unknown: 1 host\n"
        "    h4  unreachable"
    )
    assert "/usr/bin/p" in text(image_diff(), everything=True)


def test_as_markdown() -> None:
    said = markdown(image_diff(fleet=True))
    assert said.startswith(
        "## soe:prod → soe:dev\n\nFrom `sha256:a` to `sha256:b`.\n\n"
        "A host on the old image downloads **1.5 MB** (1 new layer).\n"
        "The fleet downloads **1.6 kB**: 2 hosts on the old image, 1 on another, 0 on the new one."
        "\n\n### Packages\n\n1 upgraded\n\n| | Name | Before | After |\n|---|---|---|---|\n"
        "| ^ | p.x86\\_64 | 1-1 | 2-1 |\n"
    )
    assert "| + | /etc/new\\|bar |" in said


def test_as_data() -> None:
    body = data(image_diff(fleet=True))
    assert json.loads(json.dumps(body)) == body
    assert body["download"]["bytes"] == 1500300
    assert body["fleet"]["bytes"] == 1600
    assert body["files"]["changed"][0]["path"] == "/etc/motd"
    assert [one["path"] for one in body["files"]["changed"]] == ["/etc/motd", "/usr/bin/p"]
    assert body["files"]["changed"][1]["package"] == "p"


def test_nothing_differs() -> None:
    one = facts({"etc/motd": "a"})
    same = ImageDiff("a", "a", "sha256:a", "sha256:a", None, diff_content(one, one))
    assert "nothing differs inside" in text(same)
    assert "download: not known, as one of them is in no registry" in text(same)
    assert "Nothing differs inside." in markdown(same)


def test_human_sizes() -> None:
    assert [human(n) for n in (0, 999, 1000, 999_949, 999_960, 1_500_000_000)] == [
        "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 GB",
    ]  # fmt: skip
