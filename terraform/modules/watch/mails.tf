# The mails: one composite alarm for each, with a mail when it begins and one when it ends. All metric alarms
# are silent. docs/operations.md has the same list, by incident, and tests/aws/plan walk through it.
#
# What another alarm explains sends no mail of its own: `AND NOT` in the rule. A suppressor would not do:
# when it or its periods end, CloudWatch acts by the current state, so an incident that sent no mail at its
# beginning may send one at its end (CloudWatch user guide, "Suppressing composite alarm actions", example 6).
# While flow_enabled is false, a suppressor does silence what depends on the flow, and half an hour longer,
# until all stages were called again. `actions_enabled` would not do: the provider replaces the alarm, and
# the new one acts at once.

locals {
  log = { for stage, function in var.functions : stage => "aws logs tail /aws/lambda/${function} --since 1h" }

  # The rule of each metric alarm.
  flow      = { for alarm, made in aws_cloudwatch_metric_alarm.this : alarm => "ALARM(\"${made.alarm_name}\")" }
  stage     = { for stage, alarms in var.stage_alarms : stage => { for alarm, name in alarms : alarm => "ALARM(\"${name}\")" } }
  warehouse = { for alarm, name in var.warehouse_alarms : alarm => "ALARM(\"${name}\")" }
  source    = { for alarm, name in var.source_alarms : alarm => "ALARM(\"${name}\")" }
  website   = [for name in values(var.dashboard_alarms) : "ALARM(\"${name}\")"]

  throttled = join(" OR ", [for alarms in local.stage : alarms.throttles])
  down = { for stage, alarms in local.stage : stage => join(" OR ", concat(
    [for alarm, rule in alarms : rule if contains(["errors", "away"], alarm)],
    stage == "load" ? ["(${local.flow.idle} AND NOT (${local.throttled}))"] : [],
  )) }
  explained = join(" OR ", concat(values(local.down), [local.throttled], [for alarms in local.stage : alarms.slow]))

  means = {
    ingest    = "Ingest fails, or totesys is away: the warehouse gets no new data."
    transform = "Transform fails: new data does not reach the warehouse."
    load      = "Load fails or is not called, or the warehouse is away: new data waits in the lake."
  }

  # Rule, text and section of the runbook of each mail; `flow` is whether it depends on the flow.
  mails = merge(
    { for stage, rule in local.down : stage => {
      rule = rule
      text = "${local.means[stage]} First read the reason: ${local.log[stage]}. The schedule repeats the call: once the cause is repaired, nothing else is to do."
      flow = true
    } },
    { for stage, alarms in local.stage : "${stage}-limits" => {
      rule = "(${alarms.memory} OR ${alarms.slow}) AND NOT (${local.down[stage]})"
      text = "Calls of ${stage} work, but nearly reach the function's limit of memory (85 %) or of time (12 of 15 minutes). First read which, and on what: ${local.log[stage]}. Then raise functions.${stage}.memory_mb, which also gives more processor."
      flow = true
    } },
    {
      throttled = {
        rule = local.throttled
        text = "Lambda refuses calls: the concurrency of the account, or reserved_concurrency, is used up. First look which function uses it: the console of Lambda, Dashboard. Then ask AWS for more, or raise reserved_concurrency."
        flow = true
      }
      stale = {
        rule = "${local.flow.lag} AND NOT (${local.explained})"
        text = "The warehouse is more than 30 minutes behind totesys, and no stage says why. First see which stage was not called, or calls nothing: the dashboard of CloudWatch, and ${local.log.ingest}."
        flow = true
      }
      quarantine = {
        rule = local.flow.quarantined
        text = "Rows broke the contract and wait in quarantine; all others are loaded. First list them with their reasons: make task COMMAND='quarantine show'. The mail of the end comes when all are repaired or released."
        flow = false
      }
      verify = {
        rule = local.flow.differs
        text = "The last verify found rows of the warehouse that differ from totesys. First repeat it: make task COMMAND=verify. If it differs again, keep its output, and replay."
        flow = false
      }
    },
    { for unverified in [for alarm, rule in local.flow : rule if alarm == "unverified"] : "unverified" => {
      rule = "${unverified} AND NOT (${local.explained})"
      text = "The warehouse was not compared with totesys for 36 hours: the nightly verify did not run or did not end. First run it: make task COMMAND=verify. It says why it can't."
      flow = true
    } },
    { for alarm, rule in local.warehouse : alarm => {
      rule = "${rule} AND NOT (${local.down.load})"
      text = {
        storage = "The warehouse's disk is nearly full and did not grow by itself for half an hour; loads fail when it is full. First raise warehouse_max_storage_gb, and deploy."
        cpu     = "The warehouse's processor was busy for half an hour; loads and dashboards become slow. First see with what: the console of RDS, Database Insights. Then a larger warehouse_instance_class helps."
      }[alarm]
      flow = false
    } },
    { for alarm, rule in local.source : alarm => {
      rule = "${rule} AND NOT (${local.down.ingest})"
      text = "A replication slot of totesys retains more than log_alarm_mb of log, which may fill its disk. First see whether ingest keeps up: ${local.log.ingest}. If the platform is out of use: make task COMMAND='log drop'."
      flow = false
    } },
    { for rules in [local.website] : "dashboard" => {
      rule = join(" OR ", rules)
      text = "The dashboard does not run, answers with errors, or lets nobody sign in. First read why: aws logs tail /aws/ecs/${var.name}-task --since 1h."
      flow = false
    } if length(rules) > 0 },
    { for rates in [for alarm, rule in local.flow : rule if alarm == "rates"] : "rates" => {
      rule = "${rates} AND NOT (${local.explained})"
      text = "No new exchange rates were stored for five days; the last ones are carried forward. First read why: aws logs tail /aws/lambda/${var.name}-rates --since 6d. The ECB may have changed its file."
      flow = false
    } },
  )
}

resource "aws_cloudwatch_composite_alarm" "mail" {
  for_each = local.mails

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.text} Runbook: docs/operations.md, The alarms, ${each.key}."
  alarm_rule        = each.value.rule
  alarm_actions     = [aws_sns_topic.alerts.arn]
  ok_actions        = [aws_sns_topic.alerts.arn]

  dynamic "actions_suppressor" {
    for_each = each.value.flow ? [local.paused] : []

    content {
      alarm            = actions_suppressor.value
      wait_period      = 60
      extension_period = 1800
    }
  }

  depends_on = [aws_cloudwatch_composite_alarm.paused]
}

locals {
  paused = "${var.name}-paused"
}

resource "aws_cloudwatch_composite_alarm" "paused" {
  alarm_name        = local.paused
  alarm_description = "In alarm while flow_enabled is false: silences the alarms that depend on the flow. It sends nothing itself."
  alarm_rule        = var.flow_enabled ? "FALSE" : "TRUE"
}
