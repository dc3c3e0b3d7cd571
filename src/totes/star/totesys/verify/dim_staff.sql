-- The expected rows of dim_staff: staff with their department.
SELECT
    s.staff_id, s.first_name, s.last_name,
    (SELECT d.department_name FROM department AS d WHERE d.department_id = s.department_id),
    (SELECT d.location FROM department AS d WHERE d.department_id = s.department_id),
    s.email_address
FROM staff AS s
