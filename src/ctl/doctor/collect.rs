//! What the doctor asks: every member for its report, and one node for the units that wait.

use std::time::Duration;

use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::verdict::{Answer, Cluster, Member};
use crate::ctl::args::Parsed;
use crate::ctl::contact::Contact;
use crate::ctl::node_ctl::{self, ANSWER_WITHIN};

/// How long one member may take: it measures its disk.
const REPORT_WITHIN: Duration = Duration::from_secs(8);

/// Asks all of them.
///
/// # Errors
/// Where the node that is asked first does not answer, or lets nobody in.
pub async fn collect(parsed: &Parsed) -> anyhow::Result<Cluster> {
    let at = node_ctl::contact(parsed).await?;
    let listed = at.tell("/v3/cluster/member/list", &json!({"linearizable": false}), ANSWER_WITHIN).await?;
    let mut members = Vec::new();
    for member in listed["members"].as_array().into_iter().flatten() {
        members.push(ask(parsed, &at, member).await?);
    }
    // Without a leader nobody plans, and the node would only wait for one.
    let led = members.iter().any(|member| member.report().is_some_and(|report| report.leader.is_some()));
    let (units, waiting) = if led { units(&at).await } else { Default::default() };
    Ok(Cluster { members, units, waiting, now_ms: now_ms() })
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

async fn ask(parsed: &Parsed, at: &Contact, member: &Value) -> anyhow::Result<Member> {
    let url = member["clientURLs"][0].as_str().unwrap_or_default().to_owned();
    let answer = match node_ctl::address(parsed, &url) {
        Ok(address) => report(&at.at(address)).await?,
        Err(_) => Answer::None("it has never told its client address".to_owned()),
    };
    Ok(Member {
        id: node_ctl::hex(&member["ID"]),
        name: member["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("a member without a name").to_owned(),
        url: if url.is_empty() { "no address".to_owned() } else { url },
        votes: !member["isLearner"].as_bool().unwrap_or(false),
        answer,
    })
}

async fn report(at: &Contact) -> anyhow::Result<Answer> {
    let asked_ms = now_ms();
    let answer = match at.call(Method::GET, "/doctor/v1", None, REPORT_WITHIN).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Answer::None(error.to_string())),
    };
    let heard_ms = now_ms();
    let said = || String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow::bail!("{at}: {} {}", answer.status, said()),
        StatusCode::NOT_FOUND => Ok(Answer::Unknown),
        status if !status.is_success() => Ok(Answer::None(format!("{status} {}", said()))),
        _ => Ok(match serde_json::from_slice(&answer.body) {
            Ok(report) => Answer::Report { report: Box::new(report), asked_ms, heard_ms },
            Err(_) => Answer::Unknown,
        }),
    }
}

/// How many units there are, and which of them fit nowhere; none where fleet is not served or there is no quorum.
async fn units(at: &Contact) -> (usize, Vec<(String, Vec<String>)>) {
    let units = node_ctl::listed(at, "units", "units").await.map_or(0, |units| units.len());
    let Ok(answer) = at.call(Method::GET, "/fleet/v1/simulate", None, ANSWER_WITHIN).await else {
        return (units, Vec::new());
    };
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let waits = |one: &Value| {
        let reasons = one["passedOver"].as_array().into_iter().flatten();
        let reason = |over: &Value| {
            let machine = over["machineID"].as_str().unwrap_or("?");
            format!("{}: {}", &machine[..machine.len().min(8)], over["reason"].as_str().unwrap_or("?"))
        };
        Some((one["unit"].as_str()?.to_owned(), reasons.map(reason).collect()))
    };
    (units, said["waiting"].as_array().into_iter().flatten().filter_map(waits).collect())
}
