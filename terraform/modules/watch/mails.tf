# The mails: one composite alarm for each, with a mail when it begins and one when it ends. All metric alarms
# are silent. docs/operations.md has the same list, by incident, and tests/aws/plan walk through it.
#
# What another alarm explains sends no mail of its own: `AND NOT` in the rule. A suppressor would not do:
# when it or its periods end, CloudWatch acts by the current state, so an incident that sent no mail at its
# beginning may send one at its end (CloudWatch user guide, "Suppressing composite alarm actions", example 6).
# While flow_enabled is false, what depends on the flow has no actions. An update leaves an alarm's state as
# it is; for a change of `actions_enabled` the provider would replace the alarm, and the new one acts at once.

locals {
  log = { for stage, function in var.functions : stage => "aws logs tail /aws/lambda/${function} --since 1h" }

  # The rule of each metric alarm.
  flow_rules      = { for alarm, made in aws_cloudwatch_metric_alarm.this : alarm => "ALARM(\"${made.alarm_name}\")" }
  stage_rules     = { for stage, alarms in var.stage_alarms : stage => { for alarm, name in alarms : alarm => "ALARM(\"${name}\")" } }
  warehouse_rules = { for alarm, name in var.warehouse_alarms : alarm => "ALARM(\"${name}\")" }
  source_rules    = { for alarm, name in var.source_alarms : alarm => "ALARM(\"${name}\")" }
  dashboard_rules = [for name in values(var.dashboard_alarms) : "ALARM(\"${name}\")"]

  throttled = join(" OR ", [for alarms in local.stage_rules : alarms.throttles])
  failing_rule = { for stage, alarms in local.stage_rules : stage => join(" OR ", concat(
    [for alarm, rule in alarms : rule if contains(["errors", "unavailable"], alarm)],
    stage == "load" ? ["(${local.flow_rules.idle} AND NOT (${local.throttled}))"] : [],
  )) }
  spark_rules  = [for alarm in keys(local.spark_alarms) : local.flow_rules[alarm] if local.spark]
  explained_by = join(" OR ", concat(values(local.failing_rule), [local.throttled], [for alarms in local.stage_rules : alarms.slow], local.spark_rules))

  means = {
    ingest    = "Ingest fails, or totesys is unavailable: the warehouse gets no new data."
    transform = "Transform fails: new data does not reach the warehouse."
    load      = "Load fails or is not called, or the warehouse is unavailable: new data waits in the lake."
  }

  # Rule, text and section of the runbook of each mail; `needs_flow` is whether it depends on the flow.
  mails = merge(
    { for stage, rule in local.failing_rule : stage => {
      rule       = rule
      text       = "${local.means[stage]} First read the reason: ${local.log[stage]}. The schedule repeats the call: once the cause is repaired, nothing else is to do."
      needs_flow = true
    } },
    { for stage, alarms in local.stage_rules : "${stage}-limits" => {
      rule       = "(${alarms.memory} OR ${alarms.slow}) AND NOT (${local.failing_rule[stage]})"
      text       = "Calls of ${stage} work, but nearly reach the function's limit of memory (85 %) or of time (12 of 15 minutes). First read which, and on what: ${local.log[stage]}. Then raise functions.${stage}.memory_mb, which also gives more processor."
      needs_flow = true
    } },
    {
      throttled = {
        rule       = local.throttled
        text       = "Lambda refuses calls: the concurrency of the account, or reserved_concurrency, is used up. First look which function uses it: the console of Lambda, Dashboard. Then ask AWS for more, or raise reserved_concurrency."
        needs_flow = true
      }
      stale = {
        rule       = "${local.flow_rules.lag} AND NOT (${local.explained_by})"
        text       = "The warehouse was more than 15 minutes behind totesys for 20 minutes, and no stage says why; the deadline is 30 minutes. First see which stage was not called, or calls nothing: the dashboard of CloudWatch, and ${local.log.ingest}."
        needs_flow = true
      }
      quarantine = {
        rule       = local.flow_rules.quarantined
        text       = "Rows broke the contract and wait in quarantine; all others are loaded. First list them with their reasons: make task COMMAND='quarantine show'. The mail of the end comes when all are repaired or released."
        needs_flow = false
      }
      verify = {
        rule       = local.flow_rules.differs
        text       = "The last verify found rows of the warehouse that differ from totesys. First repeat it: make task COMMAND=verify. If it differs again, keep its output, and replay."
        needs_flow = false
      }
    },
    var.verify_cron == null ? {} : { unverified = {
      rule       = "${local.flow_rules.unverified} AND NOT (${local.explained_by})"
      text       = "The warehouse was not compared with totesys for 36 hours: the nightly verify did not run or did not end. First run it: make task COMMAND=verify. It says why it can't."
      needs_flow = true
    } },
    { for alarm, rule in local.warehouse_rules : alarm => {
      rule = "${rule} AND NOT (${local.failing_rule.load})"
      text = {
        storage = "The warehouse's disk is nearly full and did not grow by itself for half an hour; loads fail when it is full. First raise warehouse_max_storage_gb, and deploy."
        cpu     = "The warehouse's processor was busy for half an hour; loads and dashboards become slow. First see with what: the console of RDS, Database Insights. Then a larger warehouse_instance_class helps."
      }[alarm]
      needs_flow = false
    } },
    { for alarm, rule in local.source_rules : alarm => {
      rule       = "${rule} AND NOT (${local.failing_rule.ingest})"
      text       = "A replication slot of totesys retains more than log_alarm_mb of log, which may fill its disk. First see whether ingest keeps up: ${local.log.ingest}. If the platform is out of use: make task COMMAND='log drop'."
      needs_flow = false
    } },
    { for alarm, name in var.iceberg_alarms : alarm => {
      rule       = "ALARM(\"${name}\")"
      text       = "A task that publishes the Iceberg tables failed; the warehouse is not affected. First read why: aws logs tail /aws/ecs/${var.name}-task --since 3h. The schedule repeats it and publishes all that is missing; make task COMMAND=publish does so at once."
      needs_flow = true
    } },
    length(local.dashboard_rules) > 0 ? { dashboard = {
      rule       = join(" OR ", local.dashboard_rules)
      text       = "The dashboard does not run, answers with errors, or does not let users sign in. First read why: aws logs tail /aws/ecs/${var.name}-task --since 1h."
      needs_flow = false
    } } : {},
    local.spark ? { spark = {
      rule       = "${local.flow_rules.spark-fails} OR ${local.flow_rules.spark-slow}"
      text       = "A large batch waits for Spark: its job failed, or runs for more than ${var.spark_slow_hours} hours. First read why: aws logs tail ${var.spark_log} --since 6h. A failed job is started again twice; then a new release, or make spark-job COMMAND='transform --engine spark', transforms the batch."
      needs_flow = true
    } } : {},
    var.rates_enabled ? { rates = {
      rule       = "${local.flow_rules.rates} AND NOT (${local.explained_by})"
      text       = "The exchange rates of at least two days are missing, for more than a day; the last ones are carried forward. First read why: aws logs tail /aws/lambda/${var.name}-rates --since 6d. The ECB may have changed its file."
      needs_flow = false
    } } : {},
  )
}

resource "aws_cloudwatch_composite_alarm" "mail" {
  for_each = local.mails

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.text} Runbook: docs/operations.md, The alarms, ${each.key}."
  alarm_rule        = each.value.rule
  alarm_actions     = each.value.needs_flow ? local.flow_actions : local.actions
  ok_actions        = each.value.needs_flow ? local.flow_actions : local.actions
}

locals {
  actions      = [aws_sns_topic.alerts.arn]
  flow_actions = var.flow_enabled ? local.actions : []
}
