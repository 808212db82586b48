"""The pipeline as a declarative Jenkinsfile, for a multibranch project.

All stages of a run share one workspace, so it is prepared once.
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
    Step,
    When,
    drawing,
    slug,
)

PATH = "Jenkinsfile"

_TEMPLATE = """\
// Written by `bootcfleet ci init --provider jenkins`; change it as you like.
// An image that is in the registry under its build id is not built again: no other cache is needed.
//
// For a multibranch pipeline, on a node with the label `podman` and Python 3.11 or newer.
// Plugins: Pipeline, Git, Credentials Binding, JUnit. Credentials:
{% for line in credentials %}
//   {{ line }}
{% endfor %}
pipeline {
  agent { label 'podman' }
  options { disableConcurrentBuilds() }
  triggers { cron(env.BRANCH_NAME == '{{ p.branch }}' ? '{{ schedule }}' : '') }
{% if channels %}
  parameters {
    choice(
      name: 'PROMOTE_TO',
      choices: [{{ channels | join(", ") }}],
      description: 'Promote all images to this channel.'
    )
  }
{% endif %}
  environment {
    PATH = "${env.WORKSPACE}/{{ p.inside(work) }}/venv/bin:${env.PATH}"
    REGISTRY_AUTH_FILE = "${env.WORKSPACE}/{{ p.inside(work) }}/auth.json"
  }
  stages {
    stage('Prepare') {
      when { anyOf { changeRequest(); branch '{{ p.branch }}' } }
      steps {
        {{ shell(setup) | indent(8) }}
{% if login %}
        withCredentials([
{% for one in p.logins %}
          usernamePassword(
            credentialsId: 'bootcfleet-{{ one.name }}',
            usernameVariable: '{{ one.user }}',
            passwordVariable: '{{ one.password }}'
          ){{ "" if loop.last else "," }}
{% endfor %}
        ]) {
          {{ shell(login) | indent(10) }}
        }
{% endif %}
      }
    }
{% for job in p.jobs %}
    stage('{{ job.title }}') {
      when { {{ condition(job) }} }
{% if job.secrets %}
      environment {
{% for name in job.secrets %}
        {{ name }} = credentials('{{ secret(name) }}')
{% endfor %}
      }
{% endif %}
      steps {
{% if job.proposes %}
        withCredentials([gitUsernamePassword(credentialsId: 'bootcfleet-git')]) {
{% endif %}
{% for step in steps(job) %}
        {{ "  " if job.proposes }}{{ shell(step) | indent(10 if job.proposes else 8) }}
{% endfor %}
{% if job.proposes %}
        }
{% endif %}
      }
{% if reports(job) %}
      post {
        always {
{% for report in reports(job) %}
          {{ publish(report) }}
{% endfor %}
        }
      }
{% endif %}
    }
{% endfor %}
  }
  post {
    always { sh 'rm -f "$REGISTRY_AUTH_FILE"' }
  }
}
"""

_PROPOSE = (
    f"git push -q --force origin {LOCK_BRANCH}",
    f"echo 'the branch {LOCK_BRANCH} was pushed: open a merge request of it'",
)


def render_jenkins(pipeline: Pipeline) -> str:
    """The text of the Jenkinsfile."""
    by_hand = [job.channel for job in pipeline.of(When.MANUAL)]
    branch = f"branch '{pipeline.branch}'"
    # A run that somebody starts for a promotion builds nothing.
    idle = "; expression { params.PROMOTE_TO in [null, 'nothing'] }" if by_hand else ""
    conditions = {
        When.CHANGE: "changeRequest()",
        When.MAIN: f"allOf {{ {branch}; not {{ triggeredBy 'TimerTrigger' }}{idle} }}",
        When.SCHEDULE: f"allOf {{ {branch}; triggeredBy 'TimerTrigger' }}",
    }

    def condition(job: Job) -> str:
        if job.channel:
            wanted = f"expression {{ params.PROMOTE_TO == '{job.channel}' }}"
            return f"allOf {{ {branch}; {wanted} }}"
        found = [conditions[when] for when in job.when]
        return found[0] if len(found) == 1 else f"anyOf {{ {'; '.join(found)} }}"

    def shell(step: Step) -> str:
        text = "\n".join(("set -eu", *step.lines) if step.lines[0] != "set -eu" else step.lines)
        if pipeline.folder:
            text = f"cd {pipeline.folder}\n{text}"
        # In ''' a backslash escapes, a dollar does not; three quotes would end it.
        text = text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
        return f"sh '''\n{text}\n'''"

    def publish(report: Report) -> str:
        path = pipeline.inside(report.path)
        if report.kind is ReportKind.JUNIT:
            return f"junit allowEmptyResults: true, testResults: '{path}'"
        return f"archiveArtifacts allowEmptyArchive: true, artifacts: '{path}'"

    # The first job that cannot do without a login says how strict it is.
    strict = next(job for job in pipeline.jobs if job.must_login)
    return (
        drawing()
        .from_string(_TEMPLATE)
        .render(
            p=pipeline,
            credentials=_credentials(pipeline),
            schedule=SCHEDULE,
            channels=[f"'{name}'" for name in ["nothing", *by_hand]] if by_hand else [],
            work=WORK,
            setup=pipeline.setup,
            login=pipeline.login(strict),
            steps=lambda job: pipeline.steps(job, _PROPOSE)[-len(job.steps) :],
            shell=shell,
            condition=condition,
            secret=_secret,
            reports=lambda job: [step.report for step in job.steps if step.report],
            publish=publish,
        )
    )


def _secret(name: str) -> str:
    return f"bootcfleet-{slug(name.removeprefix('BOOTCFLEET_'))}"


def _credentials(pipeline: Pipeline) -> list[str]:
    found = [
        f"bootcfleet-{one.name}: user and password of {one.registry}" for one in pipeline.logins
    ]
    names = dict.fromkeys(name for job in pipeline.jobs for name in job.secrets)
    found += [f"{_secret(name)}: a text, {name}" for name in names]
    return [*found, "bootcfleet-git: who may push to this repository"]
