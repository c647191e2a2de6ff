//! fleet's brain: machines, units and states as values; `plan` decides where units run, `diff` what a machine does about it.

pub mod executor;
