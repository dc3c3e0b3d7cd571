-- The expected rows of dim_location.
SELECT address_id, address_line_1, address_line_2, district, city, postal_code, country, phone
FROM address
