-- For a page's session: it only reads, gives up what takes too long, waits for no loader, and sums up
-- in memory.
SET default_transaction_read_only = on;
SET row_security = on;
SET statement_timeout = '30s';
SET lock_timeout = '2s';
SET work_mem = '64MB';
SET random_page_cost = 1.1
