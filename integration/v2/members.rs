//! `/v2/members` and what stands beside it: requests that change nothing, at etcd and at ours.

use crate::http::Request;
use crate::pairs::Pair;

/// Method, path, content type and body. `OWN` is the member's own peer URL.
const STEPS: &[(&str, &str, &str, &str)] = &[
    ("PATCH", "/v2/members", "", ""),
    ("HEAD", "/v2/members", "", ""),
    ("GET", "/v2/members/ffff", "", ""),
    ("GET", "/v2/members/leader/more", "", ""),
    ("POST", "/v2/members", "", ""),
    ("POST", "/v2/members", "text/plain", "{}"),
    ("POST", "/v2/members", "application/json", "{"),
    ("POST", "/v2/members", "application/json; charset=utf-8", "{\"peerURLs\":[\"nowhere\"]}"),
    ("POST", "/v2/members", "application/json", "{\"peerURLs\":[\"OWN\"]}"),
    ("PUT", "/v2/members", "", ""),
    ("PUT", "/v2/members/", "", ""),
    ("PUT", "/v2/members/zz", "application/json", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
    ("PUT", "/v2/members/ffff", "text/plain", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
    ("PUT", "/v2/members/ffff", "application/json", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
    ("DELETE", "/v2/members", "", ""),
    ("DELETE", "/v2/members/zz", "", ""),
    ("DELETE", "/v2/members/ffff", "", ""),
    ("PUT", "/v2/machines", "", ""),
    ("PUT", "/version", "", ""),
    ("PUT", "/health", "", ""),
];
/// What Go's and our readers of JSON and URLs say of mistakes is worded differently.
const OWN_WORDS: u16 = 400;

/// The steps that are answered differently.
pub fn differences(pair: &mut Pair) -> Vec<String> {
    let mut differences = Vec::new();
    for (method, target, kind, body) in STEPS {
        let mut requests = [&pair.etcd, &pair.ours].map(|server| {
            let mut request = Request::new(method, *target);
            if !kind.is_empty() {
                request = request.header("Content-Type", *kind);
            }
            request.body = body.replace("OWN", &format!("http://{}", server.peer));
            server.ask(&request)
        });
        if requests[0].status == OWN_WORDS {
            requests.iter_mut().for_each(|answer| answer.body.clear());
        }
        let [etcd, ours] = &requests;
        if let Some(what) = crate::compare::difference(etcd, ours, true) {
            differences.push(format!("{method} {target} {body}: {what}\n  etcd: {etcd:?}\n  ours: {ours:?}"));
        }
    }
    differences
}
