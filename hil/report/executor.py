"""The executor of a run: a job of a CI system, recognised by its environment variables, or a night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def executor(environment: Mapping[str, str], night: str = "") -> dict[str, Any] | None:
    """Return the data of Allure's executor.json; None for a run by hand."""

    def of(*names: str) -> str:
        return next((environment[name] for name in names if environment.get(name)), "")

    if of("GITLAB_CI"):
        found = ("GitLab", "gitlab", of("CI_JOB_NAME"), of("CI_PIPELINE_IID", "CI_PIPELINE_ID"), of("CI_JOB_URL"))
    elif of("GITHUB_ACTIONS"):
        url = f"{of('GITHUB_SERVER_URL')}/{of('GITHUB_REPOSITORY')}/actions/runs/{of('GITHUB_RUN_ID')}"
        found = ("GitHub Actions", "github", of("GITHUB_WORKFLOW"), of("GITHUB_RUN_NUMBER"), url)
    elif of("JENKINS_URL"):
        found = ("Jenkins", "jenkins", of("JOB_NAME"), of("BUILD_NUMBER"), of("BUILD_URL"))
    elif of("BUILDKITE"):
        build = (of("BUILDKITE_PIPELINE_SLUG"), of("BUILDKITE_BUILD_NUMBER"), of("BUILDKITE_BUILD_URL"))
        found = ("Buildkite", "buildkite", *build)
    elif night:
        found = ("hil nightly", "hil", "", "", "")
    else:
        return None
    name, kind, job, number, url = found
    facts: dict[str, Any] = {"name": name, "type": kind, "buildName": night or f"{job} #{number}".strip(" #")}
    if url.startswith(("https://", "http://")):
        facts |= {"buildUrl": url, "url": url}
    if number.isdecimal():
        facts["buildOrder"] = int(number)
    return facts
