-- One row for each day of the years in use and of one year before and after each of them.
-- A year is in use if a fact of this batch has a date in it.

with

dates_in_use as (

    select created_date as day from fact_sales_order
    union select last_updated_date from fact_sales_order
    union select agreed_delivery_date from fact_sales_order
    union select agreed_payment_date from fact_sales_order
    union select created_date from fact_purchase_order
    union select last_updated_date from fact_purchase_order
    union select agreed_delivery_date from fact_purchase_order
    union select agreed_payment_date from fact_purchase_order
    union select created_date from fact_payment
    union select last_updated_date from fact_payment
    union select payment_date from fact_payment
    union select rate_date from fact_exchange_rate

),

years_in_use as (

    select distinct extract(year from day) as year
    from dates_in_use

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
