//! The HTTP API: resources, changes, rollouts, queries and the streams of agents and routers.
