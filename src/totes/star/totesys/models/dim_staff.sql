-- One row for each member of staff, with the department they work in.
-- A row changes if the member of staff or the department changes.

with

staff_with_departments as (

    select
        staff.staff_id,
        staff.first_name,
        staff.last_name,
        department.department_name,
        department.location,
        staff.email_address,
        staff._changed or coalesce(department._changed, false) as _changed
    from staff
    left join department
        on staff.department_id = department.department_id

)

select
    staff_id,
    first_name,
    last_name,
    department_name,
    location,
    email_address
from staff_with_departments
where _changed
