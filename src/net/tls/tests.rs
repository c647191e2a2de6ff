//! Both ends of a connection over memory: who trusts whom, names, revocation, files that change.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::UnixMillis;

/// A certificate authority in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives out a certificate for 127.0.0.1 with a common name.
    fn give(&self, name: &str, serial: u64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files =
            Identity { certificate: self.file(&format!("{name}.pem")), key: self.file(&format!("{name}-key.pem")) };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn revoke(&self, serial: u64) -> PathBuf {
        let day = |day| rcgen::date_time_ymd(day, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: day(2020),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: day(2020),
            next_update: day(2040),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let file = self.file("crl.pem");
        std::fs::write(&file, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        file
    }
}

fn terms(authority: &Authority) -> Terms {
    Terms {
        identity: authority.give("server", 1),
        trusted_ca: None,
        revoked: None,
        listed: None,
        marks_listed: false,
        allowed_name: None,
        admits_strangers: false,
        newest_only: false,
        protocols: vec![Protocol::Http2, Protocol::Http1],
    }
}

/// Connects; what the server found out about the client, or the first failure of either.
async fn meet(server: &Arc<ServerTls>, client: &ClientTls) -> Result<Option<String>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    let far = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut accepted = server.accept(stream).await.map_err(|error| error.to_string())?;
        accepted.stream.write_all(b"hello").await.map_err(|error| error.to_string())?;
        Ok::<_, String>(accepted.name)
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let near = async {
        let mut stream = client.connect(stream, "127.0.0.1", Protocol::Http1).await?;
        let mut read = [0; 5];
        stream.read_exact(&mut read).await?;
        assert_eq!(&read, b"hello");
        std::io::Result::Ok(())
    };
    let near = near.await.map_err(|error| error.to_string());
    let far = far.await.unwrap();
    near.and(far)
}

fn client(ca: &Path, identity: Option<Identity>) -> ClientTls {
    ClientTls { trusted_ca: Some(ca.to_owned()), identity, ..ClientTls::default() }
}

#[tokio::test]
async fn servers_are_known_by_their_authority_unless_nobody_cares() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let server = Arc::new(ServerTls::new(terms(&ours)).unwrap());
    assert_eq!(meet(&server, &client(&ours.file("ca.pem"), None)).await, Ok(None));
    let refused = meet(&server, &client(&foreign.file("ca.pem"), None)).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let anyone = ClientTls { insecure: true, ..ClientTls::default() };
    assert_eq!(meet(&server, &anyone).await, Ok(None));
}

#[tokio::test]
async fn clients_show_who_they_are_where_they_are_asked() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let asked = Terms { trusted_ca: Some(ours.file("ca.pem")), ..terms(&ours) };
    let server = Arc::new(ServerTls::new(asked.clone()).unwrap());
    let ca = ours.file("ca.pem");
    let found = meet(&server, &client(&ca, Some(ours.give("ann", 2)))).await;
    assert_eq!(found, Ok(Some("ann".to_owned())));
    for refused in [None, Some(foreign.give("ann", 2))] {
        meet(&server, &client(&ca, refused)).await.unwrap_err();
    }
    let only = Terms { allowed_name: Some("bob".to_owned()), ..asked };
    let server = Arc::new(ServerTls::new(only).unwrap());
    meet(&server, &client(&ca, Some(ours.give("ann", 2)))).await.unwrap_err();
    assert_eq!(meet(&server, &client(&ca, Some(ours.give("bob", 3)))).await, Ok(Some("bob".to_owned())));
}

#[tokio::test]
async fn what_was_revoked_is_refused_from_the_moment_that_the_file_says_so() {
    let ours = Authority::new();
    let ann = client(&ours.file("ca.pem"), Some(ours.give("ann", 2)));
    let bob = client(&ours.file("ca.pem"), Some(ours.give("bob", 3)));
    let terms = Terms { trusted_ca: Some(ours.file("ca.pem")), revoked: Some(ours.revoke(7)), ..terms(&ours) };
    let server = Arc::new(ServerTls::new(terms).unwrap());
    meet(&server, &ann).await.unwrap();
    // Written anew, as whoever rotates files does: another file under the same name.
    std::fs::remove_file(ours.file("crl.pem")).unwrap();
    ours.revoke(2);
    meet(&server, &ann).await.unwrap_err();
    meet(&server, &bob).await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_counts_at_once_and_a_broken_one_does_not() {
    let (ours, newer) = (Authority::new(), Authority::new());
    let terms = terms(&ours);
    let server = Arc::new(ServerTls::new(terms.clone()).unwrap());
    let (before, after) = (client(&ours.file("ca.pem"), None), client(&newer.file("ca.pem"), None));
    meet(&server, &before).await.unwrap();
    let put = |from: &Path, to: &Path| {
        let staged = to.with_extension("new");
        std::fs::copy(from, &staged).unwrap();
        std::fs::rename(staged, to).unwrap();
    };
    let renewed = newer.give("renewed", 9);
    put(&renewed.key, &terms.identity.key);
    // Half of a change fits nothing: the old pair goes on.
    meet(&server, &before).await.unwrap();
    put(&renewed.certificate, &terms.identity.certificate);
    meet(&server, &after).await.unwrap();
    meet(&server, &before).await.unwrap_err();
}

#[tokio::test]
async fn a_certificate_of_its_own_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let identity = make_own(folder.path(), &hosts).unwrap();
    let text = std::fs::read(&identity.certificate).unwrap();
    assert_eq!(make_own(folder.path(), &hosts).unwrap(), identity);
    assert_eq!(std::fs::read(&identity.certificate).unwrap(), text);
    let terms = Terms {
        identity: identity.clone(),
        trusted_ca: None,
        revoked: None,
        listed: None,
        marks_listed: false,
        allowed_name: None,
        admits_strangers: false,
        newest_only: false,
        protocols: Vec::new(),
    };
    let server = Arc::new(ServerTls::new(terms).unwrap());
    meet(&server, &client(&identity.certificate, None)).await.unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ours = Authority::new();
    let good = terms(&ours);
    let with = |certificate: PathBuf, key: PathBuf| Terms { identity: Identity { certificate, key }, ..good.clone() };
    let nothing = ours.file("nothing.pem");
    std::fs::write(&nothing, "no PEM").unwrap();
    let other = ours.give("other", 5);
    let cases = [
        (with(ours.file("absent.pem"), good.identity.key.clone()), "absent.pem: No such file"),
        (with(nothing.clone(), good.identity.key.clone()), "nothing.pem: it holds no certificate in PEM"),
        (with(good.identity.certificate.clone(), nothing.clone()), "nothing.pem: it holds no private key in PEM"),
        (with(good.identity.certificate.clone(), other.key), "server.pem: "),
        (Terms { trusted_ca: Some(nothing), ..good.clone() }, "nothing.pem: it holds no certificate"),
    ];
    for (terms, expected) in cases {
        let error = ServerTls::new(terms).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_members_certificate_is_renewed_at_two_thirds_of_its_life() {
    const DAY_MS: i64 = 86_400_000;
    let folder = tempfile::tempdir().unwrap();
    let identity = ClusterIdentity::new(folder.path().join("identity"));
    let hosts = ["127.0.0.1".to_owned()];
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = UnixMillis(i64::try_from(since.as_millis()).unwrap());
    let made = UnixMillis(now.0 - 25 * DAY_MS);
    let authority = identity.found("c", &hosts, made).unwrap();
    let due = identity.renewal_due().unwrap();
    assert!((18..=21).contains(&((due.0 - made.0) / DAY_MS)), "{due:?}");
    assert!(!identity.renew(&hosts, UnixMillis(due.0 - 1)).unwrap());
    let terms = Terms {
        identity: identity.member(),
        trusted_ca: Some(identity.ca()),
        revoked: None,
        listed: None,
        marks_listed: false,
        allowed_name: Some(MEMBER_NAME.to_owned()),
        admits_strangers: false,
        newest_only: true,
        protocols: Vec::new(),
    };
    let server = Arc::new(ServerTls::new(terms).unwrap());
    let member = client(&identity.ca(), Some(identity.member()));
    assert_eq!(meet(&server, &member).await, Ok(Some(MEMBER_NAME.to_owned())));
    let before = std::fs::read(identity.member().certificate).unwrap();
    assert!(identity.renew(&hosts, now).unwrap());
    assert_ne!(std::fs::read(identity.member().certificate).unwrap(), before);
    assert!(!identity.renew(&hosts, now).unwrap());
    assert_eq!(meet(&server, &member).await, Ok(Some(MEMBER_NAME.to_owned())));

    // A client's certificate of the same authority is none of a member's, and none can have their name.
    let asked = request(&[]).unwrap();
    authority.admit_client(MEMBER_NAME, &asked.text, now, 1).unwrap_err();
    let file = folder.path().join("ann.pem");
    let certificate = authority.admit_client("ann", &asked.text, now, 1).unwrap();
    std::fs::write(&file, format!("{certificate}{}", asked.key)).unwrap();
    let ann = client(&identity.ca(), Some(Identity { certificate: file.clone(), key: file }));
    meet(&server, &ann).await.unwrap_err();
    // A machine that knows the hash alone knows the server by it, and no other.
    let pinned =
        |authority| ClientTls { pinned: Some(authority), identity: Some(identity.member()), ..ClientTls::default() };
    meet(&server, &pinned(authority.fingerprint().unwrap())).await.unwrap();
    meet(&server, &pinned([7; 32])).await.unwrap_err();
}

#[test]
fn hosts_are_taken_out_of_urls() {
    let cases = [
        ("https://10.0.0.1:2380", "10.0.0.1"),
        ("https://[fd00::1]:2380/", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("https://core-01.example:2379", "core-01.example"),
    ];
    for (url, expected) in cases {
        assert_eq!(host_of(url), expected);
    }
}

#[tokio::test]
async fn who_knows_the_former_authority_alone_takes_members_of_the_new_one_until_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = ["127.0.0.1".to_owned()];
    let now = UnixMillis(jiff::Timestamp::now().as_millisecond());
    let [old, new] = ["old", "new"].map(|name| ClusterIdentity::new(folder.path().join(name)));
    let former = old.found("x", &hosts, now).unwrap();
    let next = former.succeed("x", UnixMillis(now.0 + 1)).unwrap();
    let hash = fingerprint_of(&next.certificate).unwrap();
    new.write(former.certificate(), &old.authority_key().unwrap(), &old.certificate().unwrap(), "").unwrap();
    let both = format!("{}{}{}", next.certificate, next.bridge, former.certificate());
    new.adopt(&both, &next.key, &hosts, now).unwrap();
    assert!(new.shows(&both) && !old.shows(&both) && new.key_of(&hash).is_some());
    let server = |identity: &ClusterIdentity| {
        let terms = Terms {
            identity: identity.member(),
            trusted_ca: Some(identity.ca()),
            revoked: None,
            listed: Some(identity.revoked()),
            marks_listed: false,
            allowed_name: Some(MEMBER_NAME.to_owned()),
            admits_strangers: false,
            newest_only: true,
            protocols: Vec::new(),
        };
        Arc::new(ServerTls::new(terms).unwrap())
    };
    let comes = |identity: &ClusterIdentity| client(&identity.ca(), Some(identity.member()));
    for (one, other) in [(&old, &new), (&new, &old), (&new, &new)] {
        meet(&server(one), &comes(other)).await.unwrap();
    }
    // Joining machines that know either hash know the server.
    for hash in [hash, former.fingerprint().unwrap()] {
        let pinned = ClientTls { pinned: Some(hash), identity: Some(new.member()), ..ClientTls::default() };
        meet(&server(&new), &pinned).await.unwrap();
    }
    new.adopt(&next.certificate, &next.key, &hosts, now).unwrap();
    for (one, other) in [(&old, &new), (&new, &old)] {
        meet(&server(one), &comes(other)).await.unwrap_err();
    }
    // What is on the list is refused, from the moment that the file says so.
    let listening = server(&new);
    meet(&listening, &comes(&new)).await.unwrap();
    let serial = about_pem(&new.certificate().unwrap()).unwrap().serial;
    assert!(new.note_revoked(&std::collections::BTreeSet::from([serial])).unwrap());
    meet(&listening, &comes(&new)).await.unwrap_err();
}
