//! Unit tests of the engine: budgets, nesting limits, and what differs between Go versions.
