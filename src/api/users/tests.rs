//! Tokens and passwords, and the doors' way with them.
