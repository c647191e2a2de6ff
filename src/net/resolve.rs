//! Names to IP addresses: literals and `localhost` at once, the rest through `/etc/hosts` and the name servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

/// The name has no address, or nobody could be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot resolve `{name}`: {why}")]
pub struct ResolveError {
    pub name: String,
    pub why: String,
}

/// The addresses of `name`, at least one. The files are read anew each time, so that a change of them is seen.
///
/// # Errors
/// [`ResolveError`] with the resolver's own words. The caller bounds the wait.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
    let fail = |why: String| ResolveError { name: name.to_owned(), why };
    let resolver = resolver().map_err(fail)?;
    let found = resolver.lookup_ip(name).await.map_err(|error| fail(error.to_string()))?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() {
        return Err(fail("it has no address".to_owned()));
    }
    Ok(addresses)
}

/// One answer to a question for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// A full name with its final dot.
    pub target: String,
    pub port: u16,
    pub priority: u16,
    pub weight: u16,
}

/// The name of the records of a service over TCP; `suffix`, if there is one, stands behind the service's name.
pub fn srv_name(service: &str, suffix: &str, domain: &str) -> String {
    let hyphen = if suffix.is_empty() { "" } else { "-" };
    format!("_{service}{hyphen}{suffix}._tcp.{domain}")
}

/// The service records of `name` (`_service._proto.domain`), in the order of the answer.
///
/// # Errors
/// [`ResolveError`] with the resolver's own words. The caller bounds the wait.
pub async fn resolve_srv(name: &str) -> Result<Vec<Srv>, ResolveError> {
    let fail = |why: String| ResolveError { name: name.to_owned(), why };
    let resolver = resolver().map_err(fail)?;
    let found = resolver.srv_lookup(name).await.map_err(|error| fail(error.to_string()))?;
    let service = |data: &RData| match data {
        RData::SRV(srv) => {
            Some(Srv { target: srv.target.to_string(), port: srv.port, priority: srv.priority, weight: srv.weight })
        }
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|record| service(&record.data)).collect())
}

/// By the system's files; without a usable `/etc/resolv.conf` the names of `/etc/hosts` still resolve.
fn resolver() -> Result<TokioResolver, String> {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn literals_and_localhost_need_nobody() {
        assert_eq!(resolve("10.1.2.3").await.unwrap(), [IpAddr::from([10, 1, 2, 3])]);
        assert_eq!(resolve("::1").await.unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        assert_eq!(resolve("LocalHost").await.unwrap()[0], IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn records_are_named_after_their_service() {
        assert_eq!(srv_name("etcd-client", "", "example.com"), "_etcd-client._tcp.example.com");
        assert_eq!(srv_name("etcd-client-ssl", "prod", "example.com"), "_etcd-client-ssl-prod._tcp.example.com");
    }

    #[tokio::test]
    async fn an_impossible_name_is_refused() {
        let error = resolve("not a name..").await.unwrap_err();
        assert!(error.to_string().contains("not a name.."), "{error}");
    }
}
