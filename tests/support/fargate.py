"""Fargate for moto, which records tasks and starts no container.

The program runs from the image's file tree, with the settings of its task definition and the
permissions of its role, and its lines go to the log that the definition names.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from image_tree import ImageTree
from moto_server import Credentials, Moto

NEVER = 1_000_000
"""How often a task must be described for moto to end it by itself."""


@dataclass(frozen=True)
class Fargate:
    """Runs tasks that were started."""

    moto: Moto
    image: ImageTree

    def keep_tasks_running(self) -> None:
        """Keep moto from ending tasks."""
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
        settings = self._settings(container)
        access = self._assume(definition["taskRoleArn"])
        done = self.image.run(*override["command"], env=settings | self.moto.environment(access))
        options = container["logConfiguration"]["options"]
        _, task_id = arn.rsplit("/", 1)
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task_id}"
        lines = (done.stdout + done.stderr).splitlines()
        self._write_log(options["awslogs-group"], stream, lines)
        ecs.stop_task(cluster=cluster, task=arn)
        for interface in task["attachments"]:  # which Fargate deletes
            [found] = [
                d["value"] for d in interface["details"] if d["name"] == "networkInterfaceId"
            ]
            self.moto.client("ec2").delete_network_interface(NetworkInterfaceId=found)
        return done.returncode

    def _settings(self, container: dict[str, Any]) -> dict[str, str]:
        """Return the container's variables, with the path of its volume as it is here."""
        [mount] = container["mountPoints"]
        volume = mount["containerPath"]
        return {
            pair["name"]: pair["value"].replace(volume, str(self.image.path(volume)))
            for pair in container["environment"]
        }

    def _assume(self, role: str) -> Credentials:
        sts = self.moto.client("sts")
        given = sts.assume_role(RoleArn=role, RoleSessionName="task")["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def _write_log(self, group: str, stream: str, lines: list[str]) -> None:
        logs = self.moto.client("logs")
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in lines]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
