"""The pipeline as Tekton Tasks, and one Pipeline for each thing that starts jobs.

The tasks of a Pipeline share a workspace, so they run one after another.
"""

from __future__ import annotations

from bootcfleet.domain.pipeline import (
    LOCK_BRANCH,
    SCHEDULE,
    WORK,
    Job,
    Pipeline,
    When,
    drawing,
    slug,
)

PATH = ".tekton/bootcfleet.yaml"

_TEMPLATE = """\
# Written by `bootcfleet ci init --provider tekton`; change it as you like.
# An image that is in the registry under its build id is not built again: no other cache is needed.
#
#   kubectl apply -f {{ path }}
#   kubectl create secret generic {{ prefix }}-ci --from-env-file=FILE
#
# FILE has a line NAME=value for each of:
{% for name in p.secrets %}
#   {{ name }}
{% endfor %}
#
# The service account needs a Secret of Tekton's for git (annotation tekton.dev/git-0) to push
# the branch {{ branch }}. What starts {{ prefix }}-update is yours to choose, such as a CronJob
# at "{{ schedule }}".
---
apiVersion: tekton.dev/v1
kind: Task
metadata:
  name: {{ prefix }}-clone
spec:
  description: Fetch one revision of the repository.
  params:
    - name: url
      type: string
    - name: revision
      type: string
    - name: image
      type: string
      default: quay.io/podman/stable
  workspaces:
    - name: source
  steps:
    - name: clone
      image: $(params.image)
      workingDir: $(workspaces.source.path)
      env:
        - name: URL
          value: $(params.url)
        - name: REVISION
          value: $(params.revision)
        {{ safe | indent(8) }}
      script: |
        #!/bin/sh
        set -eu
        command -v git >/dev/null || dnf install -y -q git-core
        git init -q .
        git remote remove origin 2>/dev/null || true
        git remote add origin "$URL"
        git fetch -q --depth 1 origin "$REVISION"
        git checkout -q -f FETCH_HEAD
{% for job in p.jobs %}
---
apiVersion: tekton.dev/v1
kind: Task
metadata:
  name: {{ prefix }}-{{ job.name }}
spec:
  description: {{ job.title }}.
  params:
    - name: image
      type: string
      default: quay.io/podman/stable
  workspaces:
    - name: source
  volumes:
    - name: storage
      emptyDir: {}
  steps:
    - name: run
      image: $(params.image)
      workingDir: $(workspaces.source.path){{ "/" ~ p.folder if p.folder }}
      securityContext:
        privileged: true
      volumeMounts:
        - name: storage
          mountPath: /var/lib/containers
      env:
        {{ safe | indent(8) }}
{% for name in secrets(job) %}
        - name: {{ name }}
          valueFrom:
            secretKeyRef:
              name: {{ prefix }}-ci
              key: {{ name }}
              optional: true
{% endfor %}
      script: |
        #!/bin/sh
        set -eu
        export PATH="$PWD/{{ work }}/venv/bin:$PATH" REGISTRY_AUTH_FILE="$PWD/{{ work }}/auth.json"
        trap 'rm -f "$REGISTRY_AUTH_FILE"' EXIT
{% for step in p.steps(job, propose) %}
        # {{ step.name }}
        {{ step.lines | join("\\n") | indent(8) }}
{% endfor %}
{% endfor %}
{% for name, title, jobs in pipelines %}
---
apiVersion: tekton.dev/v1
kind: Pipeline
metadata:
  name: {{ prefix }}-{{ name }}
spec:
  description: {{ title }}
  params:
    - name: url
      type: string
    - name: revision
      type: string
      default: "{{ p.branch }}"
  workspaces:
    - name: source
  tasks:
    - name: clone
      taskRef:
        name: {{ prefix }}-clone
      params:
        - name: url
          value: $(params.url)
        - name: revision
          value: $(params.revision)
      workspaces:
        - name: source
          workspace: source
{% for job in jobs %}
    - name: {{ job.name }}
      taskRef:
        name: {{ prefix }}-{{ job.name }}
      runAfter: [{{ loop.previtem.name if loop.previtem is defined else "clone" }}]
      workspaces:
        - name: source
          workspace: source
{% endfor %}
{% endfor %}
"""

#: git trusts the workspace, whoever owns its volume.
_SAFE = """\
- name: GIT_CONFIG_COUNT
  value: "1"
- name: GIT_CONFIG_KEY_0
  value: safe.directory
- name: GIT_CONFIG_VALUE_0
  value: "*\""""

_PROPOSE = (
    f"git push -q --force origin {LOCK_BRANCH}",
    f"echo 'the branch {LOCK_BRANCH} was pushed: open a merge request of it'",
)


def render_tekton(pipeline: Pipeline) -> str:
    """The text of the file: Tasks, then Pipelines."""

    def secrets(job: Job) -> list[str]:
        names = [name for login in pipeline.logins for name in (login.user, login.password)]
        return [*names, *job.secrets]

    pipelines = [
        ("change", "What is asked of a change.", pipeline.of(When.CHANGE)),
        ("main", "Build, check and promote the main branch.", pipeline.of(When.MAIN)),
        *((job.name, f"{job.title}.", (job,)) for job in pipeline.of(When.MANUAL)),
        ("update", "Move the lock on a branch of its own.", pipeline.of(When.SCHEDULE)),
    ]
    return (
        drawing()
        .from_string(_TEMPLATE)
        .render(
            p=pipeline,
            path=PATH,
            # The names are values of labels, too, which have at most 63 characters.
            prefix=slug(pipeline.project)[: 62 - max(len(j.name) for j in pipeline.jobs)].strip(
                "-"
            ),
            branch=LOCK_BRANCH,
            schedule=SCHEDULE,
            work=WORK,
            safe=_SAFE,
            propose=_PROPOSE,
            secrets=secrets,
            pipelines=pipelines,
        )
    )
