"""The columns of totesys as its description has them, independent of data/totesys.sql."""

STAMPS = [
    "created_at timestamp(3) without time zone NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "last_updated timestamp(3) without time zone NOT NULL",
]
ORDER = [
    "agreed_delivery_date text NOT NULL",
    "agreed_payment_date text NOT NULL",
    "agreed_delivery_location_id integer NOT NULL",
]

COLUMNS = {
    "address": [
        "address_id integer NOT NULL",
        "address_line_1 text NOT NULL",
        "address_line_2 text",
        "district text",
        "city text NOT NULL",
        "postal_code text NOT NULL",
        "country text NOT NULL",
        "phone text NOT NULL",
        *STAMPS,
    ],
    "counterparty": [
        "counterparty_id integer NOT NULL",
        "counterparty_legal_name text NOT NULL",
        "legal_address_id integer NOT NULL",
        "commercial_contact text",
        "delivery_contact text",
        *STAMPS,
    ],
    "currency": [
        "currency_id integer NOT NULL",
        "currency_code character varying(3) NOT NULL",
        *STAMPS,
    ],
    "department": [
        "department_id integer NOT NULL",
        "department_name text NOT NULL",
        "location text",
        "manager text",
        *STAMPS,
    ],
    "design": [
        "design_id integer NOT NULL",
        STAMPS[0],
        "design_name text NOT NULL",
        "file_location text NOT NULL",
        "file_name text NOT NULL",
        STAMPS[1],
    ],
    "payment": [
        "payment_id integer NOT NULL",
        *STAMPS,
        "transaction_id integer NOT NULL",
        "counterparty_id integer NOT NULL",
        "payment_amount numeric(10,2) NOT NULL",
        "currency_id integer NOT NULL",
        "payment_type_id integer NOT NULL",
        "paid boolean NOT NULL",
        "payment_date text NOT NULL",
        "company_ac_number integer NOT NULL",
        "counterparty_ac_number integer NOT NULL",
    ],
    "payment_type": [
        "payment_type_id integer NOT NULL",
        'payment_type_name "PaymentTypeName" NOT NULL',
        *STAMPS,
    ],
    "purchase_order": [
        "purchase_order_id integer NOT NULL",
        *STAMPS,
        "staff_id integer NOT NULL",
        "counterparty_id integer NOT NULL",
        "item_code text NOT NULL",
        "item_quantity integer NOT NULL",
        "item_unit_price numeric(10,2) NOT NULL",
        "currency_id integer NOT NULL",
        *ORDER,
    ],
    "sales_order": [
        "sales_order_id integer NOT NULL",
        *STAMPS,
        "design_id integer NOT NULL",
        "staff_id integer NOT NULL",
        "counterparty_id integer NOT NULL",
        "units_sold integer NOT NULL",
        "unit_price numeric(10,2) NOT NULL",
        "currency_id integer NOT NULL",
        *ORDER,
    ],
    "staff": [
        "staff_id integer NOT NULL",
        "first_name text NOT NULL",
        "last_name text NOT NULL",
        "department_id integer NOT NULL",
        "email_address text NOT NULL",
        *STAMPS,
    ],
    "transaction": [
        "transaction_id integer NOT NULL",
        'transaction_type "TransactionType" NOT NULL',
        "sales_order_id integer",
        "purchase_order_id integer",
        *STAMPS,
    ],
}
"""Name, type and constraints of each column, by table."""
