-- One row for each design of a tote bag.

select
    design_id,
    design_name,
    file_location,
    file_name
from design
where _changed
