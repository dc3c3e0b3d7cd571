"""What AWS accepts as names and descriptions, which neither `terraform plan` nor moto checks.

Most rules are AWS's own models of its APIs, which botocore contains. Where a model has none, the
rule is written here after AWS's documentation.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session

ANY = r"[\s\S]*"


@dataclass(frozen=True)
class Rule:
    """A text must match `pattern` as a whole and have at most `longest` characters."""

    pattern: str
    longest: int
    shortest: int = 1

    def accepts(self, text: str) -> bool:
        """Whether AWS accepts the text."""
        within = self.shortest <= len(text) <= self.longest
        return within and re.fullmatch(self.pattern, text) is not None

    def __str__(self) -> str:
        return f"{self.pattern}, {self.shortest} to {self.longest} characters"


def rule_of_api(service: str, operation: str, *members: str) -> Rule:
    """Return the rule of a member of an operation's input; `*` is an element of a list."""
    shape = _model(service).operation_model(operation).input_shape
    for member in members:
        shape = shape.member if member == "*" else shape.members[member]
    pattern = shape.metadata.get("pattern", ANY)
    # Java's surrogates and classes of letters, which Python writes differently.
    pattern = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    pattern = pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w\s")
    return Rule(pattern, shape.metadata.get("max", 10_000), shape.metadata.get("min", 0))


@cache
def _model(service: str) -> Any:
    return _session().get_service_model(service)


@cache
def _session() -> Any:
    return botocore.session.get_session()


# EC2's API reference: CreateSecurityGroup, and SecurityGroupRuleRequest for rules.
_EC2_TEXT = Rule(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*", 255)
# EC2's user guide, "Tag restrictions".
_TAG_KEY = Rule(r"(?!aws:)[\w\s.:/=+\-@]+", 128)
_TAG_VALUE = Rule(r"[\w\s.:/=+\-@]*", 256, shortest=0)
# RDS' API reference: CreateDBInstance, CreateDBParameterGroup, CreateDBSubnetGroup.
_RDS_IDENTIFIER = Rule(r"(?!.*--)[a-z][a-z0-9-]*(?<!-)", 63)
_RDS_LONG_IDENTIFIER = Rule(_RDS_IDENTIFIER.pattern, 255)
# S3's user guide, "General purpose bucket naming rules".
_BUCKET = Rule(r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*\.\.)[a-z0-9][a-z0-9.-]*[a-z0-9]", 63, 3)
# Athena's user guide, "Name databases, tables, and columns"; the lengths are Glue's.
_GLUE_NAME = Rule(r"[a-z0-9_]+", 255)

_WAF_METRIC = rule_of_api("wafv2", "CreateWebACL", "VisibilityConfig", "MetricName")

RULES: Mapping[tuple[str, str], Rule] = {
    ("aws_athena_named_query", "name"): rule_of_api("athena", "CreateNamedQuery", "Name"),
    ("aws_athena_named_query", "description"): rule_of_api(
        "athena", "CreateNamedQuery", "Description"
    ),
    ("aws_athena_named_query", "query"): rule_of_api("athena", "CreateNamedQuery", "QueryString"),
    ("aws_athena_workgroup", "name"): rule_of_api("athena", "CreateWorkGroup", "Name"),
    ("aws_athena_workgroup", "description"): rule_of_api(
        "athena", "CreateWorkGroup", "Description"
    ),
    ("aws_budgets_budget", "name"): Rule(r"[^:\\]+", 100),  # Budget's BudgetName
    ("aws_cloudtrail", "name"): Rule(  # CreateTrail's Name
        r"(?!.*[._-]{2})[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", 128, 3
    ),
    ("aws_cloudtrail", "advanced_event_selector.name"): rule_of_api(
        "cloudtrail", "PutEventSelectors", "AdvancedEventSelectors", "*", "Name"
    ),
    ("aws_cloudwatch_composite_alarm", "alarm_name"): rule_of_api(
        "cloudwatch", "PutCompositeAlarm", "AlarmName"
    ),
    ("aws_cloudwatch_composite_alarm", "alarm_description"): rule_of_api(
        "cloudwatch", "PutCompositeAlarm", "AlarmDescription"
    ),
    ("aws_cloudwatch_composite_alarm", "alarm_rule"): rule_of_api(
        "cloudwatch", "PutCompositeAlarm", "AlarmRule"
    ),
    ("aws_cloudwatch_dashboard", "dashboard_name"): Rule(r"[A-Za-z0-9_-]+", 255),  # PutDashboard
    ("aws_cloudwatch_event_rule", "name"): rule_of_api("events", "PutRule", "Name"),
    ("aws_cloudwatch_event_rule", "description"): rule_of_api("events", "PutRule", "Description"),
    ("aws_cloudwatch_event_target", "target_id"): rule_of_api(
        "events", "PutTargets", "Targets", "*", "Id"
    ),
    ("aws_cloudwatch_log_group", "name"): rule_of_api("logs", "CreateLogGroup", "logGroupName"),
    ("aws_cloudwatch_log_metric_filter", "name"): rule_of_api(
        "logs", "PutMetricFilter", "filterName"
    ),
    ("aws_cloudwatch_log_metric_filter", "metric_transformation.name"): rule_of_api(
        "logs", "PutMetricFilter", "metricTransformations", "*", "metricName"
    ),
    ("aws_cloudwatch_metric_alarm", "alarm_name"): rule_of_api(
        "cloudwatch", "PutMetricAlarm", "AlarmName"
    ),
    ("aws_cloudwatch_metric_alarm", "alarm_description"): rule_of_api(
        "cloudwatch", "PutMetricAlarm", "AlarmDescription"
    ),
    ("aws_db_instance", "identifier"): _RDS_IDENTIFIER,
    ("aws_db_instance", "final_snapshot_identifier"): _RDS_LONG_IDENTIFIER,
    ("aws_db_instance", "username"): Rule(r"[A-Za-z][A-Za-z0-9_]*", 63),
    ("aws_db_parameter_group", "name"): _RDS_LONG_IDENTIFIER,
    ("aws_db_parameter_group", "description"): Rule(ANY, 255),
    ("aws_db_subnet_group", "name"): Rule(r"(?!default$)[a-z][a-z0-9._ -]*", 255),
    ("aws_db_subnet_group", "description"): Rule(ANY, 255),
    ("aws_ecr_repository", "name"): rule_of_api("ecr", "CreateRepository", "repositoryName"),
    ("aws_ecs_cluster", "name"): Rule(r"[A-Za-z0-9_-]+", 255),  # CreateCluster
    ("aws_ecs_service", "name"): Rule(r"[A-Za-z0-9_-]+", 255),  # CreateService
    ("aws_ecs_task_definition", "family"): Rule(r"[A-Za-z0-9_-]+", 255),  # RegisterTaskDefinition
    ("aws_ecs_task_definition", "volume.name"): Rule(r"[A-Za-z0-9_-]+", 255),  # Volume's name
    ("aws_glue_catalog_database", "name"): _GLUE_NAME,
    ("aws_glue_catalog_database", "description"): rule_of_api(
        "glue", "CreateDatabase", "DatabaseInput", "Description"
    ),
    ("aws_glue_catalog_table", "name"): _GLUE_NAME,
    ("aws_glue_catalog_table", "description"): rule_of_api(
        "glue", "CreateTable", "TableInput", "Description"
    ),
    ("aws_glue_catalog_table", "partition_keys.name"): _GLUE_NAME,
    ("aws_glue_catalog_table", "storage_descriptor.columns.name"): _GLUE_NAME,
    ("aws_glue_catalog_table", "storage_descriptor.columns.comment"): rule_of_api(
        "glue", "CreateTable", "TableInput", "StorageDescriptor", "Columns", "*", "Comment"
    ),
    ("aws_glue_catalog_table", "storage_descriptor.columns.type"): rule_of_api(
        "glue", "CreateTable", "TableInput", "StorageDescriptor", "Columns", "*", "Type"
    ),
    ("aws_iam_instance_profile", "name"): rule_of_api(
        "iam", "CreateInstanceProfile", "InstanceProfileName"
    ),
    ("aws_iam_policy", "name"): rule_of_api("iam", "CreatePolicy", "PolicyName"),
    ("aws_iam_policy", "description"): rule_of_api("iam", "CreatePolicy", "Description"),
    ("aws_iam_role", "name"): rule_of_api("iam", "CreateRole", "RoleName"),
    ("aws_iam_role", "description"): rule_of_api("iam", "CreateRole", "Description"),
    ("aws_iam_role_policy", "name"): rule_of_api("iam", "PutRolePolicy", "PolicyName"),
    ("aws_kms_alias", "name"): Rule(r"alias/(?!aws/)[a-zA-Z0-9/_-]+", 256),  # CreateAlias
    ("aws_emrserverless_application", "name"): rule_of_api(
        "emr-serverless", "CreateApplication", "name"
    ),
    ("aws_kms_key", "description"): rule_of_api("kms", "CreateKey", "Description"),
    # The model's pattern also accepts ARNs; the name in one has at most 64 characters.
    ("aws_lambda_function", "function_name"): Rule(r"[a-zA-Z0-9-_]+", 64),
    ("aws_lambda_function", "description"): rule_of_api("lambda", "CreateFunction", "Description"),
    ("aws_lambda_permission", "statement_id"): rule_of_api(
        "lambda", "AddPermission", "StatementId"
    ),
    # Elastic Load Balancing's CreateLoadBalancer and CreateTargetGroup.
    ("aws_lb", "name"): Rule(r"(?!internal-)[A-Za-z0-9][A-Za-z0-9-]*(?<!-)", 32),
    ("aws_lb_target_group", "name"): Rule(r"[A-Za-z0-9][A-Za-z0-9-]*(?<!-)", 32),
    ("aws_s3_bucket", "bucket"): _BUCKET,
    ("aws_s3_bucket_lifecycle_configuration", "rule.id"): Rule(ANY, 255),  # LifecycleRule
    ("aws_scheduler_schedule", "name"): rule_of_api("scheduler", "CreateSchedule", "Name"),
    ("aws_scheduler_schedule", "description"): rule_of_api(
        "scheduler", "CreateSchedule", "Description"
    ),
    ("aws_scheduler_schedule_group", "name"): rule_of_api(
        "scheduler", "CreateScheduleGroup", "Name"
    ),
    # CreateSecret's Name: the characters are in its text.
    ("aws_secretsmanager_secret", "name"): Rule(r"[A-Za-z0-9/_+=.@-]+", 512),
    ("aws_secretsmanager_secret", "description"): rule_of_api(
        "secretsmanager", "CreateSecret", "Description"
    ),
    ("aws_security_group", "name"): Rule(f"(?!sg-){_EC2_TEXT.pattern}", 255),
    ("aws_security_group", "description"): _EC2_TEXT,
    ("aws_sns_topic", "name"): Rule(r"[A-Za-z0-9_-]+", 256),  # CreateTopic
    ("aws_vpc_security_group_egress_rule", "description"): _EC2_TEXT,
    ("aws_vpc_security_group_ingress_rule", "description"): _EC2_TEXT,
    ("aws_wafv2_web_acl", "name"): rule_of_api("wafv2", "CreateWebACL", "Name"),
    ("aws_wafv2_web_acl", "description"): rule_of_api("wafv2", "CreateWebACL", "Description"),
    ("aws_wafv2_web_acl", "rule.name"): rule_of_api("wafv2", "CreateWebACL", "Rules", "*", "Name"),
    ("aws_wafv2_web_acl", "visibility_config.metric_name"): _WAF_METRIC,
    ("aws_wafv2_web_acl", "rule.visibility_config.metric_name"): _WAF_METRIC,
}
"""Rule by type of resource and attribute; an attribute in a block has its path."""

REFERENCES_AND_CONSTANTS = frozenset(
    {
        ("aws_cloudwatch_event_rule", "event_bus_name"),
        ("aws_cloudwatch_event_target", "event_bus_name"),
        ("aws_cloudwatch_log_metric_filter", "log_group_name"),
        ("aws_cloudwatch_metric_alarm", "metric_name"),
        ("aws_db_instance", "ca_cert_identifier"),
        ("aws_db_instance", "db_subnet_group_name"),
        ("aws_db_instance", "parameter_group_name"),
        ("aws_db_parameter_group", "family"),
        ("aws_ecs_service", "load_balancer.container_name"),
        ("aws_ecs_service", "load_balancer.elb_name"),
        ("aws_db_parameter_group", "parameter.name"),
        ("aws_ecs_task_definition", "runtime_platform.operating_system_family"),
        ("aws_glue_catalog_table", "database_name"),
        ("aws_glue_catalog_table", "parameters.comment"),
        ("aws_lambda_function_event_invoke_config", "function_name"),
        ("aws_lambda_permission", "function_name"),
        ("aws_scheduler_schedule", "group_name"),
        ("aws_vpc_endpoint", "service_name"),
        ("aws_wafv2_web_acl", "rule.statement.managed_rule_group_statement.name"),
        ("aws_wafv2_web_acl", "rule.statement.managed_rule_group_statement.vendor_name"),
        (
            "aws_wafv2_web_acl",
            "rule.statement.managed_rule_group_statement.rule_action_override.name",
        ),
        ("aws_wafv2_web_acl_logging_configuration", "redacted_fields.single_header.name"),
    }
)
"""Attributes with a name that AWS or another resource has."""

_NAMING = re.compile(r"(^|_)(name|description|comment|identifier|family|bucket)$")


def texts(kind: str, attributes: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield attribute and text of each name and description of a resource, and what has a rule."""
    for path, value in _strings(attributes, ""):
        if path.split(".")[0] in {"tags", "tags_all"}:
            continue
        if (kind, path) in RULES or _NAMING.search(path.rpartition(".")[2]):
            yield path, value


def refused_tags(attributes: Mapping[str, Any]) -> Iterable[str]:
    """Yield the tags that AWS refuses."""
    for key, value in (attributes.get("tags_all") or attributes.get("tags") or {}).items():
        if not (_TAG_KEY.accepts(key) and _TAG_VALUE.accepts(value)):
            yield f"{key} = {value}"


def _strings(value: Any, path: str) -> Iterable[tuple[str, str]]:
    """Yield all strings in a value with their paths, without the indexes of lists."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, path)
