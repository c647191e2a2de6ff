//! A cluster's own certificate authority: made once, it vouches for members and for clients.
//!
//! Keys are ECDSA over P-256. Members' certificates have one common name in common, so that a client's certificate, which the same
//! authority gave out, is none to another member.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::TlsError;
use super::name::public_key;
use crate::base::UnixMillis;
use crate::base::limits::{CA_LIFE_DAYS, CERTIFICATE_BACKDATED_DAYS};

/// The common name of every member's certificate, and of no client's.
pub const MEMBER_NAME: &str = "corenode-member";

const DAY_MS: i64 = 86_400_000;

/// SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// Who vouches for a cluster's members and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// All that are trusted, itself among them, PEM: what goes behind the certificates that it gives out.
    trusted: String,
}

/// What follows an authority.
pub struct Successor {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// The former authority's word for it, a certificate too: who trusts only the former one takes it for that.
    pub bridge: String,
}

/// A key, and the request for a certificate of it, both PEM.
pub struct Request {
    pub key: String,
    pub text: String,
}

fn not_made(error: rcgen::Error) -> TlsError {
    TlsError::NotMade(error.to_string())
}

/// The name in a certificate's subject.
fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "corenode");
    subject.push(DnType::CommonName, name);
    subject
}

/// A certificate counts from a little before now, as other machines' clocks may be behind, and ends with a day.
fn lasting(params: &mut CertificateParams, now: UnixMillis, days: u32) -> Result<(), TlsError> {
    let day = |ms: i64| {
        let moment = jiff::Timestamp::from_millisecond(ms).map_err(|error| TlsError::NotMade(error.to_string()))?;
        let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok::<_, TlsError>(rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        ))
    };
    params.not_before = day(now.0.saturating_sub(i64::from(CERTIFICATE_BACKDATED_DAYS) * DAY_MS))?;
    params.not_after = day(now.0.saturating_add(i64::from(days) * DAY_MS))?;
    Ok(())
}

/// What an authority's certificate says; `below` more may be between it and those that it vouches for.
fn of_authority(cluster: &str, below: u8, now: UnixMillis) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    // The time in its name tells it from those before and after it.
    params.distinguished_name = named(&format!("cluster {cluster} {}", now.0));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    lasting(&mut params, now, CA_LIFE_DAYS)?;
    Ok(params)
}

/// A new key, and the request for a certificate for `hosts` (names and IP addresses; none: for a client).
///
/// # Errors
/// A host that is no name.
pub fn request(hosts: &[String]) -> Result<Request, TlsError> {
    let key = KeyPair::generate().map_err(not_made)?;
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(not_made)?;
    params.distinguished_name = named("");
    let text = params.serialize_request(&key).and_then(|request| request.pem()).map_err(not_made)?;
    Ok(Request { key: key.serialize_pem(), text })
}

/// SHA-256 of a certificate in its binary form.
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// The same of the first certificate of a PEM text.
///
/// # Errors
/// There is none.
pub fn fingerprint_of(pem: &str) -> Result<Fingerprint, TlsError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes());
    der.map(|der| fingerprint(&der)).map_err(|error| TlsError::NotMade(format!("it holds no certificate: {error}")))
}

/// The certificates of a PEM text, each with the lines around it.
pub fn certificates_in(pem: &str) -> impl Iterator<Item = &str> {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).filter(|block| block.ends_with(END))
}

impl Authority {
    /// A new one; its key is in PEM.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn found(cluster: &str, now: UnixMillis) -> Result<(Self, String), TlsError> {
        let key = KeyPair::generate().map_err(not_made)?;
        // One below it, so that it can vouch for the one that follows it.
        let params = of_authority(cluster, 1, now)?;
        let certificate = params.self_signed(&key).map_err(not_made)?.pem();
        let text = key.serialize_pem();
        Ok((Self { issuer: Issuer::new(params, key), trusted: certificate.clone(), certificate }, text))
    }

    /// The one of this key among those that are trusted; all PEM.
    ///
    /// # Errors
    /// They cannot be read, or none is of this key.
    pub fn read(trusted: &str, key: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key).map_err(not_made)?;
        let of_key = |pem: &&str| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            der.is_ok_and(|der| public_key(&der).is_some_and(|known| known == key.public_key_raw()))
        };
        let certificate = certificates_in(trusted).find(of_key).map(str::to_owned);
        let certificate =
            certificate.ok_or_else(|| TlsError::NotMade("the key is of none of the authorities here".to_owned()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(not_made)?;
        Ok(Self { issuer, certificate, trusted: trusted.to_owned() })
    }

    /// A new authority for the same cluster, and this one's word for it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn succeed(&self, cluster: &str, now: UnixMillis) -> Result<Successor, TlsError> {
        let key = KeyPair::generate().map_err(not_made)?;
        let certificate = of_authority(cluster, 1, now)?.self_signed(&key).map_err(not_made)?.pem();
        let mut vouched = of_authority(cluster, 0, now)?;
        vouched.use_authority_key_identifier_extension = true;
        let bridge = vouched.signed_by(&key, &self.issuer).map_err(not_made)?.pem();
        Ok(Successor { certificate, key: key.serialize_pem(), bridge })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// All that are trusted, itself among them, PEM.
    pub fn trusted(&self) -> &str {
        &self.trusted
    }

    /// By which joining machines know it.
    ///
    /// # Errors
    /// Its certificate cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint, TlsError> {
        fingerprint_of(&self.certificate)
    }

    /// A member's certificate for the hosts in `request`, with those that are trusted behind it, PEM.
    ///
    /// # Errors
    /// A request that cannot be read or that its key did not sign.
    pub fn admit_member(&self, request: &str, now: UnixMillis, days: u32) -> Result<String, TlsError> {
        let asked = CertificateSigningRequestParams::from_pem(request).map_err(not_made)?;
        let hosts = asked.params.subject_alt_names;
        let hosts =
            hosts.into_iter().filter(|host| matches!(host, SanType::DnsName(_) | SanType::IpAddress(_))).collect();
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = self.sign(MEMBER_NAME, hosts, usages, &asked.public_key, (now, days))?;
        Ok(format!("{leaf}{}", self.trusted))
    }

    /// A client's certificate that names a user, with those that are trusted behind it, PEM.
    ///
    /// # Errors
    /// A request that cannot be read or that its key did not sign, or members' own name.
    pub fn admit_client(&self, user: &str, request: &str, now: UnixMillis, days: u32) -> Result<String, TlsError> {
        if user == MEMBER_NAME {
            return Err(TlsError::NotMade(format!("`{MEMBER_NAME}` is what members are called")));
        }
        let asked = CertificateSigningRequestParams::from_pem(request).map_err(not_made)?;
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = self.sign(user, Vec::new(), usages, &asked.public_key, (now, days))?;
        Ok(format!("{leaf}{}", self.trusted))
    }

    fn sign(
        &self,
        name: &str,
        hosts: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        key: &impl PublicKeyData,
        (now, days): (UnixMillis, u32),
    ) -> Result<String, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.subject_alt_names = hosts;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        lasting(&mut params, now, days)?;
        Ok(params.signed_by(key, &self.issuer).map_err(not_made)?.pem())
    }
}

/// A host for a certificate: what stands between the scheme and the port of a URL, or an IP address as it is.
pub fn host_of(url: &str) -> String {
    let authority = url.split("://").last().unwrap_or(url).trim_end_matches('/');
    if authority.parse::<IpAddr>().is_ok() {
        return authority.to_owned();
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}
