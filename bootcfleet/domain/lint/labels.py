"""Rules about labels: what an image does not set it inherits from its parent."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.containerfile import Instruction
from bootcfleet.domain.lint.model import At, RuleSet, Severity, Subject

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_OCI = "org.opencontainers.image."


def _labels(subject: Subject) -> list[tuple[Instruction, str, str]]:
    return [
        (one, name, value)
        for one in subject.final
        if one.keyword == "LABEL"
        for name, value in one.pairs()
    ]


@rule(
    "BCF701",
    Severity.WARNING,
    "labels of the parent",
    reason="a label that is not set is the parent's: this image carries another's title and "
    "version, and `bootc status` shows that version",
    source=f"{_NOTES} (26), seen with podman; OCI image specification, annotations",
    remedy="{{ labels(…) }} of _shared/labels.j2",
)
def inherited(subject: Subject) -> Iterable[At]:
    """title, description and version; the build itself adds source, revision and base."""
    if not subject.lineage:
        return
    known = {name for _, name, _ in _labels(subject)}
    missing = [one for one in ("title", "description", "version") if f"{_OCI}{one}" not in known]
    if missing:
        yield At(subject.last_from, f"not set here: {', '.join(_OCI + one for one in missing)}")


@rule(
    "BCF702",
    Severity.INFO,
    "labels before the steps",
    reason="a new version or commit in a label makes podman run every step after it again",
    source=f"{_NOTES} (2); podman-build(1) --layers; BlueBuild writes them last for that reason",
    remedy="put LABEL just before `RUN bootc container lint`",
)
def early(subject: Subject) -> Iterable[At]:
    """A LABEL with RUN, COPY or ADD after it, besides the lint."""
    last = subject.lineage[-1].instructions if subject.lineage else ()
    steps = [
        one
        for one in last
        if one.keyword in ("RUN", "COPY", "ADD") and not re.match(r"bootc container lint", one.text)
    ]
    for one in last:
        if one.keyword == "LABEL" and steps and one.line < steps[-1].line:
            yield At(one.line, "steps follow that do not need to run again")


@rule(
    "BCF703",
    Severity.ERROR,
    "an image that bootc does not take for its own",
    reason="tools tell a bootc image by containers.bootc=1; FROM scratch inherits no labels",
    source=f"bootc documentation, Image layout; {_NOTES} (26)",
    remedy='LABEL containers.bootc="1"',
)
def bootc_label(subject: Subject) -> Iterable[At]:
    """FROM scratch without the label, or the label with another value."""
    found = [(one, value) for one, name, value in _labels(subject) if name == "containers.bootc"]
    if subject.base == "scratch" and not found:
        yield At(subject.last_from, "FROM scratch, and no label containers.bootc")
    for one, value in found:
        if value != "1":
            yield At(one.line, f"containers.bootc is {value!r}")


_CHANNELS = frozenset(
    {"dev", "devel", "development", "test", "testing", "qa", "stage", "staging", "canary", "prod"}
    | {"production", "stable", "candidate", "preview", "nightly"}
)
_CHANNEL_KEY = re.compile(r"(^|[._-])(channel|stage|env|environment|ring|track|stream)$", re.I)


@rule(
    "BCF704",
    Severity.WARNING,
    "the channel's name is built in",
    reason="a promotion gives the same digest to another channel: in production the image still "
    "says `test`; and one image for each channel means that none is what was tested",
    source=f"{_NOTES} (26)",
    remedy="leave it out; `bootcfleet channel` knows which digest a channel has",
)
def channel(subject: Subject) -> Iterable[At]:
    """Labels and ENV that name a channel."""
    for one in subject.final:
        if one.keyword in ("LABEL", "ENV"):
            for name, value in one.pairs():
                if _CHANNEL_KEY.search(name) and value.lower() in _CHANNELS:
                    yield At(one.line, f"{name}={value}")


@rule(
    "BCF705",
    Severity.WARNING,
    "label that is set twice",
    reason="only the last value is in the image; the other misleads whoever reads the file",
    source="Containerfile(5) LABEL",
    remedy="remove one",
)
def twice(subject: Subject) -> Iterable[At]:
    """The same name with another value in the same stage."""
    for stage in subject.lineage:
        seen: dict[str, str] = {}
        for one in stage.instructions:
            if one.keyword == "LABEL":
                for name, value in one.pairs():
                    if seen.setdefault(name, value) != value:
                        yield At(one.line, f"{name} was {seen[name]!r} before")


@rule(
    "BCF706",
    Severity.INFO,
    "what starts in a container is not systemd",
    reason="the image is a whole system; as a container it can be tried only with its init",
    source=f"bootc documentation, Container runtime vs. bootc runtime; {_NOTES} (19)",
    remedy='CMD ["/sbin/init"], and STOPSIGNAL SIGRTMIN+3',
)
def command(subject: Subject) -> Iterable[At]:
    """A CMD that is no init."""
    for one in subject.final:
        if one.keyword == "CMD" and not re.search(r"/(sbin/init|systemd/systemd)\b", one.text):
            yield At(one.line, f"CMD {one.text}")


@rule(
    "BCF707",
    Severity.INFO,
    "label that the build sets itself",
    reason="commit, time and base in the Containerfile make every commit build every image anew",
    source="_shared/labels.j2; field notes image-build §2.3",
    remedy="leave it out: `bootcfleet image build` adds base, revision, source, url and created",
)
def of_the_build(subject: Subject) -> Iterable[At]:
    """Labels with a value that `image build` gives by --label."""
    pattern = re.compile(r"org\.opencontainers\.image\.(base\..+|revision|created)")
    for one, name, value in _labels(subject):
        if pattern.fullmatch(name) and value:
            yield At(one.line, f"{name} comes with the build")
