//! A member's own certificate, and whom it trusts: renewed when two thirds of a certificate's life are over, gone over to another authority
//! when the cluster does, and what was revoked is refused. Whoever reads the files takes the new ones from then on.
//!
//! The member that leads also revokes what those have that were removed, and ends the time of a former authority.

use std::sync::Arc;
use std::time::Duration;

use super::authority_key::ask;
use super::{Job, JobError, Stop, accepted};
use crate::base::limits::{CERTIFICATE_LOOK_MS_MIN, CERTIFICATE_LOOK_SECONDS};
use crate::base::{BoxFuture, Clock, MemberId, UnixMillis};
use crate::kv::{Consistency, KeyValue, Op, Space, Store as _, TxnRequest, WatchRequest, WatchStart, prefix_end};
use crate::net::tls::{ClusterIdentity, Fingerprint, ServerTls, about_pem, fingerprint_of};
use crate::raft::RaftStore;
use crate::trust::certificates::{self, Given};
use crate::trust::{self, hex, succession};

/// Keeps this member's identity as the cluster wants it.
pub struct Certificates {
    pub store: Arc<RaftStore>,
    pub identity: ClusterIdentity,
    /// The member's name.
    pub name: String,
    /// For whom the certificate is made: names and IP addresses.
    pub hosts: Vec<String>,
    /// Those who show it and check others'.
    pub servers: Vec<Arc<ServerTls>>,
    pub clock: Arc<dyn Clock>,
}

impl Job for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                failed = self.follow() => failed,
            }
        })
    }
}

/// What the cluster keeps, as one read has found it.
struct Kept {
    found: Vec<KeyValue>,
    given: Vec<(Given, i64)>,
    members: Vec<MemberId>,
}

impl Certificates {
    /// Does what is to be done, whenever something has changed.
    async fn follow(&self) -> Result<(), JobError> {
        let failed = |error: &dyn std::fmt::Display| JobError::new("watching what the cluster trusts", error);
        let (key, range_end) = (trust::PREFIX.as_bytes().into(), prefix_end(trust::PREFIX.as_bytes()));
        let request = WatchRequest { space: Space::System, key, range_end, start: WatchStart::Now };
        let mut watch = self.store.watch(request).await.map_err(|error| failed(&error))?;
        let mut membership = None;
        loop {
            let leader = self.store.status().leader;
            let next = self.pass(leader).await?;
            tokio::select! {
                batch = watch.next() => drop(batch.map_err(|error| failed(&error))?),
                at = self.store.members_changed(membership) => membership = at,
                _ = self.store.leader_changed(leader) => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    /// Looks at everything once; the time after which it is to be looked at again at the latest.
    async fn pass(&self, leader: Option<MemberId>) -> Result<Duration, JobError> {
        let read = self.store.range(trust::everything(), Consistency::Serializable).await;
        let (_, range) = read.map_err(|error| JobError::new("reading what the cluster trusts", error))?;
        let members = self.store.members().await.map_err(|error| JobError::new("reading the members", error))?;
        let members = members.into_iter().map(|member| member.id).collect();
        let kept = Kept { given: certificates::read(&range.kvs), found: range.kvs, members };
        self.refuse_revoked(&kept)?;
        self.go_over(&kept).await?;
        self.renew().await?;
        if leader.is_none() {
            return Ok(Duration::from_secs(CERTIFICATE_LOOK_SECONDS));
        }
        self.record_own(&kept).await?;
        match leader == Some(self.store.status().member) {
            true => self.lead(&kept).await,
            false => Ok(Duration::from_secs(CERTIFICATE_LOOK_SECONDS)),
        }
    }

    fn refuse_revoked(&self, kept: &Kept) -> Result<(), JobError> {
        let noted = self.identity.note_revoked(&certificates::revoked(&kept.given));
        if noted.map_err(|error| JobError::new("writing down what was revoked", error))? {
            self.look();
        }
        Ok(())
    }

    /// Servers read the files without waiting for the next connection, and let go of those whom they would let in no more.
    fn look(&self) {
        self.servers.iter().for_each(|server| server.look());
    }

    /// The files have changed: connections to others show it too.
    async fn show(&self) {
        self.look();
        self.store.renew_connections().await;
    }

    async fn go_over(&self, kept: &Kept) -> Result<(), JobError> {
        let (succession, _) = succession::read(&kept.found, self.store.status().cluster);
        let Some(succession) = succession else { return Ok(()) };
        let trusted = succession.trusted();
        if self.identity.shows(&trusted) {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| JobError::new("going over to the new authority", error);
        let hash = fingerprint_of(&succession.certificate).map_err(|error| failed(&error))?;
        let key = self.key_of(&hash, &kept.members).await.map_err(|error| failed(&error))?;
        let adopted = self.identity.adopt(&trusted, &key, &self.hosts, self.clock.now());
        adopted.map_err(|error| failed(&error))?;
        match succession.over {
            true => tracing::info!("the former authority is trusted no more"),
            false => tracing::info!("this member has a certificate of the cluster's new authority"),
        }
        self.show().await;
        Ok(())
    }

    async fn key_of(&self, hash: &Fingerprint, members: &[MemberId]) -> Result<String, String> {
        if let Some(key) = self.identity.key_of(hash) {
            return Ok(key);
        }
        let own = self.store.status().member;
        let others: Vec<MemberId> = members.iter().copied().filter(|id| *id != own).collect();
        ask(&self.store, &others, hash).await
    }

    async fn renew(&self) -> Result<(), JobError> {
        let renewed = self.identity.renew(&self.hosts, self.clock.now());
        if renewed.map_err(|error| JobError::new("renewing this member's certificate", error))? {
            tracing::info!("this member's certificate was renewed");
            self.show().await;
        }
        Ok(())
    }

    /// Has the cluster know the certificate that this member shows.
    async fn record_own(&self, kept: &Kept) -> Result<(), JobError> {
        let own = self
            .own(self.store.status().member)
            .map_err(|error| JobError::new("reading this member's certificate", error))?;
        if kept.given.iter().any(|(given, _)| given.serial == own.serial) {
            return Ok(());
        }
        self.write(own.write(0, &certificates::ended(&kept.given, self.clock.now()))).await
    }

    fn own(&self, member: MemberId) -> Result<Given, crate::net::tls::TlsError> {
        let about = about_pem(&self.identity.certificate()?)?;
        let authority = hex(&self.identity.authority()?.fingerprint()?);
        let (serial, until, made) = (about.serial, about.ends, self.clock.now());
        Ok(Given { serial, name: self.name.clone(), member: Some(member), authority, made, until, revoked: None })
    }

    async fn write(&self, request: TxnRequest) -> Result<(), JobError> {
        accepted(self.store.write(Op::Txn(request)).await, "writing what the cluster trusts").map(drop)
    }

    /// What only the member that leads does.
    async fn lead(&self, kept: &Kept) -> Result<Duration, JobError> {
        let now = self.clock.now();
        let orphaned: Vec<Given> =
            certificates::of_removed(&kept.given, &kept.members).iter().map(|given| given.revoked_at(now)).collect();
        if !orphaned.is_empty() {
            for given in &orphaned {
                tracing::info!(
                    name = given.name,
                    serial = given.serial,
                    "the certificate of a removed member is revoked"
                );
            }
            self.write(certificates::rewrite(&orphaned)).await?;
        }
        let (succession, revision) = succession::read(&kept.found, self.store.status().cluster);
        let Some(succession) = succession.filter(|succession| !succession.over) else {
            return Ok(Duration::from_secs(CERTIFICATE_LOOK_SECONDS));
        };
        if succession.is_due(&kept.members, &kept.given, now) {
            tracing::info!("every member has gone over to the new authority: the former one is trusted no more");
            self.write(succession::Succession { over: true, ..succession }.write(revision)).await?;
            return Ok(Duration::from_secs(CERTIFICATE_LOOK_SECONDS));
        }
        Ok(until(succession.keep_former_until, now))
    }
}

/// The time from `now` to `then`, within what is slept at most.
fn until(then: UnixMillis, now: UnixMillis) -> Duration {
    let left = u64::try_from(then.0.saturating_sub(now.0)).unwrap_or_default().max(CERTIFICATE_LOOK_MS_MIN);
    Duration::from_millis(left).min(Duration::from_secs(CERTIFICATE_LOOK_SECONDS))
}
