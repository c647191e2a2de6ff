//! The doors for authorities and certificates over a store in memory, where nobody goes over by himself.

#![allow(clippy::unwrap_used)]

use hyper::Method;

use super::super::bounds::Bounds;
use super::super::test_store::{BOUND, House, house_of};
use super::wire::{AUTHORITY_PATH, AuthorityState, CERTIFICATES_PATH, Certify, Rotate};
use crate::base::Clock as _;
use crate::base::limits::CERTIFICATES_OF_ONE_NAME_MAX;
use crate::net::http::{self, Answer};
use crate::net::tls::{ClusterIdentity, certificates_in, fingerprint_of, request};

async fn post(house: &House, path: &str, body: Vec<u8>) -> Answer {
    let address = house.address.to_string().parse().unwrap();
    http::call(&address, Method::POST, path, Some(("application/json", body)), BOUND).await.unwrap()
}

async fn rotate(house: &House, anew: bool) -> Result<AuthorityState, String> {
    let asked = serde_json::to_vec(&Rotate { keep_former_ms: 0, anew }).unwrap();
    let answer = post(house, AUTHORITY_PATH, asked).await;
    match answer.status.is_success() {
        true => Ok(serde_json::from_slice(&answer.body).unwrap()),
        false => Err(String::from_utf8(answer.body.to_vec()).unwrap()),
    }
}

async fn authority(folder: &tempfile::TempDir) -> (House, ClusterIdentity) {
    let identity = ClusterIdentity::new(folder.path().join("identity"));
    let house = house_of(Bounds::default(), Some(identity.clone())).await;
    identity.found("x", &["localhost".to_owned()], house.clock.now()).unwrap();
    (house, identity)
}

#[tokio::test]
async fn an_authority_whose_key_was_lost_is_given_up_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let (house, identity) = authority(&folder).await;
    let former = identity.authority().unwrap();
    let first = rotate(&house, false).await.unwrap();
    assert_eq!(rotate(&house, false).await.unwrap().hash, first.hash, "what is on its way goes on");
    let second = rotate(&house, true).await.unwrap();
    assert_ne!(second.hash, first.hash);
    let of = |state: &AuthorityState| state.former.clone().unwrap().hash;
    assert_eq!(of(&second), of(&first));
    assert!(certificates_in(&second.trusted).any(|one| one == former.certificate()));

    let hash = fingerprint_of(&second.trusted).unwrap();
    let key = identity.key_of(&hash).unwrap();
    identity.adopt(&second.trusted, &key, &["localhost".to_owned()], house.clock.now()).unwrap();
    assert!(identity.shows(&second.trusted) && identity.key_of(&hash).is_some());
    let refused = rotate(&house, true).await.unwrap_err();
    assert!(refused.contains("nothing is lost"), "{refused}");
    house.doors.stop().await;
}

#[tokio::test]
async fn one_name_has_so_many_certificates_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _identity) = authority(&folder).await;
    let asked = |user: &str| {
        let request = request(&[]).unwrap().text;
        serde_json::to_vec(&Certify { user: user.to_owned(), request, days: 1 }).unwrap()
    };
    for _ in 0..CERTIFICATES_OF_ONE_NAME_MAX {
        assert_eq!(post(&house, CERTIFICATES_PATH, asked("ann")).await.status, 200);
    }
    let refused = post(&house, CERTIFICATES_PATH, asked("ann")).await;
    assert!(refused.status == 503 && String::from_utf8_lossy(&refused.body).contains("ann has 200"), "{refused:?}");
    assert_eq!(post(&house, CERTIFICATES_PATH, asked("bob")).await.status, 200);
    house.doors.stop().await;
}
