//! Owns the texts below the help: examples and the table of exit codes.
//!
//! Never holds grammar. **Law**: no line is wider than 80 columns.

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    done; everything asked for is complete and verified
  1    several failures of different kinds
  2    the call was wrong or refused: usage, read-only, no weights for MLX
  3    incomplete, or something was found wrong
  4    another program is at work on the same model
  5    the network, a server or a proxy failed
  6    the Hub says no: token, access, repo, revision or file
  7    the disk: full, not writable, or a name it cannot hold
  8    fetched bytes do not match what the Hub promised
  70   a bug in larder
  129  hung up; 130, 131 interrupted; 143 terminated: what is here is resumed";

pub(super) const ROOT_EXAMPLES: &str = "\
Examples:
  larder                                       the dashboard
  larder mlx-community/gemma-2-2b-it-4bit      the dashboard on that model
  larder pull mlx-community/gemma-2-2b-it-4bit
  larder pull https://huggingface.co/mlx-community/Qwen3-4B-4bit/tree/main
  larder ls --filter 'size>1GB' --sort size
  larder status                                everything on one screen
  larder doctor                                what is wrong, why, what heals it
  larder demo                                  offline, in a throw-away cache";

pub(super) const STREAMS: &str = "\
Standard output is data, standard error is talk. These variables are obeyed:
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE,
LARDER_ASCII, LARDER_READ_ONLY, LARDER_THEME, the proxy variables and NO_COLOR.";

pub(super) const PULL_EXAMPLES: &str = "\
Examples:
  larder pull mlx-community/gemma-2-2b-it-4bit     what MLX reads
  larder pull ORG/NAME@v1.0                        at a tag
  larder pull ORG/NAME config.json tokenizer.json  two files
  larder pull ORG/NAME --include '*.gguf'          by pattern; * crosses /
  larder pull ORG/NAME --local-dir DIR             into a folder, not the cache
  larder pull ORG/NAME --dry-run                   what it would do
  cd \"$(larder pull ORG/NAME)\"                     stdout gets the path only";

/// Examples of `ready`.
pub(super) const READY_EXAMPLES: &str = "\
Examples:
  larder ready mlx-community/gemma-2-2b-it-4bit
  larder ready ORG/NAME --verified     only if all of it was hashed
  larder ready ORG/NAME || larder pull ORG/NAME

Exits with 0 and prints the path if the model is complete, with 3 if it is not,
with 4 while somebody is fetching it. Looks only: no network, no hashing.";

/// Examples of `wait`.
pub(super) const WAIT_EXAMPLES: &str = "\
Examples:
  larder wait mlx-community/gemma-2-2b-it-4bit
  larder wait ORG/NAME --timeout 10m

Waits for larder, huggingface_hub, hf-hub, swift-transformers and scripts that
leave a download marker; ends when they make no progress for five minutes.";

/// Examples of `history`.
pub(super) const HISTORY_EXAMPLES: &str = "\
Examples:
  larder history
  larder history mlx-community/gemma-2-2b-it-4bit --limit 5
  larder history --json

It is remembered in larder's state folder (`larder config show`); removing the
ledger there loses nothing but this memory and some time.";

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  larder ls
  larder ls mlx-community/gemma-2-2b-it-4bit
  larder ls --filter 'size>1GB' --filter 'accessed>30d' --sort size
  larder ls --filter refs=main --json

Filters are KEY OP VALUE, and all must hold:
  size                with = != > < >= <=, e.g. 500M, 1.5GB
  accessed, modified  likewise, e.g. 30s 5m 2h 7d 2w 6mo 1y;
                      accessed>30d is longer ago than 30 days
  type                with = only: model, dataset, space
  refs                with = only: the name of a ref
  state               with = or !=: complete, partial, broken, absent,
                      unreferenced
  verified            an age, as accessed; or yes, no
  cache               with = or !=: hub, local-dir, hub-api, lm-studio,
                      mlx-cache, swama, folder";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  larder status
  larder status mlx-community/gemma-2-2b-it-4bit
  larder status --check --quiet    exit 3 if something is broken
  larder status --json | jq '.findings[].rule'";

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  larder verify                    everything in the cache
  larder verify ORG/NAME           every snapshot of one repo
  larder verify ORG/NAME@main      the snapshot that a ref names
  larder verify --json | jq '.models[] | select(.is_good | not) | .repo'

Nothing is changed and no network is used. Every file is hashed and compared
with what the Hub promised; `larder pull` puts right what is found.";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  larder doctor                    everything in the cache
  larder doctor ORG/NAME           one repo; ORG/NAME@main one snapshot
  larder doctor --severity error   only what makes a reader fail
  larder doctor --rule orphan-blob --rule abandoned-partial
  larder doctor --json | jq -r '.findings[].rule' | sort | uniq -c

Nothing is changed and no network is used. Each finding has its evidence, the
likely cause and the plan that would heal it. Exits with 3 if a reader would
get wrong or missing bytes. With --rule only what those rules find counts;
--severity hides and does not change the exit code.";

pub(super) const LOCKS_EXAMPLES: &str = "\
Examples:
  larder locks                     all but the free ones, which are counted
  larder locks ORG/NAME            every lock of one repo
  larder locks -v                  every lock of every repo
  larder locks --json | jq '.locks[] | select(.state == \"held\") | .pid'

A lock file that nobody holds is normal: tools leave it behind. Nothing is
locked, changed or removed.";

pub(super) const PURGE_EXAMPLES: &str = "\
Examples:
  larder purge ORG/NAME                  a whole model: shown, then asked
  larder purge ORG/NAME@v1 --yes         one revision, and what only it needs
  larder purge --incomplete --dry-run    what would go, and how many bytes
  larder purge --older-than 30d          models that were not used for 30 days
  larder purge --unreferenced --older-than 30d
  larder purge --corrupt                 wrong bytes, and the pointers to them

Every path is shown before anything is taken away. What somebody is writing,
or what has changed since, stays. Models go into the trash, beside the cache
and on its volume: nothing is free yet, and `larder trash restore` puts them
back, except wrong bytes. `--now` frees at once; unfinished blobs always are.
Without a terminal `--yes` is required.";

pub(super) const TRASH_EXAMPLES: &str = "\
Examples:
  larder trash                       what purges took away, and where it lies
  larder trash restore last          puts the newest back
  larder trash restore 6a1f3b20
  larder trash empty --older-than 2d

What is put back never replaces anything: what was pulled again meanwhile stays,
and only what is missing comes back. After `trash_days` (7), or when it fills
more than `trash_percent` (10) of the disk, the oldest is freed by itself.";

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  larder import ~/Downloads/*.safetensors --repo ORG/NAME
  larder import /Volumes/USB/models--ORG--NAME     the folder names the repo
  larder import ~/models/ORG/NAME --dry-run        what each file is
  larder import larder-models--ORG--NAME --repo ORG/NAME    what a guide fetched

Files are recognised by length and hash, whatever they are called, and copied
(or cloned, where the disk can); nothing of yours is changed or removed. Exits
with 3 if something of the model is still missing; `larder pull` fetches it.";

pub(super) const GUIDE_EXAMPLES: &str = "\
Examples:
  larder guide ORG/NAME                   numbered steps for browser and curl
  larder guide ORG/NAME --script > fetch.sh && sh fetch.sh
  larder guide ORG/NAME --json | jq -r '.files[].url'

Only what is missing is in it, pinned to the commit. A token is never printed;
where one is needed, it says so.";

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  larder report                      shows it, then asks whether to write it
  larder report --output report.txt
  larder report --yes                larder-report-DATE-TIME.txt, here

Tokens, your home folder, user and host name, and the secret parts of addresses
are struck out. Read it before you post it. No file is ever overwritten.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for text in [
            EXIT_CODES,
            ROOT_EXAMPLES,
            STREAMS,
            PULL_EXAMPLES,
            LS_EXAMPLES,
            STATUS_EXAMPLES,
            VERIFY_EXAMPLES,
            DOCTOR_EXAMPLES,
            LOCKS_EXAMPLES,
            PURGE_EXAMPLES,
            REPORT_EXAMPLES,
            IMPORT_EXAMPLES,
            GUIDE_EXAMPLES,
            HISTORY_EXAMPLES,
        ] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
