//! The table of commands: a line each.
//!
//! ```text
//! # a comment
//! $ put k v              run it and compare
//! d$ get k --nonsense    Debian's client only: ours says it otherwise
//! s$ member list         the order of the lines does not count
//! ?$ get copy            run it until it prints something
//! < a line               a line of standard input for the command above
//! & NAME watch k         start it in the background (d& as above)
//! . NAME 3               wait until it has printed so many lines, interrupt it, compare
//! ! NAME                 wait until it ends by itself, compare
//! $ ETCDCTL_X=v get k    with a variable
//! ^ /v3/path {"a":"b"}   ask the gateway for what etcdctl cannot ask for; nothing is compared
//! ```
//!
//! `%NAME%` stands for what differs from cluster to cluster: see `Track::filled`.

/// One line, with its input.
pub struct Step {
    pub line: usize,
    pub text: String,
    pub kind: Kind,
    pub debian_only: bool,
    pub sorted: bool,
    pub words: Vec<String>,
    /// How many of the words are variables.
    pub variables: usize,
    pub input: String,
}

impl Step {
    fn bare(line: usize, text: &str) -> Self {
        Self {
            line,
            text: text.to_owned(),
            kind: Kind::Run,
            debian_only: false,
            sorted: false,
            words: Vec::new(),
            variables: 0,
            input: String::new(),
        }
    }
}

pub enum Kind {
    Run,
    Until,
    Start(String),
    Interrupt(String, usize),
    Ended(String),
    Post { path: String, body: String },
}

/// Takes the table apart. It is ours: a mistake in it ends the test.
pub fn read(file: &str, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        if let Some(input) = line.strip_prefix('<') {
            let step = steps.last_mut().unwrap_or_else(|| panic!("{file}:{line_number}: input of nothing"));
            step.input.push_str(input.strip_prefix(' ').unwrap_or(input));
            step.input.push('\n');
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let ("^", Some((path, body))) = (sign, rest.split_once(' ')) {
            let kind = Kind::Post { path: path.to_owned(), body: body.to_owned() };
            steps.push(Step { kind, ..Step::bare(line_number, rest) });
            continue;
        }
        let mut words = shlex::split(rest).unwrap_or_else(|| panic!("{file}:{line_number}: quotes"));
        let kind = match sign.trim_start_matches(['d', 's']) {
            "$" => Kind::Run,
            "?$" => Kind::Until,
            "&" => Kind::Start(words.remove(0)),
            "." => Kind::Interrupt(words[0].clone(), words[1].parse().unwrap()),
            "!" => Kind::Ended(words[0].clone()),
            other => panic!("{file}:{line_number}: no sign `{other}`"),
        };
        let (debian_only, sorted) = (sign.contains('d'), sign.contains('s'));
        let variables = words.iter().take_while(|word| word.starts_with("ETCDCTL_") && word.contains('=')).count();
        steps.push(Step { kind, debian_only, sorted, variables, words, ..Step::bare(line_number, rest) });
    }
    steps
}
