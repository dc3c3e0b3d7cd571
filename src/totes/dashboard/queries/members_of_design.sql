-- Designs.
(SELECT design_id AS id, design_id AS key, {design_name} AS name FROM dim_design AS design)
