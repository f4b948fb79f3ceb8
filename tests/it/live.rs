//! Who is at work beside the main cache: locks of every cache, downloads that are open, files that
//! are being written; and models that are not MLX's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::{LOCKS_SCHEMA, LS_SCHEMA};
use larder::domain::{
    CacheKind, Command, FileState, LockKind, LockRow, LockState, ModelState, Outcome, PartialRow,
    PartialState, Rule,
};

use crate::cli::validator;
use crate::elsewhere::{Machine, make_old};
use crate::support::catalogue::{self, GEMMA};
use crate::support::program::{Home, Running};

static LOCKS: LazyLock<Validator> = LazyLock::new(|| validator(LOCKS_SCHEMA));
static LS: LazyLock<Validator> = LazyLock::new(|| validator(LS_SCHEMA));

fn locked(path: &Path) -> File {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.try_lock().unwrap();
    file
}

/// A program of no name that larder knows, which has a file open for writing.
fn writer_of(path: &Path) -> Running {
    let file = File::options().append(true).open(path).unwrap();
    let child = Process::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .unwrap();
    // The child has it before it is another program.
    Running(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_locks_of_every_cache_are_listed_and_of_one_where_that_alone_is_meant() {
    let mut machine = Machine::new().await;
    let etag = machine.files["model.safetensors"].1.clone();
    let main = machine.home().join(".cache/huggingface/hub");
    machine.hub(&main, GEMMA);
    let app = machine
        .home()
        .join("Library/Containers/com.example.chat/Data/Library/Caches/huggingface/hub");
    machine.hub(&app, "org/in-app");
    let python = machine.home().join("work/by-python");
    machine.local_dir(&python);
    machine.hub_api("Documents/huggingface/models", "org/swift");
    machine.set("LARDER_FOLDERS", python.to_str().unwrap());
    let in_main = main.join(format!(
        ".locks/models--mlx-community--gemma-2-2b-it-4bit/{etag}.lock"
    ));
    let in_app = app.join(format!(".locks/models--org--in-app/{etag}.lock"));
    let in_folder = python.join(".cache/huggingface/download/model.safetensors.lock");
    let held: Vec<File> = [&in_main, &in_app, &in_folder]
        .into_iter()
        .map(|path| locked(path))
        .collect();

    let seen = machine.ask(Command::Locks(None)).await;
    assert_eq!(seen.outcome, Some(Outcome::Listed));
    let held_now = |locks: &[LockRow]| -> Vec<(CacheKind, PathBuf, PathBuf)> {
        let rows = locks.iter().filter(|row| row.state == LockState::Held);
        rows.map(|row| {
            let place = PathBuf::from(&row.cache_path);
            (row.cache, place, PathBuf::from(&row.path))
        })
        .collect()
    };
    assert_eq!(
        held_now(&seen.locks),
        [
            (CacheKind::Hub, main.clone(), in_main.clone()),
            (CacheKind::Hub, app.clone(), in_app),
            (CacheKind::LocalDir, python.clone(), in_folder),
        ]
    );
    let of_python = seen
        .locks
        .iter()
        .filter(|row| row.kind == LockKind::LocalDir);
    let of_python: Vec<&LockRow> = of_python.collect();
    assert_eq!(
        of_python.len(),
        machine.files.len(),
        "free ones are listed, too"
    );
    let weights = of_python
        .iter()
        .find(|row| row.state == LockState::Held)
        .unwrap();
    assert_eq!(weights.file.as_deref(), Some("model.safetensors"));
    assert_eq!(weights.etag.as_deref(), Some(etag.as_str()));
    if cfg!(target_os = "linux") {
        assert_eq!(weights.pid, Some(std::process::id()), "{weights:?}");
    }

    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    let home = home
        .with("HOME", machine.home().to_str().unwrap())
        .with("LARDER_FOLDERS", python.to_str().unwrap());
    let all = home.run(&["locks", "--json"]).document(&LOCKS);
    assert_eq!(all["held"], 3, "{all:#}");
    let alone = home.run(&["locks", "--cache-dir", main.to_str().unwrap(), "--json"]);
    let alone = alone.document(&LOCKS);
    assert_eq!(alone["held"], 1, "{alone:#}");
    assert_eq!(alone["locks"][0]["cache_path"], main.to_str().unwrap());
    let one = home.run(&["locks", "by-python"]);
    one.assert_code(0).assert_harmless();
    assert!(one.stdout.contains("model.safetensors"), "{}", one.stdout);
    assert!(one.stdout.contains("1 held"), "{}", one.stdout);
    home.run(&["locks", "org/swift"]).assert_code(0);
    home.run(&["locks", "no/body"]).assert_code(3);
    drop(held);
    let free = home.run(&["locks", "--json"]).document(&LOCKS);
    assert_eq!(free["held"], 0, "{free:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_an_app_lives_while_the_app_has_it_open_and_no_longer() {
    let machine = Machine::new().await;
    let folder = machine.hub_api("Documents/huggingface/models", "org/swift");
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let etag = &machine.files["model.safetensors"].1;
    let notes = folder.join(".cache/huggingface/download");
    let partial = notes.join(format!("model.safetensors.{etag}.incomplete"));
    fs::write(&partial, "0123").unwrap();
    // It says nothing for two hours, and it is open.
    make_old(&partial);
    let app = writer_of(&partial);
    let seen = machine.survey().await;
    let [
        PartialRow {
            state:
                PartialState::Live {
                    is_ours: false,
                    pid,
                    program,
                },
            ..
        },
    ] = &seen.partials[..]
    else {
        panic!("{:?}", seen.partials);
    };
    assert_eq!(*pid, Some(app.0.id()));
    assert_eq!(program.as_deref(), Some("sleep"));
    assert!(seen.of(Rule::AbandonedPartial).is_empty());
    assert!(seen.of(Rule::MissingFiles).is_empty(), "it is on its way");

    drop(app);
    let seen = machine.survey().await;
    assert_eq!(seen.partials[0].state, PartialState::Abandoned);
    assert_eq!(seen.of(Rule::AbandonedPartial).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_written_is_not_called_broken_until_it_holds_still() {
    let mut machine = Machine::new().await;
    let python = machine.home().join("work/by-python");
    machine.local_dir(&python);
    let plain = machine.home().join("collection");
    machine.write(&plain.join("org/plain"));
    machine.set(
        "LARDER_FOLDERS",
        &format!("{}:{}", python.display(), plain.display()),
    );
    // The one by its length, the other by its header.
    let places = [
        python.join("model.safetensors"),
        plain.join("org/plain/model.safetensors"),
    ];
    let half = &machine.files["model.safetensors"].0[..1_000];
    for path in &places {
        fs::write(path, half).unwrap();
    }
    // An hour of silence is no end while somebody has it open.
    for path in &places {
        make_old(path);
    }
    let writers: Vec<Running> = places.iter().map(|path| writer_of(path)).collect();
    let seen = machine.survey().await;
    for repo in ["by-python", "org/plain"] {
        let model = seen.model(repo);
        assert_eq!(model.state, ModelState::Partial, "{model:?}");
        let problem = model.problems.join("; ");
        let says = "`model.safetensors` is being written: sleep (process ";
        assert!(problem.contains(says), "{model:?}");
    }
    assert!(seen.above_note().is_empty(), "{:?}", seen.above_note());

    // Nobody has it open: what is wrong stays so, also a moment after it was written.
    drop(writers);
    for path in &places {
        fs::write(path, half).unwrap();
    }
    let seen = machine.survey().await;
    for repo in ["by-python", "org/plain"] {
        assert_eq!(seen.model(repo).state, ModelState::Broken);
    }
    assert_eq!(seen.of(Rule::Truncated).len(), 1, "{:?}", seen.findings);
    assert_eq!(seen.of(Rule::WouldNotLoad).len(), 1, "{:?}", seen.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_llama_cpp_are_listed_as_what_they_are() {
    let machine = Machine::new().await;
    let models = machine.home().join(".lmstudio/models");
    let one = models.join("lmstudio-community/gemma-GGUF");
    let split = models.join("org/large-GGUF");
    for folder in [&one, &split] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(one.join("gemma-Q4_K_M.gguf"), "GGUF and more").unwrap();
    fs::write(one.join("mmproj-f16.gguf"), "GGUF").unwrap();
    fs::write(split.join("large-00001-of-00002.gguf"), "GGUF").unwrap();
    fs::write(split.join("config.json"), "{}").unwrap();
    let seen = machine.survey().await;
    let whole = seen.model("lmstudio-community/gemma-GGUF");
    assert_eq!(
        (whole.state, whole.cache),
        (ModelState::Complete, CacheKind::LmStudio)
    );
    assert_eq!((whole.files_present, whole.size_bytes), (2, 17));
    assert!(whole.problems[0].starts_with("not for MLX"), "{whole:?}");
    let half = seen.model("org/large-GGUF");
    assert_eq!(half.state, ModelState::Partial, "{half:?}");
    assert!(half.problems[0].contains("large-00002-of-00002.gguf"));
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);

    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    let home = home.with("HOME", machine.home().to_str().unwrap());
    let listed = home.run(&["ls", "lmstudio-community/gemma-GGUF", "--json"]);
    listed.assert_code(0);
    let document = listed.document(&LS);
    let files = document["models"][0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(files[0]["state"], serde_json::json!(FileState::Regular));
}
