-- That totals are of orders of the staff that the filter chooses.
staff_id = ANY(%(staff_ids)s::int[])
