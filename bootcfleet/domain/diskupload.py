"""The upload of an AMI by the builder: options, credentials, bucket and role.

Source: field note *disk images and kickstart* (the builder checks them before it builds, and
needs the role ``vmimport``, s3:ListAllMyBuckets, GetBucketAcl and DeleteObject).
"""

from __future__ import annotations

from collections.abc import Iterator

from bootcfleet.domain.diskobserved import DiskFacts, Level, PreflightFinding
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disktype import Backend, DiskType


def _error(check: str, message: str, remedy: str) -> PreflightFinding:
    return PreflightFinding(check, Level.ERROR, message, remedy)


def upload_findings(request: DiskRequest, facts: DiskFacts) -> Iterator[PreflightFinding]:
    """What is in the way of an upload, and the question whether it is wanted."""
    if request.aws_missing:
        yield _error(
            "aws",
            "an upload to AWS needs --aws-ami-name, --aws-bucket and --aws-region: all or none",
            f"add {', '.join(request.aws_missing)}",
        )
    if request.ami is None:
        return
    if DiskType.AMI not in request.types:
        yield _error("aws", "an upload was asked for, but no ami", "add --type ami")
        return
    if request.backend is not Backend.BOOTC_IMAGE_BUILDER:
        yield _error(
            "aws",
            f"{request.backend} is not asked to upload",
            "use --backend bootc-image-builder",
        )
    if not facts.credentials:
        yield _error(
            "aws-credentials",
            "there are no credentials for AWS",
            "give a file with AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…: --env-file FILE",
        )
    if facts.credentials_open:
        yield PreflightFinding(
            "aws-credentials",
            Level.WARNING,
            f"{request.env_file} holds secrets and others may read it",
            f"chmod 600 {request.env_file}",
        )
    if facts.bucket is not None:
        yield _error(
            "aws-bucket",
            f"the bucket {request.ami.bucket} cannot be used: {facts.bucket}",
            f"aws s3 mb s3://{request.ami.bucket} --region {request.ami.region}",
        )
    if facts.role is not None:
        yield _error(
            "aws-role",
            f"the role vmimport cannot be used: {facts.role}",
            "aws iam create-role --role-name vmimport --assume-role-policy-document "
            "file://trust-policy.json",
        )
    if not facts.aws_asked:
        yield PreflightFinding(
            "aws",
            Level.WARNING,
            "bucket and role were not looked at: there is no aws here",
            "install awscli, or see yourself that the bucket and the role vmimport are there",
        )
    yield PreflightFinding(
        "aws",
        Level.CONFIRM,
        f"the AMI {request.ami.name} is uploaded to {request.ami.bucket} ({request.ami.region})",
    )
