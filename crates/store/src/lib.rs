//! The ledger, leases, timers, projections and tokens, on SQLite, PostgreSQL or memory.
