-- Lines of the daily totals, of orders of anybody or of the staff that the filter chooses.
(
    SELECT
        day,
        currency_id,
        payment_type_id,
        due_at_once,
        paid,
        {counterparty_id} AS counterparty_id,
        payments,
        value
    FROM {totals}
    WHERE {whose}
)
