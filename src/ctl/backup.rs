//! `node ctl backup`: backups of the cluster are made, listed and checked, by a node or where they lie.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::args::{Flag, Parsed};
use super::contact::Contact;
use super::node_ctl;
use crate::backup::{self, Found, Listed, Name, S3Terms, Staged, Target};

pub const HELP: &str = "\
node ctl backup: copies of the cluster's state, where `backup.to` of a node's configuration says.

  $ node ctl backup now                    makes one, whenever the next would be due
  $ node ctl backup list                   which there are, the oldest first
  $ node ctl backup verify                 reads the newest from its beginning to its end; exit code 1 if it is damaged
  $ node ctl backup verify NAME
  $ node ctl backup fetch NAME FILE --to s3://BUCKET/PREFIX
                                           copies one into a file, for `node ctl snapshot restore FILE`

A node is asked, or with --to the place itself, for which no node need run:
  --to PLACE                a folder, or s3://BUCKET[/PREFIX]; NODE_BACKUP_TO
  --s3-endpoint URL         the store [Amazon's, of the region]
  --s3-region TEXT          [us-east-1]
  --s3-credentials-file FILE
                            aws_access_key_id and aws_secret_access_key; else from the environment, in capitals
  --endpoint URL            as for the other commands
";

const FLAGS: &[Flag] = &[
    Flag { names: &["to"], value: true, variable: Some("NODE_BACKUP_TO"), help: "where the backups are" },
    Flag { names: &["s3-endpoint"], value: true, variable: Some("NODE_BACKUP_S3_ENDPOINT"), help: "URL of the store" },
    Flag { names: &["s3-region"], value: true, variable: Some("NODE_BACKUP_S3_REGION"), help: "its region" },
    Flag {
        names: &["s3-credentials-file"],
        value: true,
        variable: Some("NODE_BACKUP_S3_CREDENTIALS_FILE"),
        help: "the keys",
    },
];

/// A large state takes its time to be copied, sent and read back.
const WORK_WITHIN: Duration = Duration::from_secs(3_600);

/// Runs the command: 0, 1 for a backup that is damaged, 2 for a command line that cannot be understood.
///
/// # Errors
/// Where the node or the place does not answer, or refuses.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match node_ctl::understood(arguments, &[node_ctl::FLAGS, FLAGS], HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    let place = match parsed.value("to").map(|to| Target::new(to, &terms(&parsed))).transpose() {
        Ok(place) => place,
        Err(reason) => return Ok(node_ctl::misunderstood(&format!("--to: {reason}"))),
    };
    let name = match words.get(1).filter(|_| words[0] != "now").map(|name| Name::from_str(name)).transpose() {
        Ok(name) => name,
        Err(error) => return Ok(node_ctl::misunderstood(&error.to_string())),
    };
    node_ctl::runtime()?.block_on(async {
        match (words.as_slice(), place, name) {
            (["now"], _, _) => now(&node_ctl::contact(&parsed).await?).await,
            (["list"], None, _) => list(&node_ctl::contact(&parsed).await?).await,
            (["list"], Some(place), _) => {
                let found = place.list().await?;
                print!("{}", table(&found.iter().map(|one| (one.name.clone(), one.bytes)).collect::<Vec<_>>()));
                Ok(0)
            }
            (["verify", ..], None, name) if words.len() <= 2 => verify(&node_ctl::contact(&parsed).await?, name).await,
            (["verify", ..], Some(place), name) if words.len() <= 2 => verify_at(&place, name).await,
            (["fetch", _, file], Some(place), Some(name)) => fetch(&place, &name, Path::new(file)).await,
            (["fetch", ..], None, _) => Ok(node_ctl::misunderstood("`backup fetch` needs --to PLACE")),
            _ => Ok(node_ctl::misunderstood(
                "`backup` takes `now`, `list`, `verify [NAME]` or `fetch NAME FILE --to PLACE`",
            )),
        }
    })
}

fn terms(parsed: &Parsed) -> S3Terms {
    let text = |name: &str| parsed.value(name).unwrap_or_default().to_owned();
    S3Terms {
        endpoint: text("s3-endpoint"),
        region: text("s3-region"),
        credentials_file: parsed.value("s3-credentials-file").map(Into::into),
    }
}

async fn ask(at: &Contact, method: Method, path: &str) -> anyhow::Result<Value> {
    let answer = at.call(method, path, None, WORK_WITHIN).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return Ok(said);
    }
    // The doors' own refusals have a text within.
    let error = said["error"].as_str().or(said["error"]["message"].as_str()).unwrap_or_default();
    anyhow::bail!("{at}: {} {error}", answer.status)
}

async fn now(at: &Contact) -> anyhow::Result<u8> {
    let said = ask(at, Method::POST, "/backup/v1").await?;
    println!("made      {}", said["made"]["name"].as_str().unwrap_or("?"));
    print!("{}", holds(&said["holds"]));
    Ok(0)
}

async fn listed(at: &Contact) -> anyhow::Result<(Value, Vec<(Name, u64)>)> {
    let said = ask(at, Method::GET, "/backup/v1").await?;
    let mut all = Vec::new();
    for one in said["backups"].as_array().into_iter().flatten() {
        let name = one["name"].as_str().unwrap_or_default().parse().with_context(|| at.to_string())?;
        all.push((name, one["bytes"].as_u64().unwrap_or(0)));
    }
    Ok((said, all))
}

async fn list(at: &Contact) -> anyhow::Result<u8> {
    let (said, all) = listed(at).await?;
    let every = match said["every_s"].as_u64() {
        Some(seconds) => format!("every {:?}", Duration::from_secs(seconds)),
        None => "only by hand".to_owned(),
    };
    let keep = said["keep"].as_u64().map_or_else(|| "all are kept".to_owned(), |keep| format!("{keep} are kept"));
    println!("to        {} ({every}, {keep})", said["to"].as_str().unwrap_or("?"));
    if let Some(failure) = said["failure"].as_str() {
        println!("trouble   {failure}");
    }
    print!("{}", table(&all));
    Ok(u8::from(said["failure"].is_string()))
}

fn table(all: &[(Name, u64)]) -> String {
    let line = |(name, bytes): &(Name, u64)| {
        let made = Timestamp::from_millisecond(name.made.0).unwrap_or_default();
        format!("{name}  {}  {bytes} bytes  cluster {}\n", made.strftime("%F %TZ"), name.cluster)
    };
    if all.is_empty() { "there is no backup\n".to_owned() } else { all.iter().map(line).collect() }
}

async fn verify(at: &Contact, name: Option<Name>) -> anyhow::Result<u8> {
    let name = match name {
        Some(name) => name,
        None => listed(at).await?.1.pop().map(|(name, _)| name).context("there is no backup")?,
    };
    let said = ask(at, Method::GET, &format!("/backup/v1/{name}")).await?;
    println!("whole     {name}");
    print!("{}", holds(&said["holds"]));
    Ok(0)
}

fn holds(said: &Value) -> String {
    let number = |field: &str| said[field].as_u64().unwrap_or(0);
    format!(
        "revision  {}\nkeys      {}\nsize      {} bytes\nsha256    {}\n",
        number("revision"),
        number("keys"),
        number("bytes"),
        said["sha256"].as_str().unwrap_or("?")
    )
}

async fn verify_at(place: &Target, name: Option<Name>) -> anyhow::Result<u8> {
    let name = match name {
        Some(name) => name,
        None => place.list().await?.pop().map(|Listed { name, .. }| name).context("there is no backup")?,
    };
    let found = place.verify(&name, &std::env::temp_dir()).await?;
    println!("whole     {name}");
    print!("{}", super::snapshot::render(&found));
    Ok(0)
}

/// Copies a backup into a file, which appears when it is whole, checked and on the disk.
async fn fetch(place: &Target, name: &Name, file: &Path) -> anyhow::Result<u8> {
    let staged = Staged::beside(file, ".part");
    place.fetch(name, staged.path()).await?;
    let found: Found = backup::look(staged.path())?;
    super::snapshot::put_in_place(staged.path(), file)?;
    println!("fetched {name} into {}", file.display());
    print!("{}", super::snapshot::render(&found));
    Ok(0)
}
