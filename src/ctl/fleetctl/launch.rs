//! Units that are made elsewhere than in files, written and started as `start` does.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::client::{ApiError, Client, IN_FLIGHT};
use super::wait::{Goal, Waiter};
use super::{Context, say};
use crate::api::fleet::model::{OptionJson, UnitJson};
use crate::ctl::args::Parsed;
use crate::unit::UnitText;

/// Writes new units, all of one text, and launches some of them; with `block` it waits until they run.
///
/// # Errors
/// One of that name is there already; one cannot be written, or does not run.
pub async fn launch(
    client: Client,
    units: &[String],
    launched: &[String],
    text: &UnitText,
    block: bool,
) -> Result<(), String> {
    let context = Context { client, parsed: Parsed::default(), words: Vec::new() };
    let client = &context.client;
    let saying = |name: &str, error: ApiError| format!("unit {name}: {}", error.told());
    for name in units {
        if client.unit(name).await.map_err(|error| saying(name, error))?.is_some() {
            return Err(format!(
                "unit {name} is there already: give another --name, or remove it first (`fleetctl destroy {name}`)"
            ));
        }
    }
    let options: Vec<OptionJson> = text.options().iter().map(OptionJson::from).collect();
    let writes = units.iter().map(async |name| {
        let desired = if launched.contains(name) { "launched" } else { "" };
        let unit = UnitJson {
            name: name.clone(),
            options: options.clone(),
            desired_state: desired.to_owned(),
            ..UnitJson::default()
        };
        client.put(&unit).await.map_err(|error| saying(name, error))
    });
    stream::iter(writes).buffered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
    if !block {
        for name in launched {
            say::out(&format!("Triggered unit {name} start\n"));
        }
        return Ok(());
    }
    let mut waiter = Waiter::new(&context, launched).map_err(|failed| failed.message)?;
    waiter.until(Goal::Launched, launched).await
}
