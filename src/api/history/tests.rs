//! The door to history over the real state machine.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use crate::api::test_store::{House, Talk, house};
use crate::kv::{DeleteRangeRequest, Op, Space};
use crate::wire::history::{Page, Refusal};

/// Revision 2 at second 0, and so on, a minute between them.
async fn lived() -> House {
    let house = house().await;
    for (key, value) in [("/a", "1"), ("/b", "1"), ("/a", "2")] {
        house.store.apply(Op::put(key, value));
        house.clock.now.fetch_add(60_000, Ordering::Relaxed);
    }
    house.store.apply(Op::DeleteRange(DeleteRangeRequest { key: "/b".into(), ..DeleteRangeRequest::default() }));
    house
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

async fn page(house: &House, target: &str) -> Page {
    let (code, answer) = house.ask("GET", target, "").await;
    assert_eq!(code, 200, "{answer}");
    serde_json::from_str(body(&answer)).unwrap()
}

fn told(page: &Page) -> Vec<String> {
    let text = |data: &crate::wire::history::Data| String::from_utf8(data.bytes()).unwrap();
    let one = |change: &crate::wire::history::Change| {
        let value = change.value.as_ref().map(text).unwrap_or_default();
        format!("{} {} {}={value}", change.revision, change.action, text(&change.key))
    };
    page.changes.iter().map(one).collect()
}

#[tokio::test]
async fn keys_at_a_revision_and_at_a_time() {
    let house = lived().await;
    let cases = [
        ("key=/a", vec!["4 put /a=2"]),
        ("key=/a&at=3", vec!["2 create /a=1"]),
        ("key=/&prefix=true&at=3", vec!["2 create /a=1", "3 create /b=1"]),
        ("key=/&prefix=true&at=2026-11-21T00:24:20Z", vec!["2 create /a=1", "3 create /b=1"]),
        ("prefix=true", vec!["4 put /a=2"]),
        ("key=/nobody", vec![]),
    ];
    let start = jiff::Timestamp::from_millisecond(1_795_223_000_000 + 60_000).unwrap();
    for (query, expected) in cases {
        let query = query.replace("2026-11-21T00:24:20Z", &start.to_string());
        let page = page(&house, &format!("/kv/v1/keys?{query}")).await;
        assert_eq!(told(&page), expected, "{query}");
    }
    let page = page(&house, "/kv/v1/keys?key=/a&at=3").await;
    assert_eq!(page.at.time, Some(format!("{start:.3}")));
    assert_eq!(page.changes[0].time, Some(format!("{:.3}", start - jiff::SignedDuration::from_secs(60))));
    assert_eq!((page.since, page.oldest.revision), (None, 1));
    house.doors.stop().await;
}

#[tokio::test]
async fn history_and_difference_page_by_page() {
    let house = lived().await;
    assert_eq!(told(&page(&house, "/kv/v1/history?key=/b").await), ["5 delete /b=", "3 create /b=1"]);
    let diff = page(&house, "/kv/v1/diff?from=3").await;
    assert_eq!(told(&diff), ["4 put /a=2", "5 delete /b="]);
    assert_eq!((diff.since.unwrap().revision, diff.at.revision), (3, 5));
    assert_eq!(told(&page(&house, "/kv/v1/diff?from=3&to=4&key=/&prefix=true").await), ["4 put /a=2"]);
    for target in ["/kv/v1/history?key=/b", "/kv/v1/diff?from=3", "/kv/v1/keys?prefix=true&at=3"] {
        let whole = told(&page(&house, target).await);
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let one = page(&house, &format!("{target}&limit=1{next}")).await;
            assert!(one.changes.len() <= 1);
            all.extend(told(&one));
            // What is written meanwhile does not show.
            house.store.apply(Op::put("/zz", "new"));
            match one.next {
                Some(token) => next = format!("&page={token}"),
                None => break,
            }
        }
        assert_eq!(all, whole, "{target}");
    }
    house.doors.stop().await;
}

#[tokio::test]
async fn refusals_tell_the_remedy() {
    let house = lived().await;
    house.store.apply(Op::Compact { space: Space::User, revision: 4 });
    let cases = [
        ("keys?key=/a&at=3", 410, "history is kept since revision 4 (20"),
        ("keys?key=/a&at=2001-01-01T00:00:00Z", 410, "history_keep"),
        ("diff?from=3", 410, "history_keep"),
        ("watch?key=/a&from=3", 410, "history_keep"),
        ("keys?key=/a&at=99", 400, "the newest is revision 5"),
        ("keys?key=/a&at=soon", 400, "neither a revision nor a time"),
        ("keys", 400, "which one?"),
        ("history?prefix=true", 400, "which one?"),
        ("keys?kye=/a", 400, "unknown parameter"),
        ("diff?from=5&to=4", 400, "earlier moment first"),
        ("keys?key=/a&page=4", 400, "not of such a request"),
        ("keys?key=/a&page=?", 400, "not a page"),
    ];
    for (target, expected, words) in cases {
        let (code, answer) = house.ask("GET", &format!("/kv/v1/{target}"), "").await;
        assert_eq!(code, expected, "{target}: {answer}");
        let refusal: Refusal = serde_json::from_str(body(&answer)).unwrap();
        assert!(refusal.error.contains(words), "{target}: {}", refusal.error);
        assert_eq!(refusal.oldest.map(|place| place.revision), (code == 410).then_some(4), "{target}");
    }
    assert_eq!(house.ask("POST", "/kv/v1/keys?key=/a", "").await.0, 405);
    house.store.lead(None);
    assert_eq!(house.ask("GET", "/kv/v1/keys?key=/a", "").await.0, 503);
    house.doors.stop().await;
}

#[tokio::test]
async fn a_watch_begins_at_any_moment() {
    let house = lived().await;
    let after_first = jiff::Timestamp::from_millisecond(1_795_223_000_000).unwrap();
    for (from, first) in [("2".to_owned(), 2), (after_first.to_string(), 3), ("6".to_owned(), 6)] {
        let mut talk = Talk::to(house.address).await;
        talk.say("GET", &format!("/kv/v1/watch?key=/a&from={from}"), "").await;
        talk.hear(&format!("{{\"from\":{first}}}")).await;
        let value = format!("for {from}");
        house.store.apply(Op::put("/a", value.clone()));
        talk.hear(&format!("\"value\":\"{value}\"")).await;
        assert_eq!(talk.heard.contains("\"change\":{\"revision\":2,"), first == 2, "{}", talk.heard);
    }
    let mut talk = Talk::to(house.address).await;
    talk.say("GET", "/kv/v1/watch?prefix=true&key=/", "").await;
    talk.hear("\"from\":").await;
    house.doors.stop().await;
    talk.hear("\"error\":").await;
}
