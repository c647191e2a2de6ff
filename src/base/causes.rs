//! Errors told with their causes.

/// An error's message with those of its causes, each once: many crates name the cause in the message as well.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let reason = inner.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    #[test]
    fn each_cause_is_told_once() {
        let root = Told { text: "connection refused", source: None };
        let middle = Told { text: "connect: connection refused", source: Some(Box::new(root)) };
        let error = Told { text: "no answer", source: Some(Box::new(middle)) };
        assert_eq!(with_causes(&error), "no answer: connect: connection refused");
    }
}
