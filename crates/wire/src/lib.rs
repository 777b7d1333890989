//! Versioned messages between server, agent and router.
