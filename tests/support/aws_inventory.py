"""What exists in an AWS account."""

from moto_server import Moto

LISTINGS: tuple[tuple[str, str, str, str], ...] = (
    ("s3", "list_buckets", "Buckets", "Name"),
    ("lambda", "list_functions", "Functions", "FunctionName"),
    ("ecr", "describe_repositories", "repositories", "repositoryName"),
    ("ecs", "list_task_definitions", "taskDefinitionArns", ""),
    ("sqs", "list_queues", "QueueUrls", ""),
    ("iam", "list_roles", "Roles", "RoleName"),
    ("iam", "list_policies", "Policies", "PolicyName"),
    ("iam", "list_users", "Users", "UserName"),
    ("events", "list_rules", "Rules", "Name"),
    ("scheduler", "list_schedules", "Schedules", "Name"),
    ("scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
    ("secretsmanager", "list_secrets", "SecretList", "Name"),
    ("sns", "list_topics", "Topics", "TopicArn"),
    ("sns", "list_subscriptions", "Subscriptions", "Endpoint"),
    ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("logs", "describe_metric_filters", "metricFilters", "filterName"),
    ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    ("glue", "get_databases", "DatabaseList", "Name"),
    ("athena", "list_work_groups", "WorkGroups", "Name"),
    ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    ("ec2", "describe_subnets", "Subnets", "SubnetId"),
    ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
)
"""Service, action, the list in its response, and the name of an item ("" if the item is it).

Trails of CloudTrail are missing: Terraform deletes one by its ARN, which moto does not find.
"""


def inventory(moto: Moto) -> frozenset[str]:
    """Return everything in the account of the kinds that the platform uses, as `kind: name`."""
    found = set()
    for service, action, listed, name in LISTINGS:
        client = moto.client(service)
        options = {"Scope": "Local"} if action == "list_policies" else {}
        for item in getattr(client, action)(**options).get(listed, []):
            if item and name and item.get("State") == "deleted":
                continue  # EC2 lists deleted items for a while
            found.add(f"{service} {listed}: {item[name] if name else item}")
    keys = moto.client("kms")
    for key in keys.list_keys()["Keys"]:
        state = keys.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        if state != "PendingDeletion":  # a key is deleted after a week at the earliest
            found.add(f"kms Keys: {key['KeyId']}")
    containers = moto.client("ecs")
    arns = containers.list_clusters()["clusterArns"]
    for cluster in containers.describe_clusters(clusters=arns)["clusters"]:
        if cluster["status"] != "INACTIVE":  # a deleted cluster is listed for a while
            found.add(f"ecs clusterArns: {cluster['clusterArn']}")
    return frozenset(found)


def objects(moto: Moto, bucket: str) -> dict[str, object]:
    """Return the ETag of every object version and delete marker of a bucket."""
    pages = moto.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
    return {
        f"{bucket}/{item['Key']} {item['VersionId']} {kind}": item.get("ETag")
        for page in pages
        for kind in ("Versions", "DeleteMarkers")
        for item in page.get(kind, [])
    }
