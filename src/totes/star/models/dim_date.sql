-- One row for each day of the years in use, and of one year before and after them.
-- A year is in use when an order or a payment that changed has a date in it. Only text that is
-- exactly the name of a day in the calendar counts: a typing error adds no years.

with

calendar as (

    select cast(day as date) as day
    from generate_series(date '1900-01-01', date '2200-12-31', interval '1 day') as days (day)

),

dates_of_sales as (

    select distinct
        split_part(created_at, ' ', 1) as created,
        split_part(last_updated, ' ', 1) as last_updated,
        agreed_delivery_date,
        agreed_payment_date
    from sales_order
    where _changed

),

dates_of_purchases as (

    select distinct
        split_part(created_at, ' ', 1) as created,
        split_part(last_updated, ' ', 1) as last_updated,
        agreed_delivery_date,
        agreed_payment_date
    from purchase_order
    where _changed

),

dates_of_payments as (

    select distinct
        split_part(created_at, ' ', 1) as created,
        split_part(last_updated, ' ', 1) as last_updated,
        payment_date
    from payment
    where _changed

),

dates_in_use as (

    select created as date_text from dates_of_sales
    union select last_updated from dates_of_sales
    union select agreed_delivery_date from dates_of_sales
    union select agreed_payment_date from dates_of_sales
    union select created from dates_of_purchases
    union select last_updated from dates_of_purchases
    union select agreed_delivery_date from dates_of_purchases
    union select agreed_payment_date from dates_of_purchases
    union select created from dates_of_payments
    union select last_updated from dates_of_payments
    union select payment_date from dates_of_payments

),

years_in_use as (

    select distinct extract(year from calendar.day) as year
    from calendar
    inner join dates_in_use
        on cast(calendar.day as varchar) = dates_in_use.date_text

),

days as (

    select distinct calendar.day
    from calendar
    inner join years_in_use
        on extract(year from calendar.day) between years_in_use.year - 1 and years_in_use.year + 1

)

select
    cast(day as varchar) as date_id,
    cast(extract(year from day) as varchar) as year,
    cast(extract(month from day) as varchar) as month,
    cast(extract(day from day) as varchar) as day,
    cast(extract(isodow from day) as varchar) as day_of_week,
    strftime(day, '%A') as day_name,
    strftime(day, '%B') as month_name,
    cast(extract(quarter from day) as varchar) as quarter
from days
