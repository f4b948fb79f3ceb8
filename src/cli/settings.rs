//! Owns `config path` and `config show`.
//!
//! Never reads settings: `config` did, and hands them over with their origins.

use std::path::Path;

use super::document::{self, Closing};
use super::exit::Ending;
use super::follow::Console;
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::Setting;

/// Prints where the config file is or would be; the exit code.
pub fn config_path(config_file: &Path, output: Output, started_ms: u64) -> u8 {
    print(config_file, None, started_ms, Console::new(output))
}

/// Prints every setting, its value and where that came from; the exit code.
pub fn config_show(
    config_file: &Path,
    settings: &[Setting],
    output: Output,
    started_ms: u64,
) -> u8 {
    print(
        config_file,
        Some(settings),
        started_ms,
        Console::new(output),
    )
}

fn print(
    config_file: &Path,
    settings: Option<&[Setting]>,
    started_ms: u64,
    mut console: Console<'_>,
) -> u8 {
    match (console.output.format, settings) {
        (Format::Human, None) => console.printer.line(&config_file.display().to_string()),
        (Format::Human, Some(settings)) => {
            let mut table = Table::new()
                .column("SETTING")
                .flexible("VALUE", 16)
                .flexible("FROM", 12);
            for setting in settings {
                table.row(&[
                    setting.name.to_owned(),
                    setting.value.clone(),
                    setting.origin.clone(),
                ]);
            }
            let text = table.render(console.output.stdout.columns);
            console.printer.text(&text);
        }
        (Format::Json | Format::Events, settings) => {
            let ending = Ending::done("listed");
            let closing = Closing {
                ending: &ending,
                subject: Subject::default(),
                at_ms: started_ms,
                log_file: None,
            };
            let is_line = console.output.format == Format::Events;
            let document = document::config(Some(config_file), settings, &closing, is_line);
            console.printer.line(&document);
        }
    }
    console.close(0)
}

#[cfg(test)]
mod tests {
    use super::super::schema::CONFIG_SCHEMA;
    use super::super::stage;
    use super::*;
    use crate::store::script::START_MS;

    fn printed(settings: Option<&[Setting]>, output: Output) -> String {
        let mut stdout = Vec::new();
        let console = stage::console(output, &mut stdout, std::io::sink());
        let path = Path::new("/home/me/.config/larder/config.toml");
        assert_eq!(print(path, settings, START_MS, console), 0);
        String::from_utf8(stdout).unwrap()
    }

    #[test]
    fn settings_are_shown_with_their_origin() {
        let settings = [
            Setting {
                name: "endpoint",
                value: "https://huggingface.co".to_owned(),
                origin: "default".to_owned(),
            },
            Setting {
                name: "token",
                value: "***".to_owned(),
                origin: "HF_TOKEN".to_owned(),
            },
        ];
        insta::assert_snapshot!(printed(Some(&settings), stage::human()), @r"
        SETTING   VALUE                   FROM
        endpoint  https://huggingface.co  default
        token     ***                     HF_TOKEN
        ");
        for settings in [None, Some(settings.as_slice())] {
            let document = serde_json::from_str(&printed(settings, stage::json())).unwrap();
            stage::check(&document, CONFIG_SCHEMA);
        }
        let path = printed(None, stage::human());
        assert_eq!(path, "/home/me/.config/larder/config.toml\n");
    }
}
