//! `node ctl logs`: what units print, of all machines, by time.
//!
//! Each unit's journal is asked of its machine, by way of any node. What there is already is merged exactly. What comes is held
//! for a moment, so that lines of several machines fall into place; who moves, appears or is lost is told by the nodes' watch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered, LocalBoxStream, SelectAll, StreamExt as _};
use futures_util::{FutureExt as _, future, stream};
use jiff::{Timestamp, Zoned};
use tokio::time::{Instant, sleep_until};

use super::client;
use super::lines::{Line, Lines};
use crate::api::fleet::model::News;
use crate::base::glob;
use crate::ctl::args::{Flag, Parsed};
use crate::ctl::fleetctl::client::{ApiError, Client, escape};
use crate::ctl::http::Streamed;
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
const SOURCES_MAX: usize = 256;
/// How long a line that has just come is held for older ones of other machines.
const HOLD: Duration = Duration::from_millis(150);
/// How long a machine may take to begin its answer.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a watch that broke off is opened anew, and how long that is tried.
const REOPEN: Duration = Duration::from_millis(500);
const REOPEN_WITHIN: Duration = Duration::from_secs(60);
/// Lines of each unit that come first where it goes on afterwards.
const LINES_BEFORE: usize = 10;

/// A unit on a machine.
type Source = (String, String);

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
struct Asked<'a> {
    client: &'a Client,
    lines: Option<usize>,
    since: Option<i64>,
}

impl Asked<'_> {
    async fn open(&self, (unit, machine): &Source, follow: bool, since: Option<i64>) -> Result<Lines, ApiError> {
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
fn means(patterns: &[String], unit: &str) -> bool {
    if UnitName::new(unit).is_template() {
        return false;
    }
    let bare = [".service", &format!(".{}", container::SUFFIX)].iter().find_map(|suffix| unit.strip_suffix(suffix));
    let is = |pattern: &String, name: &str| pattern == name || glob::matches(pattern, name).unwrap_or(false);
    patterns.iter().any(|pattern| is(pattern, unit) || bare.is_some_and(|bare| is(pattern, bare)))
}

/// How lines are printed.
struct Page {
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
    fn print(&self, source: &Source, line: &Line) -> bool {
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
fn complain((unit, machine): &Source, what: &str) {
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

/// What a journal that is followed tells.
enum Told {
    Line(Line),
    /// It has ended, for this reason if one was told.
    Ended(Option<String>),
}

type Journal = BoxStream<'static, (Source, Told)>;

/// Journals that are followed.
struct Follow<'a> {
    asked: Asked<'a>,
    page: Page,
    patterns: Vec<String>,
    journals: SelectAll<Journal>,
    open: BTreeSet<Source>,
    /// The time of the newest line of each, so that it goes on from there.
    newest: BTreeMap<Source, i64>,
    /// Lines by time, and until when the first of them that came is held.
    held: BTreeMap<(i64, usize), (Source, Line)>,
    release: Option<Instant>,
    count: usize,
    /// When it began, in milliseconds: of what comes up later, all from then on is shown.
    began: i64,
}

impl<'a> Follow<'a> {
    fn new(asked: Asked<'a>, page: Page, patterns: Vec<String>) -> Self {
        Self {
            asked,
            page,
            patterns,
            journals: SelectAll::new(),
            open: BTreeSet::new(),
            newest: BTreeMap::new(),
            held: BTreeMap::new(),
            release: None,
            count: 0,
            began: Timestamp::now().as_millisecond(),
        }
    }

    async fn run(mut self, sources: BTreeSet<Source>) -> anyhow::Result<u8> {
        self.open_all(&sources, None).await;
        let mut watch = watch(self.asked.client);
        loop {
            let (idle, release) = (self.journals.is_empty(), self.release);
            tokio::select! {
                told = self.journals.next(), if !idle => {
                    if let Some((source, told)) = told {
                        self.hear(source, told);
                    }
                }
                () = async { sleep_until(release.unwrap_or_else(Instant::now)).await }, if release.is_some() => {
                    if !self.print_held() {
                        return Ok(0);
                    }
                }
                news = watch.next() => {
                    let Some(news) = news else { anyhow::bail!("no node answers any more") };
                    self.take_in(news).await;
                }
            }
        }
    }

    fn hear(&mut self, source: Source, told: Told) {
        match told {
            Told::Line(line) => {
                let newest = self.newest.entry(source.clone()).or_insert(i64::MIN);
                *newest = line.at.max(*newest);
                self.count += 1;
                self.held.insert((line.at, self.count), (source, line));
                self.release.get_or_insert_with(|| Instant::now() + HOLD);
            }
            Told::Ended(why) => {
                self.open.remove(&source);
                complain(&source, why.as_deref().unwrap_or("its output has ended"));
            }
        }
    }

    fn print_held(&mut self) -> bool {
        self.release = None;
        std::mem::take(&mut self.held).values().all(|(source, line)| self.page.print(source, line))
    }

    async fn take_in(&mut self, news: News) {
        let Some(state) = news.state else { return };
        let source = (state.name, state.machine_id);
        let runs = state.active != "inactive" && state.load != "not-found";
        if !runs || self.open.contains(&source) || !means(&self.patterns, &source.0) || self.open.len() >= SOURCES_MAX {
            return;
        }
        let since = self.newest.get(&source).map_or(self.began, |newest| newest / 1000);
        self.open_all(&BTreeSet::from([source]), Some(since)).await;
    }

    async fn open_all(&mut self, sources: &BTreeSet<Source>, since: Option<i64>) {
        let asked = &self.asked;
        let opened = sources.iter().map(|source| asked.open(source, true, since).map(move |opened| (source, opened)));
        let mut opened: FuturesUnordered<_> = opened.collect();
        while let Some((source, opened)) = opened.next().await {
            match opened {
                Ok(lines) => {
                    let newest = self.newest.get(source).copied().filter(|_| since.is_some());
                    self.open.insert(source.clone());
                    self.journals.push(journal(source.clone(), lines, newest));
                }
                Err(error) => complain(source, &error.told()),
            }
        }
    }
}

/// The lines of a journal after those that were shown already, and its end.
fn journal(source: Source, lines: Lines, shown: Option<i64>) -> Journal {
    let told = stream::unfold(Some(lines), |lines| async {
        let mut lines = lines?;
        match lines.next().await {
            Ok(Some(line)) => Some((Told::Line(line), Some(lines))),
            Ok(None) => Some((Told::Ended(None), None)),
            Err(why) => Some((Told::Ended(Some(why)), None)),
        }
    });
    let is_new = move |told: &Told| match told {
        Told::Line(line) => shown.is_none_or(|shown| line.at > shown),
        Told::Ended(_) => true,
    };
    told.filter(move |told| future::ready(is_new(told))).map(move |told| (source.clone(), told)).boxed()
}

/// What the nodes' watch tells; it ends where no node has answered for long.
fn watch(client: &Client) -> LocalBoxStream<'_, News> {
    stream::unfold(Watch::default(), async |mut watch| Some((watch.next(client).await?, watch))).boxed_local()
}

/// The nodes' watch, opened anew where it breaks off.
#[derive(Default)]
struct Watch {
    stream: Option<Streamed>,
    rest: Vec<u8>,
    ready: Vec<News>,
    /// Since when no node answers.
    silent: Option<Instant>,
}

impl Watch {
    /// The next news; `None`: no node has answered for long.
    async fn next(&mut self, client: &Client) -> Option<News> {
        loop {
            if let Some(news) = self.ready.pop() {
                return Some(news);
            }
            match &mut self.stream {
                Some(stream) => match stream.next().await {
                    Ok(Some(chunk)) => self.take_in(&chunk),
                    // The node stops, or is lost: another one, or the same, is asked anew.
                    _ => self.stream = None,
                },
                None => match client.open("watch").await {
                    Ok(stream) => {
                        (self.stream, self.silent) = (Some(stream), None);
                        self.rest.clear();
                    }
                    Err(_) if self.silent.get_or_insert_with(Instant::now).elapsed() > REOPEN_WITHIN => return None,
                    Err(_) => tokio::time::sleep(REOPEN).await,
                },
            }
        }
    }

    fn take_in(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let news = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        self.ready = news.collect();
        self.ready.reverse();
    }
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
