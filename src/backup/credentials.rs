//! Who a node is to an S3-compatible store. Read anew for each use, so that a key can be changed while the node runs.

use std::path::Path;

use rusty_s3::Credentials;

use super::BackupError;

/// The keys of the file, or those of the environment.
pub(super) fn read(file: Option<&Path>) -> Result<Credentials, BackupError> {
    let (found, place) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let failed = |cause| BackupError::io(file.display(), "reading the keys of the store", cause);
            (of_file(&text.map_err(failed)?), file.display().to_string())
        }
        None => (of_environment(), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()),
    };
    let remedy = "an S3-compatible store asks for an access key and its secret; set backup.s3_credentials_file";
    found.ok_or_else(|| BackupError::Remote(format!("{place}: {remedy}")))
}

fn of_environment() -> Option<Credentials> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let [key, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(variable);
    credentials(key?, secret?, variable("AWS_SESSION_TOKEN"))
}

/// The profile `default` of a file as Amazon's tools write it.
fn of_file(text: &str) -> Option<Credentials> {
    let mut wanted = true;
    let (mut key, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            wanted = profile.trim() == "default";
        }
        let Some((name, value)) = line.split_once('=').filter(|_| wanted) else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => key = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    credentials(key?, secret?, token)
}

fn credentials(key: String, secret: String, token: Option<String>) -> Option<Credentials> {
    Some(match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_default_profile_counts() {
        let found = of_file(
            "[work]\naws_access_key_id = W\n[default]\naws_access_key_id=A\n aws_secret_access_key = s=t \n# x\n",
        )
        .unwrap();
        assert_eq!((found.key(), found.secret(), found.token()), ("A", "s=t", None));
        let bare = of_file("aws_access_key_id=A\naws_secret_access_key=b\naws_session_token=t").unwrap();
        assert_eq!(bare.token(), Some("t"));
        assert!(of_file("[default]\naws_access_key_id=A\n").is_none());
        assert!(of_file("[work]\naws_access_key_id=A\naws_secret_access_key=b\n").is_none());
    }

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        let error = read(Some(Path::new("/nowhere/keys"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/keys"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("backup.s3_credentials_file"), "{error}");
    }
}
