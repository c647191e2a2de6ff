//! What an executor finds when it comes up: the units of an earlier life of the node.

use super::*;

impl Inner {
    /// Adopts what is there, once.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), ExecutorError> {
        self.adopted.get_or_try_init(|| Arc::clone(self).adopt_all()).await.map(|_| ())
    }

    pub(super) async fn adopt_all(self: Arc<Self>) -> Result<(), ExecutorError> {
        let kept = store::scan(&self.options.state_dir).map_err(|error| ExecutorError::Failed {
            unit: self.options.state_dir.display().to_string(),
            doing: "looking for units of an earlier life".to_owned(),
            reason: error.to_string(),
        })?;
        let mut meetings = JoinSet::new();
        for (dir, stored) in kept {
            let boot_id = self.options.host.boot_id.clone();
            meetings.spawn(async move {
                let (link, report) = meet(&dir, &boot_id).await;
                (dir, stored, link, report)
            });
        }
        while let Some(met) = meetings.join_next().await {
            let Ok((dir, stored, link, report)) = met else {
                continue;
            };
            let name = stored.unit.name.clone();
            let spec = Spec::read(&stored.unit, &specifiers(&stored)).unwrap_or_else(|error| {
                tracing::warn!(unit = name, %error, "an adopted unit's text is not understood");
                Spec::default()
            });
            tracing::info!(unit = name, state = report.state.active, "adopted");
            let mut shared = self.lock();
            self.enter(&mut shared, dir, &stored.unit, &spec, report, link);
        }
        let mut shared = self.lock();
        let orders = shared.jobs.catch_up();
        dispatch(&shared, orders);
        Ok(())
    }

    /// Makes a unit known and gives it its keeper.
    pub(super) fn enter(
        self: &Arc<Self>,
        shared: &mut Shared,
        dir: UnitDir,
        unit: &UnitFile,
        spec: &Spec,
        report: Report,
        link: Option<Link>,
    ) {
        let (wishes, wished) = mpsc::channel(UNIT_WISHES_MAX);
        shared.jobs.know(&unit.name, spec.needs.clone(), seen(&report));
        let keeper = Keeper {
            name: unit.name.clone(),
            dir: dir.clone(),
            shim: Arc::clone(&self.shim),
            listener: Arc::clone(self),
            last: report.clone(),
            follow: false,
            until: None,
            retries: 0,
        };
        while shared.keepers.try_join_next().is_some() {}
        shared.keepers.spawn(keeper.run(wished, link));
        let entry = Entry {
            dir,
            hash: unit.hash.clone(),
            description: spec.description.clone(),
            stop_ms_max: stop_ms_max(spec),
            reloads: reloads(spec),
            reloading: Arc::default(),
            exclusive: is_exclusive(unit),
            until: BootMillis::default(),
            report,
            wishes,
            grown: watch::Sender::new(0),
            followers: 0,
            unloading: false,
        };
        shared.units.insert(unit.name.clone(), entry);
    }
}

/// Finds out how it stands with a unit of an earlier life: from its shim, else from what that left.
async fn meet(dir: &UnitDir, boot_id: &str) -> (Option<Link>, Report) {
    let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
    let hello = async {
        let mut link = Link::connect(dir).ok()?;
        match link.hear().await? {
            Push::Report(report) => Some((link, *report)),
            _ => None,
        }
    };
    match tokio::time::timeout(limit, hello).await {
        Ok(Some((link, report))) => return (Some(link), report),
        Ok(None) => {}
        Err(_) => tracing::warn!(dir = %dir.path().display(), ?limit, "a shim does not answer"),
    }
    if dir.is_locked() {
        // A shim that ends, or one that has hardly begun: its end is waited for, a little.
        let ending = dir.clone();
        let end = tokio::task::spawn_blocking(move || ending.lock().map(drop));
        let _ = tokio::time::timeout(limit / 5, end).await;
        if let Ok(link) = Link::connect(dir) {
            return (Some(link), dir.read_report().unwrap_or_else(never_started));
        }
    }
    let mut report = dir.read_report().unwrap_or_else(never_started);
    if report.boot_id != boot_id {
        // The machine has been restarted since: as systemd after a boot, it knows of nothing that ran.
        report = Report { run: report.run, ..never_started() };
    } else if !report.settled() {
        bury(&mut report);
        let _ = dir.write_report(&report);
    }
    (None, report)
}

fn never_started() -> Report {
    Report { state: loaded("inactive", "dead"), ..Report::default() }
}
