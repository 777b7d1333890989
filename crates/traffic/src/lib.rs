//! The router: weighted versions, bulkheads, deadlines and health that is measured, not claimed.
