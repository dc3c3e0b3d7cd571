-- Members of staff.
(SELECT staff_id AS id, staff_id AS key, {staff_name} AS name FROM dim_staff AS staff)
