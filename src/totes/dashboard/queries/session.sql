-- Settings of a page's session: read-only, short timeouts, enough memory to aggregate without
-- spilling to disk.
SET default_transaction_read_only = on;
SET row_security = on;
SET statement_timeout = '30s';
SET lock_timeout = '2s';
SET work_mem = '64MB';
SET random_page_cost = 1.1
