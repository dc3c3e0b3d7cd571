-- One row for each transaction: a sale or a purchase, with the id of its order.

select
    transaction_id,
    transaction_type,
    sales_order_id,
    purchase_order_id
from "transaction"
where _changed
