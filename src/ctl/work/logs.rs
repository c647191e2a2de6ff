//! `node ctl logs`: what units print, of all machines, by time.
//!
//! Each unit's journal is asked of its machine, by way of any node. What there is already is merged here; what comes, by `follow`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{Timestamp, Zoned};

use super::client;
use super::follow::Follow;
use super::lines::{Line, Lines};
use crate::base::glob;
use crate::ctl::args::{Flag, Parsed};
use crate::ctl::fleetctl::client::{ApiError, Client, escape};
use crate::ctl::{kv, node_ctl};
use crate::unit::container;
use crate::unit::name::UnitName;

pub const HELP: &str = "\
node ctl logs: what units print, whichever machines they are on, by time.

  $ node ctl logs web@1.service                  all that there is of it
  $ node ctl logs 'web@*' --since 10m            of all instances, each line with its unit
  $ node ctl logs web db -f                      the last lines, and what comes
  $ node ctl logs 'web@*' --lines 100 --timestamps

A word is a unit's name, with or without its suffix, or a pattern. With -f it goes on when a machine is lost, and follows
units that move, come and go; with several nodes in --endpoint also when the one is lost that is asked.

  -f, --follow           goes on as lines come
  --since MOMENT         nothing from before: 10m, 14:30, 2026-01-31, 2026-01-31T14:30:00+01:00
  --lines N, -n N        the last N of each unit [all; with -f 10]
  --timestamps           each line with its time
  --endpoint URL         as for the other commands
";

pub const FLAGS: &[Flag] = &[
    Flag { names: &["follow", "f"], value: false, variable: None, help: "go on as lines come" },
    Flag { names: &["since"], value: true, variable: None, help: "nothing from before" },
    Flag { names: &["lines", "n", "tail"], value: true, variable: None, help: "the last N of each unit" },
    Flag { names: &["timestamps"], value: false, variable: None, help: "each line with its time" },
];

/// Journals that are read at once.
pub(super) const SOURCES_MAX: usize = 256;
/// How long a machine may take to begin its answer.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Lines of each unit that come first where it goes on afterwards.
const LINES_BEFORE: usize = 10;

/// A unit on a machine.
pub(super) type Source = (String, String);

/// Prints what units print: 0; 1 where one of them cannot be read.
pub async fn run(parsed: &Parsed) -> anyhow::Result<u8> {
    let patterns = parsed.words[1..].to_vec();
    if patterns.is_empty() {
        return Ok(node_ctl::misunderstood("`logs` takes units or patterns"));
    }
    let follow = parsed.truth("follow")?;
    let since = match parsed.value("since").map(|text| kv::moment::past(text, &Zoned::now())).transpose() {
        Ok(since) => since.map(Timestamp::as_millisecond),
        Err(what) => return Ok(node_ctl::misunderstood(&format!("--since: {what}"))),
    };
    let lines = parsed.number("lines")?.or_else(|| (follow && since.is_none()).then_some(LINES_BEFORE));
    let client = client(parsed).await?;
    let sources = sources(&client, &patterns).await?;
    if sources.is_empty() && !follow {
        anyhow::bail!("no unit {} runs on any machine", patterns.join(" "));
    }
    anyhow::ensure!(
        sources.len() <= SOURCES_MAX,
        "{} are {} units; {SOURCES_MAX} are read at once",
        patterns.join(" "),
        sources.len()
    );
    let page = Page::new(parsed.truth("timestamps")?, &patterns, &sources);
    let asked = Asked { client: &client, lines, since };
    if follow { Follow::new(asked, page, patterns).run(sources).await } else { print_all(&asked, page, sources).await }
}

/// What is asked of each journal.
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    lines: Option<usize>,
    since: Option<i64>,
}

impl Asked<'_> {
    pub(super) async fn open(
        &self,
        (unit, machine): &Source,
        follow: bool,
        since: Option<i64>,
    ) -> Result<Lines, ApiError> {
        let mut path = format!("journal/{}?output=json&follow={follow}&machine={machine}", escape(unit));
        // Where it goes on from where it was, all from there on.
        match since {
            Some(since) => path += &format!("&since={since}"),
            None => {
                path += &self.lines.map(|lines| format!("&lines={lines}")).unwrap_or_default();
                path += &self.since.map(|since| format!("&since={since}")).unwrap_or_default();
            }
        }
        let opened = tokio::time::timeout(OPEN_WITHIN, self.client.open(&path)).await;
        let late = || ApiError::Nonsense { path, reason: format!("no answer within {OPEN_WITHIN:?}") };
        opened.unwrap_or_else(|_| Err(late())).map(Lines::of)
    }
}

/// The units that words mean, with the machines that hold them.
async fn sources(client: &Client, patterns: &[String]) -> Result<BTreeSet<Source>, ApiError> {
    let (units, states) = future::try_join(client.units(), client.states()).await?;
    let placed = units.into_iter().map(|unit| (unit.name, unit.machine_id));
    let all = placed.chain(states.into_iter().map(|state| (state.name, state.machine_id)));
    Ok(all.filter(|(unit, machine)| !machine.is_empty() && means(patterns, unit)).collect())
}

/// Whether one of the words means a unit.
pub(super) fn means(patterns: &[String], unit: &str) -> bool {
    if UnitName::new(unit).is_template() {
        return false;
    }
    let bare = [".service", &format!(".{}", container::SUFFIX)].iter().find_map(|suffix| unit.strip_suffix(suffix));
    let is = |pattern: &String, name: &str| pattern == name || glob::matches(pattern, name).unwrap_or(false);
    patterns.iter().any(|pattern| is(pattern, unit) || bare.is_some_and(|bare| is(pattern, bare)))
}

/// How lines are printed.
pub(super) struct Page {
    timestamps: bool,
    /// Before each line; `None`: there is one unit only, and no other may come.
    width: Option<usize>,
    /// Units that are on several machines.
    spread: BTreeSet<String>,
}

impl Page {
    fn new(timestamps: bool, patterns: &[String], sources: &BTreeSet<Source>) -> Self {
        let mut machines: BTreeMap<&str, usize> = BTreeMap::new();
        sources.iter().for_each(|(unit, _)| *machines.entry(unit).or_default() += 1);
        let alone = sources.len() == 1 && patterns.len() == 1 && !patterns[0].contains(['*', '?', '[']);
        let spread = machines.iter().filter(|(_, count)| **count > 1).map(|(unit, _)| (*unit).to_owned()).collect();
        let mut page = Self { timestamps, width: None, spread };
        page.width = (!alone).then(|| sources.iter().map(|source| page.legend(source).len()).max().unwrap_or_default());
        page
    }

    fn legend(&self, (unit, machine): &Source) -> String {
        let short = machine.get(..8).unwrap_or(machine);
        if self.spread.contains(unit) { format!("{unit} {short}") } else { unit.clone() }
    }

    /// `false`: nobody reads any more.
    pub(super) fn print(&self, source: &Source, line: &Line) -> bool {
        let mut out = Vec::new();
        if let Some(width) = self.width {
            out.extend(format!("{:width$} | ", self.legend(source)).into_bytes());
        }
        if self.timestamps {
            let at = Timestamp::from_microsecond(line.at).unwrap_or_default();
            out.extend(format!("{at:.6} ").into_bytes());
        }
        out.extend_from_slice(&line.message);
        out.push(b'\n');
        use std::io::Write as _;
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&out).and_then(|()| stdout.flush()).is_ok()
    }
}

/// What is wrong with one source, for people.
pub(super) fn complain((unit, machine): &Source, what: &str) {
    let machine = machine.get(..8).unwrap_or(machine);
    eprintln!("-- {unit} on {machine}: {what} --");
}

/// All that there is, merged by time.
async fn print_all(asked: &Asked<'_>, page: Page, sources: BTreeSet<Source>) -> anyhow::Result<u8> {
    let mut code = 0;
    let mut heads: Vec<(Source, Lines, Line)> = Vec::new();
    let opened = sources.into_iter().map(async |source| {
        let first = async {
            let mut lines = asked.open(&source, false, None).await.map_err(|error| error.told())?;
            Ok::<_, String>(lines.next().await?.map(|line| (lines, line)))
        };
        let first = first.await;
        (source, first)
    });
    let mut opened: FuturesUnordered<_> = opened.collect();
    while let Some((source, first)) = opened.next().await {
        match first {
            Ok(Some((lines, line))) => heads.push((source, lines, line)),
            Ok(None) => {}
            Err(what) => {
                complain(&source, &what);
                code = 1;
            }
        }
    }
    drop(opened);
    while let Some(at) = (0..heads.len()).min_by_key(|at| (heads[*at].2.at, &heads[*at].0)) {
        let (source, lines, line) = &mut heads[at];
        if !page.print(source, line) {
            return Ok(code);
        }
        match lines.next().await {
            Ok(Some(next)) => *line = next,
            Ok(None) => drop(heads.swap_remove(at)),
            Err(what) => {
                complain(source, &what);
                code = 1;
                heads.swap_remove(at);
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_units() {
        let cases = [
            ("web@1", "web@1.service", true),
            ("web@1", "web@1.container", true),
            ("web@1.service", "web@1.service", true),
            ("web@*", "web@2.container", true),
            ("web@*", "web@.container", false),
            ("web", "web@1.service", false),
            ("w?b", "web.service", true),
            ("*", "a.timer", true),
            ("a", "a.timer", false),
            ("[", "a.service", false),
        ];
        for (word, unit, expected) in cases {
            assert_eq!(means(&[word.to_owned()], unit), expected, "{word} {unit}");
        }
    }

    #[test]
    fn lines_are_told_apart_where_they_may_be_of_several() {
        let source = |unit: &str, machine: &str| (unit.to_owned(), machine.to_owned());
        let one = BTreeSet::from([source("a.service", "0123456789")]);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(Page::new(false, &words(&["a"]), &one).width, None);
        assert_eq!(Page::new(false, &words(&["a*"]), &one).width, Some(9));
        let spread = BTreeSet::from([source("a.service", "0123456789"), source("a.service", "1")]);
        let page = Page::new(false, &words(&["a"]), &spread);
        assert_eq!(page.legend(&source("a.service", "0123456789")), "a.service 01234567");
        assert_eq!(page.width, Some(18));
    }
}
