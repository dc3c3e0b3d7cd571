-- The three overlapping stars, their history, and what analysts read them with.

CREATE TABLE dim_date (
    date_id date PRIMARY KEY,
    year integer NOT NULL,
    month integer NOT NULL,
    day integer NOT NULL,
    day_of_week integer NOT NULL,
    day_name varchar NOT NULL,
    month_name varchar NOT NULL,
    quarter integer NOT NULL
);
COMMENT ON TABLE dim_date IS
    'One day; whole years, those of the dates in use and one before and after.';
COMMENT ON COLUMN dim_date.date_id IS 'The day itself.';
COMMENT ON COLUMN dim_date.year IS 'Calendar year.';
COMMENT ON COLUMN dim_date.month IS 'Month of the year, 1 to 12.';
COMMENT ON COLUMN dim_date.day IS 'Day of the month, 1 to 31.';
COMMENT ON COLUMN dim_date.day_of_week IS 'ISO day of the week: Monday is 1, Sunday 7.';
COMMENT ON COLUMN dim_date.day_name IS 'English name of the day.';
COMMENT ON COLUMN dim_date.month_name IS 'English name of the month.';
COMMENT ON COLUMN dim_date.quarter IS 'Quarter of the year, 1 to 4.';

CREATE TABLE dim_staff (
    staff_id integer PRIMARY KEY,
    first_name varchar NOT NULL,
    last_name varchar NOT NULL,
    department_name varchar NOT NULL,
    location varchar,
    email_address varchar NOT NULL
);
COMMENT ON TABLE dim_staff IS 'A member of staff with their department, as they are now.';
COMMENT ON COLUMN dim_staff.staff_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_staff.first_name IS 'First name.';
COMMENT ON COLUMN dim_staff.last_name IS 'Last name.';
COMMENT ON COLUMN dim_staff.department_name IS 'Name of the department.';
COMMENT ON COLUMN dim_staff.location IS 'Where the department is; NULL where totesys does not say.';
COMMENT ON COLUMN dim_staff.email_address IS 'Email address.';

CREATE TABLE dim_location (
    location_id integer PRIMARY KEY,
    address_line_1 varchar NOT NULL,
    address_line_2 varchar,
    district varchar,
    city varchar NOT NULL,
    postal_code varchar NOT NULL,
    country varchar NOT NULL,
    phone varchar NOT NULL
);
COMMENT ON TABLE dim_location IS 'An address that orders are delivered to, as it is now.';
COMMENT ON COLUMN dim_location.location_id IS 'Key, the address_id of totesys.';
COMMENT ON COLUMN dim_location.address_line_1 IS 'First line of the address.';
COMMENT ON COLUMN dim_location.address_line_2 IS 'Second line of the address.';
COMMENT ON COLUMN dim_location.district IS 'District.';
COMMENT ON COLUMN dim_location.city IS 'City.';
COMMENT ON COLUMN dim_location.postal_code IS 'Postal code.';
COMMENT ON COLUMN dim_location.country IS 'Country.';
COMMENT ON COLUMN dim_location.phone IS 'Phone number.';

CREATE TABLE dim_currency (
    currency_id integer PRIMARY KEY,
    currency_code varchar NOT NULL,
    currency_name varchar NOT NULL
);
COMMENT ON TABLE dim_currency IS 'A currency.';
COMMENT ON COLUMN dim_currency.currency_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_currency.currency_code IS 'ISO 4217 code, such as GBP.';
COMMENT ON COLUMN dim_currency.currency_name IS 'ISO 4217 name; it is not in totesys.';

CREATE TABLE dim_design (
    design_id integer PRIMARY KEY,
    design_name varchar NOT NULL,
    file_location varchar NOT NULL,
    file_name varchar NOT NULL
);
COMMENT ON TABLE dim_design IS 'A design of a tote bag, as it is now.';
COMMENT ON COLUMN dim_design.design_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_design.design_name IS 'Name of the design.';
COMMENT ON COLUMN dim_design.file_location IS 'Folder of the design file.';
COMMENT ON COLUMN dim_design.file_name IS 'Name of the design file.';

CREATE TABLE dim_counterparty (
    counterparty_id integer PRIMARY KEY,
    counterparty_legal_name varchar NOT NULL,
    counterparty_legal_address_line_1 varchar NOT NULL,
    counterparty_legal_address_line_2 varchar,
    counterparty_legal_district varchar,
    counterparty_legal_city varchar NOT NULL,
    counterparty_legal_postal_code varchar NOT NULL,
    counterparty_legal_country varchar NOT NULL,
    counterparty_legal_phone_number varchar NOT NULL
);
COMMENT ON TABLE dim_counterparty IS
    'A customer or supplier with their legal address, as they are now.';
COMMENT ON COLUMN dim_counterparty.counterparty_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_name IS 'Legal name.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_address_line_1 IS
    'First line of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_address_line_2 IS
    'Second line of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_district IS 'District of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_city IS 'City of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_postal_code IS
    'Postal code of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_country IS 'Country of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_phone_number IS
    'Phone number at the legal address.';

CREATE TABLE dim_payment_type (
    payment_type_id integer PRIMARY KEY,
    payment_type_name varchar NOT NULL
);
COMMENT ON TABLE dim_payment_type IS 'A kind of payment.';
COMMENT ON COLUMN dim_payment_type.payment_type_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_payment_type.payment_type_name IS
    'SALES_RECEIPT, SALES_REFUND, PURCHASE_PAYMENT or PURCHASE_REFUND.';

CREATE TABLE dim_transaction (
    transaction_id integer PRIMARY KEY,
    transaction_type varchar NOT NULL,
    sales_order_id integer,
    purchase_order_id integer
);
COMMENT ON TABLE dim_transaction IS 'What a payment is for: one sale or one purchase.';
COMMENT ON COLUMN dim_transaction.transaction_id IS 'Key, as in totesys.';
COMMENT ON COLUMN dim_transaction.transaction_type IS 'SALE or PURCHASE.';
COMMENT ON COLUMN dim_transaction.sales_order_id IS
    'The sales order, of a sale; totesys clears it when the order is deleted.';
COMMENT ON COLUMN dim_transaction.purchase_order_id IS
    'The purchase order, of a purchase; totesys clears it when the order is deleted.';

CREATE TABLE fact_sales_order (
    sales_record_id serial PRIMARY KEY,
    sales_order_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date,
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date,
    last_updated_time time NOT NULL,
    sales_staff_id integer NOT NULL REFERENCES dim_staff,
    counterparty_id integer NOT NULL REFERENCES dim_counterparty,
    units_sold integer NOT NULL,
    unit_price numeric(10,2) NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency,
    design_id integer NOT NULL REFERENCES dim_design,
    agreed_payment_date date NOT NULL REFERENCES dim_date,
    agreed_delivery_date date NOT NULL REFERENCES dim_date,
    agreed_delivery_location_id integer NOT NULL REFERENCES dim_location,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz
);
CREATE UNIQUE INDEX fact_sales_order_version ON fact_sales_order (sales_order_id, valid_from);
CREATE UNIQUE INDEX fact_sales_order_current ON fact_sales_order (sales_order_id)
WHERE valid_to IS NULL;
COMMENT ON TABLE fact_sales_order IS 'A version of a sales order: every change adds a row.';
COMMENT ON COLUMN fact_sales_order.sales_record_id IS
    'This version: a number without further meaning.';
COMMENT ON COLUMN fact_sales_order.sales_order_id IS
    'The order, as in totesys; it repeats with every version.';
COMMENT ON COLUMN fact_sales_order.created_date IS 'Day the row was created in totesys.';
COMMENT ON COLUMN fact_sales_order.created_time IS 'Time of day the row was created in totesys.';
COMMENT ON COLUMN fact_sales_order.last_updated_date IS
    'Day totesys says the row was last updated; silent changes do not move it.';
COMMENT ON COLUMN fact_sales_order.last_updated_time IS
    'Time of day totesys says the row was last updated.';
COMMENT ON COLUMN fact_sales_order.sales_staff_id IS 'Who made the sale.';
COMMENT ON COLUMN fact_sales_order.counterparty_id IS 'The customer.';
COMMENT ON COLUMN fact_sales_order.units_sold IS 'How many bags.';
COMMENT ON COLUMN fact_sales_order.unit_price IS 'Price of one bag, in the currency of the order.';
COMMENT ON COLUMN fact_sales_order.currency_id IS 'Currency of the order.';
COMMENT ON COLUMN fact_sales_order.design_id IS 'Design of the bags.';
COMMENT ON COLUMN fact_sales_order.agreed_payment_date IS 'Day payment is due.';
COMMENT ON COLUMN fact_sales_order.agreed_delivery_date IS 'Day delivery is due.';
COMMENT ON COLUMN fact_sales_order.agreed_delivery_location_id IS 'Where to deliver.';
COMMENT ON COLUMN fact_sales_order.valid_from IS
    'When the platform first saw this version in totesys.';
COMMENT ON COLUMN fact_sales_order.valid_to IS
    'When it stopped being true: the next version''s valid_from, or the moment the row was '
    'seen deleted; NULL while it is true.';

CREATE VIEW current_sales_order AS
SELECT
    sales_record_id, sales_order_id, created_date, created_time, last_updated_date,
    last_updated_time, sales_staff_id, counterparty_id, units_sold, unit_price, currency_id,
    design_id, agreed_payment_date, agreed_delivery_date, agreed_delivery_location_id
FROM fact_sales_order
WHERE valid_to IS NULL;
COMMENT ON VIEW current_sales_order IS
    'Every sales order as it is now, with the columns of the ERD.';

CREATE FUNCTION sales_order_as_of(moment timestamptz) RETURNS SETOF current_sales_order
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT
    sales_record_id, sales_order_id, created_date, created_time, last_updated_date,
    last_updated_time, sales_staff_id, counterparty_id, units_sold, unit_price, currency_id,
    design_id, agreed_payment_date, agreed_delivery_date, agreed_delivery_location_id
FROM fact_sales_order
WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment);
END;
COMMENT ON FUNCTION sales_order_as_of(timestamptz) IS
    'Every sales order as it stood at a moment, with the columns of the ERD.';

CREATE TABLE fact_purchase_order (
    purchase_record_id serial PRIMARY KEY,
    purchase_order_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date,
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date,
    last_updated_time time NOT NULL,
    staff_id integer NOT NULL REFERENCES dim_staff,
    counterparty_id integer NOT NULL REFERENCES dim_counterparty,
    item_code varchar NOT NULL,
    item_quantity integer NOT NULL,
    item_unit_price numeric NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency,
    agreed_delivery_date date NOT NULL REFERENCES dim_date,
    agreed_payment_date date NOT NULL REFERENCES dim_date,
    agreed_delivery_location_id integer NOT NULL REFERENCES dim_location,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz
);
CREATE UNIQUE INDEX fact_purchase_order_version
ON fact_purchase_order (purchase_order_id, valid_from);
CREATE UNIQUE INDEX fact_purchase_order_current ON fact_purchase_order (purchase_order_id)
WHERE valid_to IS NULL;
COMMENT ON TABLE fact_purchase_order IS 'A version of a purchase order: every change adds a row.';
COMMENT ON COLUMN fact_purchase_order.purchase_record_id IS
    'This version: a number without further meaning.';
COMMENT ON COLUMN fact_purchase_order.purchase_order_id IS
    'The order, as in totesys; it repeats with every version.';
COMMENT ON COLUMN fact_purchase_order.created_date IS 'Day the row was created in totesys.';
COMMENT ON COLUMN fact_purchase_order.created_time IS 'Time of day the row was created in totesys.';
COMMENT ON COLUMN fact_purchase_order.last_updated_date IS
    'Day totesys says the row was last updated; silent changes do not move it.';
COMMENT ON COLUMN fact_purchase_order.last_updated_time IS
    'Time of day totesys says the row was last updated.';
COMMENT ON COLUMN fact_purchase_order.staff_id IS 'Who made the purchase.';
COMMENT ON COLUMN fact_purchase_order.counterparty_id IS 'The supplier.';
COMMENT ON COLUMN fact_purchase_order.item_code IS 'The supplier''s code of the item.';
COMMENT ON COLUMN fact_purchase_order.item_quantity IS 'How many items.';
COMMENT ON COLUMN fact_purchase_order.item_unit_price IS
    'Price of one item, in the currency of the order.';
COMMENT ON COLUMN fact_purchase_order.currency_id IS 'Currency of the order.';
COMMENT ON COLUMN fact_purchase_order.agreed_delivery_date IS 'Day delivery is due.';
COMMENT ON COLUMN fact_purchase_order.agreed_payment_date IS 'Day payment is due.';
COMMENT ON COLUMN fact_purchase_order.agreed_delivery_location_id IS 'Where to deliver.';
COMMENT ON COLUMN fact_purchase_order.valid_from IS
    'When the platform first saw this version in totesys.';
COMMENT ON COLUMN fact_purchase_order.valid_to IS
    'When it stopped being true: the next version''s valid_from, or the moment the row was '
    'seen deleted; NULL while it is true.';

CREATE VIEW current_purchase_order AS
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date,
    last_updated_time, staff_id, counterparty_id, item_code, item_quantity, item_unit_price,
    currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
FROM fact_purchase_order
WHERE valid_to IS NULL;
COMMENT ON VIEW current_purchase_order IS
    'Every purchase order as it is now, with the columns of the ERD.';

CREATE VIEW fact_purchase_orders AS
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date,
    last_updated_time, staff_id, counterparty_id, item_code, item_quantity, item_unit_price,
    currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
FROM fact_purchase_order;
COMMENT ON VIEW fact_purchase_orders IS
    'Another name of fact_purchase_order: all versions, with the columns of the ERD.';

CREATE FUNCTION purchase_order_as_of(moment timestamptz) RETURNS SETOF current_purchase_order
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date,
    last_updated_time, staff_id, counterparty_id, item_code, item_quantity, item_unit_price,
    currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
FROM fact_purchase_order
WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment);
END;
COMMENT ON FUNCTION purchase_order_as_of(timestamptz) IS
    'Every purchase order as it stood at a moment, with the columns of the ERD.';

CREATE TABLE fact_payment (
    payment_record_id serial PRIMARY KEY,
    payment_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date,
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date,
    last_updated_time time NOT NULL,
    transaction_id integer NOT NULL REFERENCES dim_transaction,
    counterparty_id integer NOT NULL REFERENCES dim_counterparty,
    payment_amount numeric NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency,
    payment_type_id integer NOT NULL REFERENCES dim_payment_type,
    paid boolean NOT NULL,
    payment_date date NOT NULL REFERENCES dim_date,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz
);
CREATE UNIQUE INDEX fact_payment_version ON fact_payment (payment_id, valid_from);
CREATE UNIQUE INDEX fact_payment_current ON fact_payment (payment_id)
WHERE valid_to IS NULL;
COMMENT ON TABLE fact_payment IS 'A version of a payment: every change adds a row.';
COMMENT ON COLUMN fact_payment.payment_record_id IS
    'This version: a number without further meaning.';
COMMENT ON COLUMN fact_payment.payment_id IS
    'The payment, as in totesys; it repeats with every version.';
COMMENT ON COLUMN fact_payment.created_date IS 'Day the row was created in totesys.';
COMMENT ON COLUMN fact_payment.created_time IS 'Time of day the row was created in totesys.';
COMMENT ON COLUMN fact_payment.last_updated_date IS
    'Day totesys says the row was last updated; silent changes do not move it.';
COMMENT ON COLUMN fact_payment.last_updated_time IS
    'Time of day totesys says the row was last updated.';
COMMENT ON COLUMN fact_payment.transaction_id IS 'What is paid for.';
COMMENT ON COLUMN fact_payment.counterparty_id IS 'Who pays or is paid.';
COMMENT ON COLUMN fact_payment.payment_amount IS 'The amount, in the currency of the payment.';
COMMENT ON COLUMN fact_payment.currency_id IS 'Currency of the payment.';
COMMENT ON COLUMN fact_payment.payment_type_id IS 'Receipt, payment or refund.';
COMMENT ON COLUMN fact_payment.paid IS 'Whether it has been paid.';
COMMENT ON COLUMN fact_payment.payment_date IS 'Day payment is due.';
COMMENT ON COLUMN fact_payment.valid_from IS 'When the platform first saw this version in totesys.';
COMMENT ON COLUMN fact_payment.valid_to IS
    'When it stopped being true: the next version''s valid_from, or the moment the row was '
    'seen deleted; NULL while it is true.';

CREATE VIEW current_payment AS
SELECT
    payment_record_id, payment_id, created_date, created_time, last_updated_date,
    last_updated_time, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date
FROM fact_payment
WHERE valid_to IS NULL;
COMMENT ON VIEW current_payment IS
    'Every payment as it is now, with the columns of the ERD.';

CREATE FUNCTION payment_as_of(moment timestamptz) RETURNS SETOF current_payment
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT
    payment_record_id, payment_id, created_date, created_time, last_updated_date,
    last_updated_time, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date
FROM fact_payment
WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment);
END;
COMMENT ON FUNCTION payment_as_of(timestamptz) IS
    'Every payment as it stood at a moment, with the columns of the ERD.';

-- A view's column means what its table's means.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT v.view_name, a.attname, col_description(v.table_name::regclass, t.attnum) AS comment
        FROM (VALUES
            ('current_sales_order', 'fact_sales_order'),
            ('current_purchase_order', 'fact_purchase_order'),
            ('current_payment', 'fact_payment'),
            ('fact_purchase_orders', 'fact_purchase_order')
        ) AS v (view_name, table_name)
        JOIN pg_attribute a ON a.attrelid = v.view_name::regclass AND a.attnum > 0
        JOIN pg_attribute t ON t.attrelid = v.table_name::regclass AND t.attname = a.attname
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN %I.%I IS %L',
            described.view_name, described.attname, described.comment
        );
    END LOOP;
END
$$;

GRANT SELECT ON
    dim_date,
    dim_staff,
    dim_location,
    dim_currency,
    dim_design,
    dim_counterparty,
    dim_payment_type,
    dim_transaction,
    fact_sales_order,
    fact_purchase_order,
    fact_payment,
    current_sales_order,
    current_purchase_order,
    current_payment,
    fact_purchase_orders
TO totes_reader;
