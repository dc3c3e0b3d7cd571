-- Members of staff by their department.
(SELECT staff_id AS id, department_name AS key, department_name AS name FROM dim_staff)
