"""The pipeline as a workflow of GitHub Actions.

A job by hand is a run that somebody starts with a channel's name: a job that waits for an
environment's reviewers would run unasked where the environment has none.
"""

from __future__ import annotations

from bootcfleet.domain.pipeline import (
    LOCK_BRANCH,
    SCHEDULE,
    WORK,
    Job,
    Pipeline,
    Report,
    ReportKind,
    When,
    drawing,
)

PATH = ".github/workflows/bootcfleet.yml"

_TEMPLATE = """\
# Written by `bootcfleet ci init --provider github`; change it as you like.
# An image that is in the registry under its build id is not built again: no other cache is needed.
#
# Secrets (Settings > Secrets and variables > Actions):
{% for name in p.secrets %}
#   {{ name }}
{% endfor %}
#   BOOTCFLEET_PUSH_TOKEN, if merge requests of the job `update` are to start this workflow too:
#   what the workflow's own token pushes starts none
name: bootcfleet

on:
  pull_request:
  push:
    branches: ["{{ p.branch }}"]
  schedule:
    - cron: "{{ schedule }}"
  workflow_dispatch:
{% if channels %}
    inputs:
      promote_to:
        description: Promote all images to this channel
        type: choice
        required: true
        options: [{{ channels | map("tojson") | join(", ") }}]
{% endif %}

permissions:
  contents: read

concurrency:
  group: bootcfleet-${{ '{{' }} github.event_name }}-${{ '{{' }} github.ref }}
  cancel-in-progress: ${{ '{{' }} github.event_name == 'pull_request' }}

defaults:
  run:
    shell: bash
{% if p.folder %}
    working-directory: {{ p.folder }}
{% endif %}

jobs:
{% for job in p.jobs %}
  {{ job.name }}:
    name: {{ job.title }}
    if: {{ condition(job) }}
{% if job.needs and not job.channel %}
    needs: [{{ job.needs | join(", ") }}]
{% endif %}
    runs-on: ubuntu-24.04
{% if job.channel %}
    environment: "{{ job.channel }}"
{% endif %}
{% if permissions(job) %}
    permissions:
{% for line in permissions(job) %}
      {{ line }}
{% endfor %}
{% endif %}
{% if job.secrets %}
    env:
{% for name in job.secrets %}
      {{ name }}: ${{ '{{' }} secrets.{{ name }} }}
{% endfor %}
{% endif %}
    steps:
      - uses: actions/checkout@v4
        with:
{% if job.proposes %}
          token: ${{ '{{' }} secrets.BOOTCFLEET_PUSH_TOKEN || github.token }}
{% else %}
          persist-credentials: false
{% endif %}
{% for step in p.steps(job, propose) %}
      - name: {{ step.name }}
{% if step.name == "Log in" %}
        env:
{% for login in p.logins %}
          {{ login.user }}: ${{ '{{' }} secrets.{{ login.user }} }}
          {{ login.password }}: ${{ '{{' }} secrets.{{ login.password }} }}
{% endfor %}
{% elif job.proposes and loop.last %}
        env:
          GH_TOKEN: ${{ '{{' }} secrets.BOOTCFLEET_PUSH_TOKEN || github.token }}
{% endif %}
        run: |
          {{ step.lines | join("\\n") | indent(10) }}
{% if loop.first %}
          echo "$PWD/{{ work }}/venv/bin" >> "$GITHUB_PATH"
          echo "REGISTRY_AUTH_FILE=$PWD/{{ work }}/auth.json" >> "$GITHUB_ENV"
{% endif %}
{% if step.report %}
{% for line in publish(step.report) %}
      {{ line }}
{% endfor %}
{% endif %}
{% endfor %}
{% if not loop.last %}

{% endif %}
{% endfor %}
"""

_PROPOSE = (
    f"git push -q --force origin {LOCK_BRANCH}",
    f"open=$(gh pr list --head {LOCK_BRANCH} --state open --json number --jq length)",
    'if [ "$open" = 0 ]; then',
    f'  gh pr create --head {LOCK_BRANCH} --base "$GITHUB_REF_NAME" '
    f"--title 'lock: Move the bases' --body-file {WORK}/lock.md",
    "else",
    f"  gh pr edit {LOCK_BRANCH} --body-file {WORK}/lock.md",
    "fi",
)


def render_github(pipeline: Pipeline) -> str:
    """The text of the workflow."""

    def condition(job: Job) -> str:
        main = f"github.ref == 'refs/heads/{pipeline.branch}'"
        if job.channel:
            dispatch = "github.event_name == 'workflow_dispatch'"
            return f"{dispatch} && {main} && inputs.promote_to == '{job.channel}'"
        events = {
            When.CHANGE: "pull_request",
            When.MAIN: "push",
            When.SCHEDULE: "schedule",
        }
        return " || ".join(f"github.event_name == '{events[when]}'" for when in job.when)

    def publish(report: Report) -> list[str]:
        path = pipeline.inside(report.path)
        there = "if: always()"
        match report.kind:
            case ReportKind.SUMMARY:
                return [
                    "- name: Show it in the summary",
                    f"  {there}",
                    "  run: |",
                    f"    if [ -s {report.path} ]; then",
                    *_summary(report.path),
                    "    fi",
                ]
            case ReportKind.SARIF:
                return [
                    "- uses: github/codeql-action/upload-sarif@v3",
                    f"  {there}",
                    "  continue-on-error: true  # where code scanning is off",
                    "  with:",
                    f"    sarif_file: {path}",
                    "    category: bootcfleet",
                ]
            case ReportKind.JUNIT:
                return [
                    "- uses: actions/upload-artifact@v4",
                    f"  {there}",
                    "  with:",
                    "    name: checks",
                    f"    path: {path}",
                    "    include-hidden-files: true",
                ]

    return (
        drawing()
        .from_string(_TEMPLATE)
        .render(
            p=pipeline,
            channels=[job.channel for job in pipeline.of(When.MANUAL)],
            schedule=SCHEDULE,
            work=WORK,
            propose=_PROPOSE,
            condition=condition,
            publish=publish,
            permissions=_permissions,
        )
    )


def _summary(path: str) -> list[str]:
    """Markdown as it is, and other text as it was printed."""
    if path.endswith(".md"):
        return [f'      cat {path} >> "$GITHUB_STEP_SUMMARY"']
    fence = "'```'"
    text = f"{{ echo {fence}; cat {path}; echo {fence}; }}"
    return [f'      {text} >> "$GITHUB_STEP_SUMMARY"']


def _permissions(job: Job) -> list[str]:
    if job.proposes:
        return ["contents: write", "pull-requests: write"]
    if any(step.report and step.report.kind is ReportKind.SARIF for step in job.steps):
        return ["contents: read", "security-events: write"]
    return []
