//! What runs where: the host agent, its process driver, and measured identity.
