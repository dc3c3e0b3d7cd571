-- Designs as the warehouse must show them.
SELECT design_id, design_name, file_location, file_name FROM design
