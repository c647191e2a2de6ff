//! What one execution may use: a bound for templates that loop, recurse or grow without end.

/// Limits of one [`super::Template::execute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Templates invoked from within templates (`{{template}}`), nested.
    pub template_depth: usize,
    /// Evaluation steps: nodes, commands, loop rounds, and one per [`BYTES_PER_STEP`] bytes of intermediate text.
    pub steps: u64,
    /// Bytes of output; also of any single intermediate text.
    pub output_bytes: usize,
}

/// Intermediate text of this many bytes costs one step.
pub const BYTES_PER_STEP: usize = 16;

/// Blocks and templates that may be open at once while executing: what bounds the memory of deep recursion.
pub const MAX_OPEN_BLOCKS: usize = 400_000;

impl Default for Budget {
    /// Generous for configuration files: 10 000 nested templates, 20 million steps, 64 MiB.
    fn default() -> Self {
        Budget { template_depth: 10_000, steps: 20_000_000, output_bytes: 64 << 20 }
    }
}
