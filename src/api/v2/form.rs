//! Forms as Go's `net/http` parses them: the query, and for some methods the body in front of it.

use hyper::Method;

use crate::api::http::unescape;

/// Names and values in the order of their precedence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a query and, if it is a form and the method has one, a body.
    ///
    /// # Errors
    /// What Go says of the first malformed pair.
    pub fn parse(method: &Method, query: &str, content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        let mut form = Form::default();
        let mut failure = Ok(());
        if takes_body(method) && is_form(content_type) {
            failure = form.add(&String::from_utf8_lossy(body));
        }
        let query = form.add(query);
        failure.and(query)?;
        Ok(form)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let mut failure = Ok(());
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair_of(pair) {
                Ok(pair) => self.0.push(pair),
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        failure
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Whether a request of this method may have a form in its body.
pub fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn is_form(content_type: Option<&str>) -> bool {
    let kind = content_type.unwrap_or_default().split(';').next();
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn pair_of(pair: &str) -> Result<(String, String), String> {
    if pair.contains(';') {
        return Err("invalid semicolon separator in query".to_owned());
    }
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let plain = |text| unescape(text, true).map_err(|escape| format!("invalid URL escape \"{escape}\""));
    Ok((plain(name)?, plain(value)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const URLENCODED: Option<&str> = Some("Application/X-WWW-form-urlencoded; charset=utf-8");

    #[test]
    fn the_body_comes_before_the_query() {
        let form = Form::parse(&Method::PUT, "value=q&ttl=5&x", URLENCODED, b"value=b+%21").unwrap();
        assert_eq!(form.get("value"), Some("b !"));
        assert_eq!(form.get("ttl"), Some("5"));
        assert_eq!(form.get("x"), Some(""));
        assert_eq!(form.get("y"), None);
    }

    #[test]
    fn other_bodies_and_other_methods_have_no_form() {
        let json = Some("application/json");
        for (method, kind) in [(Method::PUT, json), (Method::PUT, None), (Method::DELETE, URLENCODED)] {
            let form = Form::parse(&method, "", kind, b"value=b").unwrap();
            assert_eq!(form.get("value"), None, "{method} {kind:?}");
        }
    }

    #[test]
    fn malformed_pairs_are_told_in_gos_words() {
        let parse = |query| Form::parse(&Method::GET, query, None, b"").unwrap_err();
        assert_eq!(parse("a=1&%zz=1"), "invalid URL escape \"%zz\"");
        assert_eq!(parse("a=%4"), "invalid URL escape \"%4\"");
        assert_eq!(parse("a=1;b=2"), "invalid semicolon separator in query");
        assert_eq!(parse("a=%zz&b;"), "invalid URL escape \"%zz\"");
    }
}
