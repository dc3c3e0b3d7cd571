"""GitHub's workflows: project-specific rules beyond actionlint and zizmor, and the smoke run."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto_server import REGION, Moto
from smoke import SmokeFailed, smoke

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
TOOLS = ROOT / ".github" / "actions" / "tools" / "action.yml"
TARGETS = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def read(name: str) -> dict[Any, Any]:
    """Return a workflow; YAML reads its key `on` as True."""
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return loaded


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}.{job}", body) for name in WORKFLOWS for job, body in read(name)["jobs"].items()
    ]


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in read(name)["jobs"].values() for step in job.get("steps", ())]


def test_every_action_is_pinned_to_the_same_commit_everywhere() -> None:
    used: dict[str, set[str]] = {}
    for path in (*WORKFLOWS.values(), TOOLS):
        for line in re.findall(r"uses: (\S+@.+)", path.read_text()):
            found = re.fullmatch(r"([\w/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert found, f"{path.name}: {line}"
            used.setdefault(found[1], set()).add(found[2])
    assert {name: pins for name, pins in used.items() if len(pins) > 1} == {}
    assert "actions/checkout" in used


def test_a_repeated_run_replaces_what_it_has_kept() -> None:
    kept = [
        step["with"]
        for name in WORKFLOWS
        for step in steps(name)
        if step.get("uses", "").startswith("actions/upload-artifact@")
    ]
    assert len(kept) > 2
    assert not [options["name"] for options in kept if not options.get("overwrite")]


def test_no_job_has_unneeded_permissions() -> None:
    for name in WORKFLOWS:
        assert read(name)["permissions"] == {}, name
    more = {
        "release.wheel": {"contents": "write"},  # creates the release
        "release.image": {"packages": "write"},  # pushes the image
        "drift.plan": {"id-token": "write"},
        "drift.report": {"issues": "write"},  # which must not have an identity at AWS
    }
    for name, job in jobs():
        at_aws = name.split(".")[0] in {"deploy", "deploy-environment", "destroy", "plan"}
        allowed = {"contents": "read", **({"id-token": "write"} if at_aws else {})}
        assert job["permissions"] == allowed | more.get(name, {}), name
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS.values())


def test_every_make_target_that_a_workflow_calls_exists() -> None:
    called = {
        target
        for name in WORKFLOWS
        for step in steps(name)
        for target in re.findall(r"\bmake ([a-z][\w-]*)", step.get("run", ""))
    }
    assert {
        "check",
        "tests",
        "test-deep",
        "coverage",
        "unit",
        "checkov",
        "setup",
        "build",
        "bundle",
        "init",
        "plan",
        "deploy",
        "destroy",
        "image-push",
        "migrate",
        "smoke",
    } == called
    assert called <= set(TARGETS)


def test_each_test_file_runs_in_exactly_one_shard() -> None:
    shards = read("ci")["jobs"]["test"]["strategy"]["matrix"]["include"]
    run = [
        file
        for shard in shards
        for found in ROOT.glob(shard["tests"])
        for file in (found.rglob("test_*.py") if found.is_dir() else [found])
    ]
    checked = ROOT / "tests" / "rules"  # run by `make check`
    every = [path for path in (ROOT / "tests").rglob("test_*.py") if checked not in path.parents]
    assert sorted(run) == sorted(every)


@pytest.mark.parametrize("job", ["ci.test", "nightly.deep"])
def test_jobs_with_all_tests_have_their_tools_and_fail_if_a_test_is_skipped(job: str) -> None:
    body = dict(jobs())[job]
    assert body["env"]["SKIPS_FAIL"] == "1"
    assert "TOTES_TERRAFORM_PLUGINS" in body["env"]
    assert "./.github/actions/tools" in [step.get("uses") for step in body["steps"]]


def test_ci_fails_if_the_audit_is_not_possible() -> None:
    assert read("ci")["jobs"]["check"]["env"] == {"AUDIT_REQUIRED": "1"}


def test_a_release_waits_for_all_tests() -> None:
    release = read("release")
    assert release[True] == {"push": {"tags": ["v*"]}}
    assert {name: job.get("needs") for name, job in release["jobs"].items()} == {
        "ci": None,
        "wheel": "ci",
        "image": "ci",
    }


def test_jobs_that_change_an_account_are_guarded() -> None:
    """The branch, the environment's approval and the state's concurrency group guard them."""
    plan, dev, prod = (read("deploy")["jobs"][job] for job in ("plan", "dev", "prod"))
    assert "head.repo.full_name == github.repository" in plan["if"]
    assert "pull_request.user.login != 'dependabot[bot]'" in plan["if"], "its code is not read yet"
    assert "github.ref == 'refs/heads/main'" in dev["if"]
    assert prod["needs"] == "dev"
    [planning] = read("plan")["jobs"].values()
    assert "environment" not in planning, "its role may only read"
    destroy, deploy = read("destroy"), read("deploy-environment")
    [destroying] = destroy["jobs"].values()
    assert destroying["if"].startswith("inputs.confirm == inputs.environment && github.ref ==")
    assert list(destroy[True]) == ["workflow_dispatch"]
    for workflow, job in ((destroy, destroying), (deploy, deploy["jobs"]["apply"])):
        assert workflow["concurrency"]["group"] == "state-${{ inputs.environment }}"
        assert workflow["concurrency"]["cancel-in-progress"] is False
        assert job["environment"] == "${{ inputs.environment }}"


def test_exactly_the_approved_plan_is_applied_with_its_bundle() -> None:
    plan, apply = read("deploy-environment")["jobs"].values()
    assert plan["uses"] == "./.github/workflows/plan.yml"
    assert apply["needs"] == "plan"
    kept = next(
        step for step in steps("plan") if step.get("name") == "Keep the plan and the bundle"
    )
    [*_, fetched] = (step for step in apply["steps"] if "download-artifact" in step.get("uses", ""))
    assert kept["with"]["name"] == fetched["with"]["name"] == "deployment-${{ inputs.environment }}"
    files = ["changes.txt", "deployment.tfplan", "totes-lambda.zip", "totes-spark.tar.gz"]
    assert kept["with"]["path"].split() == [f"dist/{name}" for name in files]
    assert fetched["with"]["path"] == "dist"
    runs = {
        step["name"]: step["run"]
        for step in [*steps("plan"), *apply["steps"]]
        if "name" in step and "run" in step
    }
    options = 'ENV="$ENVIRONMENT" BUNDLE="$PWD/dist/totes-lambda.zip" PLAN=dist/deployment.tfplan'
    assert f"make plan {options}" in runs["Plan"]
    assert runs["Apply the approved plan"].strip() == f"make deploy {options}"
    assert "make bundle" not in str(apply["steps"])
    assert "spark-package" not in str(apply["steps"])


def test_a_failed_release_rolls_back_to_the_last_good_one() -> None:
    names = [step.get("name", "") for step in steps("deploy-environment")]
    order = [
        "Fetch the last good release",
        "Apply the approved plan",
        "Migrate the warehouse",
        "Smoke run",
        "Mark this release as good",
        "Roll back",
    ]
    assert [name for name in names if name in order] == order
    back = next(step for step in steps("deploy-environment") if step.get("name") == "Roll back")
    assert "failure()" in back["if"]
    assert "steps.smoke.outcome == 'failure'" in back["if"]
    assert "steps.migrate.outcome == 'failure'" in back["if"]
    assert "steps.apply.outcome == 'success'" in back["if"], "else it would apply a plan of its own"
    for kind in ("BUNDLE", "SPARK_PACKAGE"):
        assert f'{kind}="$PWD/last-good.' in back["run"]


def test_credentials_last_as_long_as_their_job() -> None:
    found = {
        name: (job["timeout-minutes"] * 60, int(step["with"].get("role-duration-seconds", 3600)))
        for name, job in jobs()
        for step in job.get("steps", ())
        if "configure-aws-credentials" in step.get("uses", "")
    }
    assert found.keys() >= {"plan.plan", "deploy-environment.apply", "destroy.destroy"}
    assert {name for name, (job, role) in found.items() if job > role} == set()
    github = (ROOT / "terraform" / "bootstrap" / "github.tf").read_text()
    [longest] = re.findall(r"max_session_duration = (\d+) \* 60", github)
    assert max(role for _, role in found.values()) == int(longest) * 60


def test_drift_reports_the_changes_that_the_plan_kept() -> None:
    [kept] = (step for step in steps("plan") if "upload-artifact" in step.get("uses", ""))
    [fetched] = (step for step in steps("drift") if "download-artifact" in step.get("uses", ""))
    named = kept["with"]["name"].replace("inputs.", "matrix.")
    assert fetched["with"]["name"] == named
    planning, reporting = (read("drift")["jobs"][job] for job in ("plan", "report"))
    assert planning["strategy"] == reporting["strategy"]
    assert planning["if"].startswith("github.ref == 'refs/heads/main'")
    assert list(read("drift")[True]) == ["schedule", "workflow_dispatch"]


def test_a_failing_command_before_a_pipe_fails_its_step() -> None:
    """GitHub's default is `bash -e`, in which `make smoke | tee` succeeds if tee does."""
    assert "make smoke | tee" in WORKFLOWS["deploy-environment"].read_text()
    assert {name: read(name)["defaults"] for name in WORKFLOWS} == {
        name: {"run": {"shell": "bash"}} for name in WORKFLOWS
    }


def test_a_smoke_run_checks_the_stages_response(tmp_path: Path) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("nothing.py", "")
    with Moto(tmp_path) as moto:
        role = moto.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]
        client = moto.client("lambda")
        client.create_function(
            FunctionName="totes-dev-ingest",
            Runtime="python3.12",
            Handler="nothing.here",
            Role=role["Arn"],
            Code={"ZipFile": code.getvalue()},
        )
        with pytest.raises(SmokeFailed, match="returned no result of stage ingest"):
            smoke(client, "totes-dev-ingest", "ingest")
        result = {"stage": "ingest", "batches": [7], "rows": 3}
        unavailable = {**result, "unavailable": "source"}
        answers = {"results": [*map(json.dumps, (result, result, unavailable))], "region": REGION}
        moto.api("static/lambda-simple/response", json.dumps(answers))
        assert smoke(client, "totes-dev-ingest", "ingest") == result
        with pytest.raises(SmokeFailed, match="no result of stage load"):
            smoke(client, "totes-dev-ingest", "load")
        with pytest.raises(SmokeFailed, match="the source is unavailable"):
            smoke(client, "totes-dev-ingest", "ingest")
