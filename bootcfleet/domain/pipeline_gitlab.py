"""The pipeline as GitLab CI."""

from __future__ import annotations

from bootcfleet.domain.pipeline import (
    LOCK_BRANCH,
    SCHEDULE,
    WORK,
    Job,
    Pipeline,
    ReportKind,
    Stage,
    When,
    drawing,
)

PATH = ".gitlab-ci.yml"

_TEMPLATE = """\
# Written by `bootcfleet ci init --provider gitlab`; change it as you like.
# An image that is in the registry under its build id is not built again: no other cache is needed.
#
# The runner must allow podman in its containers (privileged).
# Variables (Settings > CI/CD > Variables, masked):
{% for name in p.secrets %}
#   {{ name }}
{% endfor %}
#   BOOTCFLEET_PUSH_TOKEN: a project access token that may write the repository
# The schedule (Build > Pipeline schedules) for the job `update`: {{ schedule }}

workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_PIPELINE_SOURCE == "schedule"
    - if: $CI_COMMIT_BRANCH == "{{ p.branch }}"

stages: [{{ stages | join(", ") }}]

variables:
  REGISTRY_AUTH_FILE: $CI_PROJECT_DIR/{{ p.inside(work) }}/auth.json
  GIT_CONFIG_COUNT: "1"
  GIT_CONFIG_KEY_0: safe.directory
  GIT_CONFIG_VALUE_0: "*"

default:
  image: quay.io/podman/stable
  interruptible: false
  before_script:
{% if p.folder %}
    - cd {{ p.folder }}
{% endif %}
    # {{ p.setup.name }}
    - |
      set -eu
      {{ p.setup.lines | join("\\n") | indent(6) }}
      export PATH="$PWD/{{ work }}/venv/bin:$PATH"
  after_script:
    - rm -f "$REGISTRY_AUTH_FILE"
{% for job in p.jobs %}

# {{ job.title }}
{{ job.name }}:
  stage: {{ job.stage.value }}
  rules:
{% for rule in rules(job) %}
    - {{ rule }}
{% endfor %}
{% if job.channel %}
      when: manual
      allow_failure: true
{% endif %}
  needs: [{{ job.needs | join(", ") }}]
{% if not when_change(job) %}
  resource_group: bootcfleet
{% endif %}
{% if job.channel %}
  environment:
    name: "{{ job.channel }}"
{% endif %}
  script:
{% for step in p.steps(job, propose)[1:] %}
    # {{ step.name }}
    - |
      {{ step.lines | join("\\n") | indent(6) }}
{% endfor %}
{% if artifacts(job) %}
  artifacts:
    when: always
{% for line in artifacts(job) %}
    {{ line }}
{% endfor %}
{% endif %}
{% endfor %}
"""

_HELPER = '!f() { echo username=oauth2; echo "password=$BOOTCFLEET_PUSH_TOKEN"; }; f'


def render_gitlab(pipeline: Pipeline) -> str:
    """The text of ``.gitlab-ci.yml``."""
    main = f'$CI_COMMIT_BRANCH == "{pipeline.branch}"'
    scheduled = '$CI_PIPELINE_SOURCE == "schedule"'
    conditions = {
        When.CHANGE: 'if: $CI_PIPELINE_SOURCE == "merge_request_event"',
        When.MAIN: f'if: {main} && $CI_PIPELINE_SOURCE != "schedule"',
        When.MANUAL: f'if: {main} && $CI_PIPELINE_SOURCE != "schedule"',
        When.SCHEDULE: f"if: {scheduled}",
    }

    def artifacts(job: Job) -> list[str]:
        lines: list[str] = []
        for report in (step.report for step in job.steps if step.report):
            path = pipeline.inside(report.path)
            if report.kind is ReportKind.JUNIT:
                lines += ["reports:", f"  junit: {path}"]
            else:
                lines += [f"expose_as: {job.name}", f"paths: [{path}]"]
        return lines

    propose = (
        "# The token goes to git by a helper that reads the environment, and not in its arguments.",
        "git -c credential.helper= -c credential.helper='" + _HELPER + "' \\",
        "  push -q --force -o merge_request.create -o merge_request.remove_source_branch \\",
        f"  -o merge_request.target={pipeline.branch} \\",
        "  -o 'merge_request.title=lock: Move the bases' \\",
        f'  "$CI_SERVER_URL/$CI_PROJECT_PATH.git" {LOCK_BRANCH}',
    )
    return (
        drawing()
        .from_string(_TEMPLATE)
        .render(
            p=pipeline,
            schedule=SCHEDULE,
            stages=[stage.value for stage in Stage if any(j.stage is stage for j in pipeline.jobs)],
            work=WORK,
            propose=propose,
            rules=lambda job: [conditions[when] for when in job.when],
            when_change=lambda job: When.CHANGE in job.when,
            artifacts=artifacts,
        )
    )
