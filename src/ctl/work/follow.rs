//! Output that is followed: held for a moment, so that lines of several machines fall into place, and gone on with when a machine is
//! lost, when units move, come and go, and at another node when the one is lost that was asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered, LocalBoxStream, SelectAll, StreamExt as _};
use futures_util::{FutureExt as _, future, stream};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::lines::{Line, Lines};
use super::logs::{Asked, Page, SOURCES_MAX, Source, complain, means};
use crate::api::fleet::model::News;
use crate::ctl::fleetctl::client::Client;
use crate::ctl::http::Streamed;

/// How long a line that has just come is held for older ones of other machines.
const HOLD: Duration = Duration::from_millis(150);
/// Pause before a watch that broke off is opened anew, and how long that is tried.
const REOPEN: Duration = Duration::from_millis(500);
const REOPEN_WITHIN: Duration = Duration::from_secs(60);

/// What a journal that is followed tells.
enum Told {
    Line(Line),
    /// It has ended, for this reason if one was told.
    Ended(Option<String>),
}

type Journal = BoxStream<'static, (Source, Told)>;

/// Journals that are followed.
pub(super) struct Follow<'a> {
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
    pub(super) fn new(asked: Asked<'a>, page: Page, patterns: Vec<String>) -> Self {
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

    pub(super) async fn run(mut self, sources: BTreeSet<Source>) -> anyhow::Result<u8> {
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
    ready: VecDeque<News>,
    /// Since when no node answers.
    silent: Option<Instant>,
}

impl Watch {
    /// The next news; `None`: no node has answered for long.
    async fn next(&mut self, client: &Client) -> Option<News> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Some(news);
            }
            match &mut self.stream {
                Some(stream) => match stream.lines().await {
                    Ok(Some(lines)) => {
                        self.ready = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
                    }
                    // The node stops, or is lost: another one, or the same, is asked anew.
                    _ => self.stream = None,
                },
                None => match client.open("watch").await {
                    Ok(stream) => (self.stream, self.silent) = (Some(stream), None),
                    Err(_) if self.silent.get_or_insert_with(Instant::now).elapsed() > REOPEN_WITHIN => return None,
                    Err(_) => tokio::time::sleep(REOPEN).await,
                },
            }
        }
    }
}
