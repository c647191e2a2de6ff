//! The reconciler over a store in memory, real files and real commands.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::testing::MemoryStore;
use super::*;
use crate::jobs::Jobs;
use tokio::time::Instant;

/// Longer than any of this takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A confdir, a store, and the job over both.
struct Bench {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
    jobs: Jobs,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["confd/conf.d/sub", "confd/templates", "out"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        Self { folder, store: MemoryStore::new(), jobs: Jobs::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A resource `name` that writes `out/name`; `rest` follows in its table, with `@` standing for `out`.
    fn resource(&self, name: &str, template: &str, rest: &str) {
        let out = self.path("out");
        let rest = rest.replace('@', &out.to_string_lossy());
        let text = format!("[template]\nsrc = \"{name}.tmpl\"\ndest = \"{}\"\n{rest}\n", out.join(name).display());
        fs::write(self.path(&format!("confd/conf.d/{name}.toml")), text).unwrap();
        fs::write(self.path(&format!("confd/templates/{name}.tmpl")), template).unwrap();
    }

    fn start(&mut self) {
        let job = Templates::new(Arc::new(StoreKeys(self.store.clone())), self.path("confd"), String::new());
        self.jobs.start(job);
    }

    fn out(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap_or_else(|_| "(none)".into())
    }

    async fn until(&self, name: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.out(name) != expected {
            assert!(Instant::now() < deadline, "{name} is {:?}, not {expected:?}", self.out(name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// No stage file, no mark.
    async fn until_tidy(&self) {
        let hidden = || {
            fs::read_dir(self.path("out"))
                .unwrap()
                .any(|one| one.unwrap().file_name().to_string_lossy().starts_with('.'))
        };
        let deadline = Instant::now() + PATIENCE;
        while hidden() {
            assert!(Instant::now() < deadline, "something hidden is left in {}", self.path("out").display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_file_follows_its_keys() {
    let mut bench = Bench::new();
    bench.resource(
        "up",
        "{{range gets \"/services/web/*\"}}{{base .Key}}={{.Value}} {{end}}",
        "keys = [\"/services/web\"]\ncheck_cmd = \"! grep -q bad {{.src}}\"\nreload_cmd = \"cat @/up >> @/reloads; echo >> @/reloads\"",
    );
    bench.store.put("/services/web/1", "a");
    bench.start();
    bench.until("up", "1=a ").await;
    bench.store.put("/services/web/2", "b");
    bench.until("up", "1=a 2=b ").await;
    bench.store.set(&[("/services/web/1", None), ("/services/web/", Some(""))]);
    bench.until("up", "2=b ").await;
    bench.until("reloads", "1=a \n1=a 2=b \n2=b \n").await;
    // A check that fails keeps the last good file.
    bench.store.put("/services/web/2", "bad");
    bench.store.put("/services/web/3", "c");
    bench.store.put("/services/web/2", "good");
    bench.until("up", "2=good 3=c ").await;
    bench.until_tidy().await;
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn one_broken_resource_does_not_hold_up_the_rest() {
    let mut bench = Bench::new();
    bench.resource("missing", "{{getv \"/a/late\"}}", "keys = [\"/a\"]");
    bench.resource("syntax", "{{if}}", "keys = [\"/a\"]");
    bench.resource("good", "{{getv \"/a/b\"}}", "keys = [\"/a\"]");
    fs::write(bench.path("confd/conf.d/bad.toml"), "[template]\nsrc = 1\n").unwrap();
    fs::write(bench.path("confd/conf.d/sub/nodot_toml"), "nonsense").unwrap();
    fs::remove_file(bench.path("confd/templates/syntax.tmpl")).unwrap();
    bench.store.put("/a/b", "1");
    bench.start();
    bench.until("good", "1").await;
    assert_eq!(bench.out("missing"), "(none)");
    bench.store.put("/a/late", "here");
    bench.until("missing", "here").await;
    // What is missing outside of the store is looked for again.
    fs::write(bench.path("confd/templates/syntax.tmpl"), "fixed").unwrap();
    bench.until("syntax", "fixed").await;
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn the_last_good_file_stays_while_the_store_is_away() {
    let mut bench = Bench::new();
    bench.resource("x", "{{range getvs \"/k/*\"}}{{.}}{{end}}", "keys = [\"/k\"]");
    bench.store.put("/k/1", "one");
    bench.store.down(true);
    bench.start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.out("x"), "(none)", "nothing is rendered from no keys");
    bench.store.down(false);
    bench.until("x", "one").await;
    bench.store.down(true);
    bench.store.put("/k/2", "two");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.out("x"), "one");
    bench.store.down(false);
    bench.until("x", "onetwo").await;
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_failed_reload_is_remembered_over_restarts() {
    let mut bench = Bench::new();
    let reload = "keys = [\"/k\"]\nreload_cmd = \"test -e @/allowed && echo done > @/reloaded\"";
    bench.resource("x", "{{getv \"/k\"}}", reload);
    bench.store.put("/k", "1");
    bench.start();
    bench.until("x", "1").await;
    let mark = bench.path("out/.x.reload-pending");
    assert!(mark.exists());
    let jobs = std::mem::take(&mut bench.jobs);
    jobs.stop(PATIENCE).await;
    assert!(mark.exists());
    fs::write(bench.path("out/allowed"), "").unwrap();
    bench.start();
    bench.until("reloaded", "done\n").await;
    bench.until_tidy().await;
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_check_that_fails_is_tried_again() {
    let mut bench = Bench::new();
    bench.resource("x", "{{getv \"/k\"}}", "keys = [\"/k\"]\nmode = \"0600\"\ncheck_cmd = \"test -e @/allowed\"");
    bench.store.put("/k", "new");
    fs::write(bench.path("out/x"), "old").unwrap();
    bench.start();
    let context = Context::new(Options::default());
    let loaded = load(&bench.path("confd"), "").unwrap();
    let view = Arc::new(crate::confd::View::of([("/k", "new")]));
    let pass = process(&context, &loaded.targets[0], view).await;
    assert_eq!(pass.result.unwrap_err().to_string(), "Config check failed: exit status 1");
    assert_eq!(bench.out("x"), "old");
    fs::write(bench.path("out/allowed"), "").unwrap();
    bench.until("x", "new").await;
    assert_eq!(fs::metadata(bench.path("out/x")).unwrap().permissions().mode() & 0o7777, 0o600);
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_burst_is_one_render_and_foreign_keys_are_none() {
    let mut bench = Bench::new();
    bench.resource("all", "{{len (gets \"/k/*\")}}", "keys = [\"/\"]\nreload_cmd = \"echo >> @/reloads\"");
    bench.resource("hang", "{{getv \"/k/1\"}}", "keys = [\"/k/1\"]\nreload_cmd = \"sleep 600\"");
    bench.store.put("/k/0", "x");
    bench.start();
    bench.until("all", "1").await;
    bench.until("reloads", "\n").await;
    let many: Vec<String> = (1..=500).map(|number| format!("/k/{number}")).collect();
    let many: Vec<(&str, Option<&str>)> = many.iter().map(|key| (key.as_str(), Some("x"))).collect();
    bench.store.set(&many);
    // Another worker's reload hangs meanwhile.
    bench.until("hang", "x").await;
    bench.until("all", "501").await;
    bench.until("reloads", "\n\n").await;
    // Keys that the template does not look up cause no pass: the file that was removed is not written anew.
    fs::remove_file(bench.path("out/all")).unwrap();
    bench.store.put("/other", "x");
    bench.store.put("/k/a/b", "x");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.out("all"), "(none)");
    bench.store.put("/k/0", "y");
    bench.until("all", "501").await;
    assert_eq!(bench.store.reads(), 1, "changes are pushed; nothing is read again");
    bench.jobs.stop(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn options_do_what_the_flags_say() {
    let bench = Bench::new();
    bench.resource("x", "new", "check_cmd = \"false\"\nreload_cmd = \"echo >> @/reloads\"");
    let loaded = load(&bench.path("confd"), "").unwrap();
    let view = Arc::new(crate::confd::View::default());
    let noop = Context::new(Options { noop: true, keep_stage_file: true, ..Options::default() });
    assert_eq!(process(&noop, &loaded.targets[0], view.clone()).await.result.unwrap(), Outcome::Noop);
    assert_eq!(bench.out("x"), "(none)");
    let kept: Vec<PathBuf> = fs::read_dir(bench.path("out")).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "new");
    let sync_only = Context::new(Options { sync_only: true, ..Options::default() });
    assert_eq!(process(&sync_only, &loaded.targets[0], view.clone()).await.result.unwrap(), Outcome::Updated);
    assert_eq!((bench.out("x").as_str(), bench.out("reloads").as_str()), ("new", "(none)"));
    assert_eq!(process(&sync_only, &loaded.targets[0], view).await.result.unwrap(), Outcome::InSync);
}

#[tokio::test]
async fn keys_beyond_confds_do_what_they_say() {
    let bench = Bench::new();
    let view = Arc::new(crate::confd::View::default());
    let context = Context::new(Options::default());
    let confd = bench.path("confd");
    let table = |rest: &str| {
        let dest = bench.path("out/a/b/x");
        let text = format!("[template]\nsrc = \"x.tmpl\"\ndest = \"{}\"\n{rest}\n", dest.display());
        fs::write(bench.path("confd/conf.d/x.toml"), text).unwrap();
        fs::write(bench.path("confd/templates/x.tmpl"), "new").unwrap();
        load(&confd, "").unwrap().targets[0].clone()
    };
    // Without create_dirs a missing folder is an error; a noop makes none.
    assert!(process(&context, &table(""), view.clone()).await.result.is_err());
    let noop = Context::new(Options { noop: true, ..Options::default() });
    assert_eq!(process(&noop, &table("create_dirs = true"), view.clone()).await.result.unwrap(), Outcome::Noop);
    assert!(!bench.path("out/a").exists());
    // A command ends in its own time, and knows the file's name.
    let hanging = table("create_dirs = true\ncheck_cmd = \"sleep 600\"\ncheck_cmd_timeout = \"50ms\"");
    let error = process(&context, &hanging, view.clone()).await.result.unwrap_err().to_string();
    assert!(error.contains("no end within 50ms"), "{error}");
    let reload = table("create_dirs = true\nreload_cmd = \"cp {{.dest}} {{.dest}}.copy\"");
    assert_eq!(process(&context, &reload, view.clone()).await.result.unwrap(), Outcome::Updated);
    assert_eq!((bench.out("a/b/x"), bench.out("a/b/x.copy")), ("new".into(), "new".into()));
    let hanging = table("mode = \"0600\"\nreload_cmd = \"sleep 600\"\nreload_cmd_timeout = \"50ms\"");
    assert!(matches!(process(&context, &hanging, view).await.result, Err(PassError::Reload(_))));
}

#[tokio::test]
async fn a_file_keeps_its_owner_where_asked() {
    let bench = Bench::new();
    let dest = bench.path("out/x");
    fs::write(&dest, "old").unwrap();
    // Only root may give files away.
    if std::os::unix::fs::chown(&dest, Some(12), Some(34)).is_err() {
        return;
    }
    let owner = || {
        let metadata = fs::metadata(&dest).unwrap();
        (std::os::unix::fs::MetadataExt::uid(&metadata), std::os::unix::fs::MetadataExt::gid(&metadata))
    };
    let context = Context::new(Options::default());
    for (rest, expected) in
        [("preserve_owner = true", (12, 34)), ("preserve_owner = true\ngid = 5", (12, 5)), ("", (0, 0))]
    {
        bench.resource("x", "new", rest);
        let target = load(&bench.path("confd"), "").unwrap().targets[0].clone();
        process(&context, &target, Arc::default()).await.result.unwrap();
        assert_eq!(owner(), expected, "{rest}");
    }
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let bench = Bench::new();
    let none = load(&bench.path("none"), "").unwrap_err();
    assert!(none.to_string().starts_with("Cannot load template resources: confdir '"), "{none}");
    let no_conf_d = load(&bench.path("out"), "").unwrap_err().to_string();
    assert!(no_conf_d.ends_with("conf.d: no such file or directory"), "{no_conf_d}");
    // A linked conf.d, and a linked file in it, are found.
    fs::create_dir(bench.path("linked")).unwrap();
    std::os::unix::fs::symlink(bench.path("confd/conf.d"), bench.path("linked/conf.d")).unwrap();
    bench.resource("x", "", "");
    std::os::unix::fs::symlink(bench.path("confd/conf.d/x.toml"), bench.path("confd/conf.d/y.toml")).unwrap();
    assert_eq!(load(&bench.path("linked"), "").unwrap().targets.len(), 2);
}

#[tokio::test]
async fn one_name_one_file_and_what_goes_is_removed() {
    let bench = Bench::new();
    let context = Context::new(Options::default());
    fs::write(bench.path("confd/templates/s.tmpl"), "{{.name}}={{getv (print .key \"/port\")}}").unwrap();
    let text = format!(
        "[template]\nsrc = \"s.tmpl\"\ndest = \"{out}/{{{{.name}}}}.conf\"\nkeys = [\"/sites\"]\nfor_each = \"/sites\"\n\
         min_entries = 1\nreload_cmd = \"ls {out} >> {out}/reloads\"\ncheck_cmd = \"! grep -q bad {{{{.src}}}}\"\n",
        out = bench.path("out").display()
    );
    fs::write(bench.path("confd/conf.d/s.toml"), text).unwrap();
    let target = load(&bench.path("confd"), "").unwrap().targets[0].clone();
    let run = async |keys: &[(&str, &str)]| {
        let view = Arc::new(crate::confd::View::of(keys.iter().copied()));
        process(&context, &target, view).await
    };
    let pass = run(&[("/sites/a/port", "1"), ("/sites/b/port", "2"), ("/sites/c/port", "3")]).await;
    assert_eq!((pass.result.unwrap(), pass.files.len()), (Outcome::Updated, 3));
    assert_eq!((bench.out("a.conf"), bench.out("b.conf")), ("a=1".into(), "b=2".into()));
    assert_eq!(bench.out("reloads"), "a.conf\nb.conf\nc.conf\nreloads\n", "one reload for all");
    // One fails its check, one cannot be rendered, one was changed by somebody: those stay, and the rest goes on.
    fs::write(bench.path("out/c.conf"), "mine").unwrap();
    let pass = run(&[("/sites/a/port", "bad"), ("/sites/b", ""), ("/sites/d/port", "4")]).await;
    let error = pass.result.unwrap_err().to_string();
    assert!(error.starts_with("2 of 3 files: "), "{error}");
    let files = ["a.conf", "b.conf", "c.conf", "d.conf"].map(|name| bench.out(name));
    assert_eq!(files, ["a=1", "b=2", "mine", "d=4"]);
    // A name that is gone takes its file with it; without any name nothing is touched.
    let pass = run(&[("/sites/d/port", "4")]).await;
    assert_eq!(pass.result.unwrap(), Outcome::Updated);
    assert_eq!((bench.out("a.conf"), bench.out("d.conf")), ("(none)".into(), "d=4".into()));
    let pass = run(&[]).await;
    assert!(matches!(pass.result, Err(PassError::TooFew { found: 0, least: 1, .. })));
    assert_eq!(bench.out("d.conf"), "d=4");
    assert_eq!(run(&[("/sites/d/port", "4")]).await.result.unwrap(), Outcome::InSync);
}

#[tokio::test]
async fn outputs_are_looked_at_before_they_are_written() {
    let bench = Bench::new();
    let context = Context::new(Options::default());
    let run = async |template: &str, rest: &str, keys: &[(&str, &str)]| {
        bench.resource("x", template, rest);
        let target = load(&bench.path("confd"), "").unwrap().targets[0].clone();
        let view = Arc::new(crate::confd::View::of(keys.iter().copied()));
        process(&context, &target, view).await.result.map_err(|error| error.to_string())
    };
    fs::write(bench.path("out/x"), "old").unwrap();
    let list = "{{range gets \"/u/*\"}}{{.Value}}\n{{end}}";
    let few = run(list, "min_entries = 1", &[]).await.unwrap_err();
    assert_eq!(few, "gets \"/u/*\" finds 0 entries, and min_entries is 1; the file stays as it is");
    let json = run("{\n  \"a\": {{getv \"/a\"}}}", "output_format = \"json\"", &[("/a", "x")]).await.unwrap_err();
    assert_eq!(json, "the output is no JSON: expected value (its line 2, column 8)");
    let waits = run("{{getv \"/none\"}}", "on_missing = \"wait\"", &[]).await.unwrap_err();
    assert_eq!(waits, "waits for the key /none; the file stays as it is");
    assert_eq!(bench.out("x"), "old");
    run("[{{getv \"/none\"}}]", "on_missing = \"empty\"\nbackup = true", &[]).await.unwrap();
    assert_eq!((bench.out("x"), bench.out("x.bak")), ("[]".into(), "old".into()));
    run(list, "min_entries = 1\nbackup = true", &[("/u/1", "a")]).await.unwrap();
    assert_eq!((bench.out("x"), bench.out("x.bak")), ("a\n".into(), "[]".into()));
    fs::rename(bench.path("out/x"), bench.path("out/real")).unwrap();
    std::os::unix::fs::symlink("real", bench.path("out/x")).unwrap();
    run("linked", "follow_symlinks = true", &[]).await.unwrap();
    assert!(fs::symlink_metadata(bench.path("out/x")).unwrap().is_symlink());
    assert_eq!(bench.out("real"), "linked");
}

#[tokio::test]
async fn a_group_is_reloaded_once_for_all_of_it() {
    let mut bench = Bench::new();
    let rest = |more: &str| format!("keys = [\"/k\"]\nreload_group = \"web\"\n{more}");
    bench.resource("a", "{{getv \"/k\"}}", &rest("reload_cmd = \"cat @/a @/b >> @/reloads; echo >> @/reloads\""));
    bench.resource("b", "{{getv \"/k\"}}", &rest("check_cmd = \"sleep 0.1\""));
    bench.store.put("/k", "1");
    bench.start();
    bench.until("reloads", "11\n").await;
    bench.store.put("/k", "2");
    bench.until("reloads", "11\n22\n").await;
    bench.until_tidy().await;
    std::mem::take(&mut bench.jobs).stop(PATIENCE).await;
    bench.resource("c", "", &rest("reload_cmd = \"another\""));
    let loaded = load(&bench.path("confd"), "").unwrap();
    assert_eq!((loaded.targets.len(), loaded.broken.len()), (0, 3));
    assert!(loaded.broken[0].reason.contains("say differently how `web` is reloaded"), "{}", loaded.broken[0].reason);
}

#[tokio::test]
async fn reloads_that_come_too_early_are_put_off_and_changes_gather() {
    let mut bench = Bench::new();
    let often = "keys = [\"/k\"]\nreload_cmd = \"cat @/x >> @/reloads\"\nmin_reload_interval = \"700ms\"";
    bench.resource("x", "{{getv \"/k\"}}", often);
    bench.resource(
        "slow",
        "{{getv \"/k\"}}",
        "keys = [\"/k\"]\ndebounce = \"300ms\"\nreload_cmd = \"cat @/slow >> @/slows\"",
    );
    bench.store.put("/k", "1");
    bench.start();
    bench.until("reloads", "1").await;
    bench.until("slows", "1").await;
    for value in ["2", "3", "4"] {
        bench.store.put("/k", value);
        bench.until("x", value).await;
    }
    // The file is new at once, its reload comes later and once; the other one is rendered once.
    bench.until("reloads", "14").await;
    bench.until("slows", "14").await;
    bench.until_tidy().await;
    bench.jobs.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_changes_in_the_confdir_counts_at_once() {
    let mut bench = Bench::new();
    bench.resource("bad", "{{getv \"/k\"}}{{.nonsense.field}}", "keys = [\"/k\"]");
    fs::write(bench.path("confd/conf.d/broken.toml"), "[template]\nsrc = 1\n").unwrap();
    bench.store.put("/k", "1");
    bench.start();
    bench.resource("later", "{{getv \"/k\"}}", "keys = [\"/k\"]");
    bench.until("later", "1").await;
    // A template that is mended, and a resource file that is mended.
    fs::write(bench.path("confd/templates/bad.tmpl"), "good {{getv \"/k\"}}").unwrap();
    bench.until("bad", "good 1").await;
    bench.resource("broken", "mended", "");
    bench.until("broken", "mended").await;
    bench.store.put("/k", "2");
    bench.until("later", "2").await;
    bench.jobs.stop(PATIENCE).await;
}
