"""Fargate for moto, which records tasks and starts no container.

The program runs on this machine, with the settings of its task definition and the permissions of
its role, and its lines go to the log that the definition names.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto_server import Credentials, Moto

ROOT = Path(__file__).resolve().parents[2]

NEVER = 1_000_000
"""How often a task must be described for moto to end it by itself."""


@dataclass(frozen=True)
class Fargate:
    """Runs tasks; `volume` is the folder that they see as their volume."""

    moto: Moto
    volume: Path

    def start(self) -> None:
        """Prepare the volume, and keep moto from ending tasks."""
        self.volume.mkdir()
        (self.volume / "data").symlink_to(ROOT / "data")  # as in the image
        transition = {"progression": "manual", "times": NEVER}
        body = {"model_name": "ecs::task", "transition": transition}
        self.moto.api("state-manager/set-transition", json.dumps(body))

    def run(self, cluster: str, arn: str) -> int:
        """Run a task's program to its end, stop the task, and return the program's exit code."""
        ecs = self.moto.client("ecs")
        [task] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
        name = task["taskDefinitionArn"]
        definition = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        [container] = definition["containerDefinitions"]
        [override] = task["overrides"]["containerOverrides"]
        done = subprocess.run(
            [sys.executable, "-m", "totes", *override["command"]],
            cwd=self.volume,
            env=self._environment(container, definition["taskRoleArn"]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        options = container["logConfiguration"]["options"]
        _, task_id = arn.rsplit("/", 1)
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task_id}"
        self._write_log(options["awslogs-group"], stream, done.stdout.splitlines())
        ecs.stop_task(cluster=cluster, task=arn)
        for interface in task["attachments"]:  # which Fargate deletes
            [found] = [
                d["value"] for d in interface["details"] if d["name"] == "networkInterfaceId"
            ]
            self.moto.client("ec2").delete_network_interface(NetworkInterfaceId=found)
        return done.returncode

    def _environment(self, container: dict[str, Any], role: str) -> dict[str, str]:
        [mount] = container["mountPoints"]
        settings = {
            pair["name"]: pair["value"].replace(mount["containerPath"], str(self.volume))
            for pair in container["environment"]
        }
        sts = self.moto.client("sts")
        given = sts.assume_role(RoleArn=role, RoleSessionName="task")["Credentials"]
        credentials = Credentials(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
        )
        home = {"PATH": os.environ["PATH"], "TOTES_HOME": str(self.volume)}
        return home | settings | self.moto.environment(credentials)

    def _write_log(self, group: str, stream: str, lines: list[str]) -> None:
        logs = self.moto.client("logs")
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in lines]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
