//! Performs effects: the only caller of the ports that touch production.
