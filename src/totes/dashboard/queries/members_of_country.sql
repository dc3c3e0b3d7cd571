-- Places of delivery by their country.
(SELECT location_id AS id, country AS key, country AS name FROM dim_location)
