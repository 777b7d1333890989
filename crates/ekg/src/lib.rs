//! Monitoring: scraping, signals and exact counts.
