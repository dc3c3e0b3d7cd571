-- Members of staff.
(
    SELECT staff_id AS id, staff_id AS key, first_name || ' ' || last_name AS name
    FROM dim_staff
)
