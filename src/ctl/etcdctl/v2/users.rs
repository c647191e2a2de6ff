//! `user`, `role` and `auth`, over `/v2/auth`.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::password;
use super::Failed;
use super::client::Client;
use super::line::Line;
use super::request::{Asked, canonical};
use crate::ctl::http::Answer;
use crate::wire::v2::Message;

/// A user as the server shows it: roles by name, or whole.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct User {
    user: String,
    roles: Vec<Value>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Role {
    role: String,
    permissions: Permissions,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Permissions {
    kv: Paths,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Paths {
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
}

async fn client(line: &Line) -> Result<Client, Failed> {
    let client = Client::synced(line).await?;
    client.tell("Cluster-Endpoints: ", ", ", "");
    Ok(client)
}

/// The answer, unless it tells of a failure.
async fn ask(client: &Client, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Failed> {
    let path = format!("/v2/auth/{path}");
    let asked = match body {
        Some(body) => Asked::with_json(method, path, &body),
        None => Asked { method, ..Asked::get(path) },
    };
    let answer = client.ask(&asked).await.map_err(|trouble| Failed::bare(trouble.text()))?;
    if matches!(answer.status, StatusCode::OK | StatusCode::CREATED) {
        return Ok(answer);
    }
    match asked.path.ends_with("/roles") {
        // The original does not look into this one.
        true => Err(Failed::bare(format!("unexpected status code {}", answer.status.as_u16()))),
        false => Err(Failed::bare(read::<Message>(&answer)?.message)),
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failed> {
    serde_json::from_slice(&answer.body).map_err(|error| Failed::bare(error.to_string()))
}

fn nothing(line: &Line) -> Result<(), Failed> {
    if line.words.is_empty() { Ok(()) } else { Err(Failed::bare("No arguments accepted")) }
}

fn the_one<'a>(line: &'a Line, what: &str) -> Result<&'a str, Failed> {
    match line.words.as_slice() {
        [one] => Ok(one),
        _ => Err(Failed::bare(format!("Please provide a {what}"))),
    }
}

/// The names in a list of users or roles.
fn names(answer: &Answer, list: &str, name: &str) -> Result<Vec<String>, Failed> {
    let told: Value = read(answer)?;
    let items = told[list].as_array().cloned().unwrap_or_default();
    Ok(items.iter().map(|item| item[name].as_str().unwrap_or_default().to_owned()).collect())
}

pub async fn user(verb: &str, line: &Line) -> Result<u8, Failed> {
    if verb == "list" {
        nothing(line)?;
        let answer = ask(&client(line).await?, Method::GET, "users", None).await?;
        names(&answer, "users", "user")?.iter().for_each(|name| println!("{name}"));
        return Ok(0);
    }
    let roles = line.many("roles");
    if matches!(verb, "grant" | "revoke") && roles.is_empty() {
        return Err(Failed::bare("No roles specified; please use `--roles`"));
    }
    let given = the_one(line, "username")?;
    let client = client(line).await?;
    let name = if verb == "add" { given.split(':').next().unwrap_or_default() } else { given };
    let path = format!("users/{name}");
    match verb {
        "add" => {
            let password = match given.split_once(':') {
                Some((_, password)) => password.to_owned(),
                None => new_password()?,
            };
            let body = json!({"user": name, "password": password});
            ask(&client, Method::PUT, &path, Some(body)).await?;
            println!("User {name} created");
        }
        "remove" => {
            ask(&client, Method::DELETE, &path, None).await?;
            println!("User {name} removed");
        }
        "passwd" => {
            let body = json!({"user": name, "password": new_password()?});
            ask(&client, Method::PUT, &path, Some(body)).await?;
            println!("Password updated");
        }
        "get" => {
            let user: User = read(&ask(&client, Method::GET, &path, None).await?)?;
            let role = |role: &Value| role.as_str().or_else(|| role["role"].as_str()).unwrap_or_default().to_owned();
            let roles: Vec<String> = user.roles.iter().map(role).collect();
            println!("User: {}\nRoles: {}", user.user, roles.join(" "));
        }
        grant_or_revoke => {
            ask(&client, Method::PUT, &path, Some(json!({"user": name, grant_or_revoke: roles}))).await?;
            println!("User {name} updated");
        }
    }
    Ok(0)
}

fn new_password() -> Result<String, Failed> {
    password::ask("New password: ")
        .map_err(|failed| Failed::bare(format!("Error reading password: {}", failed.message)))
}

pub async fn role(verb: &str, line: &Line) -> Result<u8, Failed> {
    if verb == "list" {
        nothing(line)?;
        let answer = ask(&client(line).await?, Method::GET, "roles", None).await?;
        names(&answer, "roles", "role")?.iter().for_each(|name| println!("{name}"));
        return Ok(0);
    }
    let changes = matches!(verb, "grant" | "revoke");
    let access = if changes { access(line)? } else { Value::Null };
    let name = the_one(line, "role name")?;
    let client = client(line).await?;
    let path = format!("roles/{name}");
    match verb {
        "add" => {
            if ask(&client, Method::GET, &path, None).await.is_ok() {
                return Err(Failed::bare(format!("Role {name} already exists")));
            }
            let body = json!({"role": name, "permissions": {"kv": {"read": null, "write": null}}});
            ask(&client, Method::PUT, &path, Some(body)).await?;
            println!("Role {name} created");
        }
        "remove" => {
            ask(&client, Method::DELETE, &path, None).await?;
            println!("Role {name} removed");
        }
        "get" => {
            let role: Role = read(&ask(&client, Method::GET, &path, None).await?)?;
            println!("Role: {}", role.role);
            for (title, paths) in [("Read", role.permissions.kv.read), ("Write", role.permissions.kv.write)] {
                println!("KV {title}:");
                paths.unwrap_or_default().iter().for_each(|path| println!("\t{path}"));
            }
        }
        verb => {
            let before: Role = read(&ask(&client, Method::GET, &path, None).await?)?;
            let none = json!({"kv": {"read": null, "write": null}});
            let body = json!({"role": name, "permissions": none, verb: {"kv": access}});
            let after: Role = read(&ask(&client, Method::PUT, &path, Some(body)).await?)?;
            if before == after {
                let done = if verb == "grant" { "granted" } else { "revoked" };
                print!("Role unchanged; already {done}");
            }
            println!("Role {name} updated");
        }
    }
    Ok(0)
}

/// The path, and for what it is.
fn access(line: &Line) -> Result<Value, Failed> {
    let path = line.text("path");
    if path.is_empty() {
        return Err(Failed::bare("No path specified; please use `--path`"));
    }
    if canonical(path) != path {
        return Err(Failed::bare(format!("Not canonical path; please use `--path={}`", canonical(path))));
    }
    let paths = json!([path]);
    match ["read", "write", "readwrite"].map(|flag| line.truth(flag)) {
        [true, false, false] => Ok(json!({"read": paths, "write": null})),
        [false, true, false] => Ok(json!({"read": null, "write": paths})),
        [false, false, true] => Ok(json!({"read": paths, "write": paths})),
        _ => Err(Failed::bare("Please specify exactly one of --read, --write or --readwrite")),
    }
}

pub async fn auth(verb: &str, line: &Line) -> Result<u8, Failed> {
    nothing(line)?;
    let client = client(line).await?;
    let (method, done) = match verb {
        "enable" => (Method::PUT, "Enabled"),
        _ => (Method::DELETE, "Disabled"),
    };
    ask(&client, method, "enable", None).await?;
    println!("Authentication {done}");
    Ok(0)
}
