//! Owns the comparison with other downloaders: each in turn on the same repo from the same server,
//! each time into an empty folder, wall time, CPU and peak memory, and the ratios of paired rounds.
//!
//! ```text
//! cargo bench --bench peers -- --larder target/release/larder --endpoint http://127.0.0.1:8080 \
//!     --repo ORG/NAME --tools larder,hf,aria2,curlZ,ceiling --rounds 7 --scratch /tmp/peers
//! ```
//!
//! Without `--repo` it compares nothing: it runs itself once against a small Hub of its own, so that
//! CI knows that it works. Never judges a time.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures real time, prints its result and has none if it cannot be set up"
)]

mod arguments;
mod figures;
mod tools;

use std::fs;
use std::path::Path;
use std::process::Command;

use arguments::Arguments;
use figures::{Run, table};
use tools::{Tool, files_of};

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&given) {
        Ok(arguments) => arguments,
        Err(why) => {
            println!("{why}\n\n{}", arguments::HELP);
            std::process::exit(2);
        }
    };
    figures::check();
    match &arguments.repo {
        Some(repo) => compare(&arguments, repo),
        None => check_itself(),
    }
}

/// Runs the tools in turn and prints the table.
fn compare(arguments: &Arguments, repo: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = runtime.block_on(files_of(&arguments.endpoint, repo));
    let wanted: u64 = files.iter().map(|file| file.bytes).sum();
    fs::create_dir_all(&arguments.scratch).unwrap();
    let tools: Vec<Tool> = arguments
        .tools
        .iter()
        .map(|name| Tool::new(name, arguments, repo, &files))
        .collect();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut runs: Vec<Vec<Run>> = tools.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for turn in 0..tools.len() {
            // Another one begins each round.
            let at = (turn + round) % tools.len();
            let folder = arguments
                .scratch
                .join(format!("{round}-{}", tools[at].name()));
            fs::create_dir_all(&folder).unwrap();
            drop(Command::new("sync").status());
            let run = tools[at].run(&folder);
            let there = tools[at].bytes_in(&folder);
            let is_whole = run.is_ok && there.is_none_or(|bytes| bytes >= wanted);
            println!(
                "round {round} {}: {:.2} s wall, {:.2} s CPU, {:.0} MiB{}",
                tools[at].name(),
                run.wall_s,
                run.cpu_s,
                run.peak_mib,
                if is_whole { "" } else { "  FAILED" }
            );
            runs[at].push(Run {
                is_ok: is_whole,
                ..run
            });
        }
    }
    // Not between the runs: some file systems are slow for a while after many files were removed.
    for round in 0..arguments.rounds {
        for tool in &tools {
            let folder = arguments.scratch.join(format!("{round}-{}", tool.name()));
            fs::remove_dir_all(folder).unwrap();
        }
    }
    println!("\n{repo}: {} files, {wanted} bytes", files.len());
    println!("{}", conditions(arguments, &load));
    let names: Vec<&str> = tools.iter().map(Tool::name).collect();
    println!("\n{}", table(&names, &runs));
}

fn conditions(arguments: &Arguments, load: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} rounds, order rotated; {cores} cores; load before {}; kernel {}; {}",
        arguments.rounds,
        load.split(' ').next().unwrap_or_default(),
        kernel.trim(),
        arguments.endpoint,
    )
}

/// One round of what is installed here against a Hub in this process, with the binary beside us.
fn check_itself() {
    use larder::domain::{RepoId, RepoKind};
    use larder::serve::{Catalogue, Content, Serving, SourceFile};

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&RepoId::new(RepoKind::Model, "bench/small").unwrap());
    let weights = Content::Generated {
        seed: 1,
        len: 20_000_000,
    };
    let mut files = vec![SourceFile::lfs("model.safetensors", weights)];
    for number in 0..20 {
        files.push(SourceFile::git(
            &format!("{number}.json"),
            format!("{{\"n\": {number}}}"),
        ));
    }
    let commit = repo.commit(files);
    repo.branch("main", commit);
    let hub = runtime
        .block_on(Serving::start(catalogue, Vec::new()))
        .unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut tools = vec!["larder".to_owned()];
    if is_installed("curl") {
        tools.extend(["curlZ".to_owned(), "ceiling".to_owned()]);
    }
    let arguments = Arguments {
        larder: env!("CARGO_BIN_EXE_larder").into(),
        endpoint: hub.endpoint(),
        repo: Some("bench/small".to_owned()),
        rounds: 1,
        tools,
        scratch: scratch.path().join("runs"),
        ..Arguments::default()
    };
    compare(&arguments, "bench/small");
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
