-- The keys that the filter selects; NULL if it selects all. The reporting currency may have more
-- than one key.
SET VARIABLE currency_ids = CASE
    WHEN getvariable('currencies') IS NOT NULL
        THEN (
            SELECT coalesce(list(currency_id), []) FROM dim_currency
            WHERE list_contains(getvariable('currencies'), currency_code)
        )
END;

SET VARIABLE location_ids = CASE
    WHEN getvariable('countries') IS NOT NULL
        THEN (
            SELECT coalesce(list(location_id), []) FROM dim_location
            WHERE list_contains(getvariable('countries'), country)
        )
END;

SET VARIABLE counterparty_country_ids = CASE
    WHEN getvariable('countries') IS NOT NULL
        THEN (
            SELECT coalesce(list(counterparty_id), []) FROM dim_counterparty
            WHERE list_contains(getvariable('countries'), counterparty_legal_country)
        )
END;

SET VARIABLE staff_ids = CASE
    WHEN getvariable('departments') IS NOT NULL OR getvariable('staff_members') IS NOT NULL
        THEN (
            SELECT coalesce(list(staff_id), []) FROM dim_staff
            WHERE selects('departments', department_name) AND selects('staff_members', staff_id)
        )
END;

SET VARIABLE reporting_currency_ids = (
    SELECT coalesce(list(currency_id), []) FROM dim_currency
    WHERE currency_code = getvariable('reporting')
);
