-- The payments that a filter chooses. Their country is the payer's or payee's; the department is that
-- of the order's member of staff. Which way they went is told of their sums, see part_kinds.sql: there
-- are many lines and four kinds.
(
    SELECT *
    FROM {source} AS payment
    WHERE payment.day BETWEEN %(since)s AND %(until)s
        AND {narrowed}
)
