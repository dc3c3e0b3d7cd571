-- Lines of the daily totals, which know nothing of the order's member of staff.
(
    SELECT
        day,
        currency_id,
        payment_type_id,
        paid,
        {counterparty_id} AS counterparty_id,
        payments,
        value
    FROM {totals}
)
