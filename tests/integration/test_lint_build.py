"""Warnings of bootc's lint over real builds: the parent's pass, the child's own do not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from tests.tools import need

pytestmark = pytest.mark.integration

TEMPLATE = """\
FROM {{ base }}
{{ step }}
RUN bootc container lint
"""


def test_only_what_is_new_fails(
    real_base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    need("podman")
    registry = real_base.partition("/")[0]
    template = tmp_path / "containerfiles/step"
    template.mkdir(parents=True)
    (template / "template.yaml").write_text("variables: {step: {help: one instruction}}\n")
    (template / "Containerfile.j2").write_text(TEMPLATE)
    (tmp_path / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {registry}/{tmp_path.name.lower()}\nimages:\n"
        f"  soe: {{base: '{real_base}', template: step, bootc_lint: errors,"
        " vars: {step: RUN echo a > /var/log/soe.log}}\n"
        "  web: {from: soe, template: step, vars: {step: RUN echo b > /usr/share/web}}\n"
        "  bad: {from: soe, template: step, vars: {step: RUN echo c > /boot/bad}}\n"
    )
    monkeypatch.chdir(tmp_path)
    code = run(["image", "build", "--push"])
    out, err = capfd.readouterr()
    assert code == 1, out
    assert "bootc container lint warns of what its parent does not have: nonempty-boot" in err
    built = json.loads((tmp_path / ".bootcfleet/builds.json").read_text())["images"]
    assert set(built) == {"soe", "web"}
    said = "bootc container lint warns: var-log, var-tmpfiles; so it does in its parent"
    assert f"web: {said}" in out.splitlines()
    capfd.readouterr()
    assert run(["audit", "--json"]) == 0
    entries = json.loads(capfd.readouterr().out)
    (web,) = [e for e in entries if e["action"] == "image.lint" and e["subject"] == "web"]
    assert web["details"]["bootc"] == {
        "warnings": ["var-log", "var-tmpfiles"],
        "errors": [],
        "new": [],
    }
    assert web["digests"] == {"image": built["web"]["digest"]}
    for image in built.values():
        subprocess.run(["podman", "rmi", "--force", *image["tags"]], capture_output=True)
