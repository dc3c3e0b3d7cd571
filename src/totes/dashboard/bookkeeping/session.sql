-- Settings of a page's session: read-only, short timeouts.
SET default_transaction_read_only = on;
SET row_security = on;
SET statement_timeout = '30s';
SET lock_timeout = '2s'
