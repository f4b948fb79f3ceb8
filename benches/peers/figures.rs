//! Owns the arithmetic: medians, ranges, ratios of paired rounds, the table.

use std::fmt::Write as _;

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
    /// Whether it ended well and everything is there.
    pub(crate) is_ok: bool,
}

/// Lowest, median, highest.
fn spread(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() {
        0 => return None,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    Some((values[0], median, values[values.len() - 1]))
}

fn words(values: Vec<f64>) -> String {
    spread(values).map_or_else(
        || "failed".to_owned(),
        |(low, median, high)| format!("**{median:.2}** ({low:.2}–{high:.2})"),
    )
}

/// One row a tool; the ratios are the first tool's to this one's, round by round.
pub(crate) fn table(names: &[&str], runs: &[Vec<Run>]) -> String {
    let mut text = String::from(
        "| tool | wall s | CPU s | peak MiB | wall ratio | CPU ratio |\n|---|---|---|---|---|---|\n",
    );
    for (name, of_tool) in names.iter().zip(runs) {
        let all = |figure: fn(&Run) -> f64| -> Vec<f64> {
            of_tool.iter().filter(|run| run.is_ok).map(figure).collect()
        };
        let ratios = |figure: fn(&Run) -> f64| -> Vec<f64> {
            runs[0]
                .iter()
                .zip(of_tool)
                .filter(|(first, this)| first.is_ok && this.is_ok && figure(this) > 0.0)
                .map(|(first, this)| figure(first) / figure(this))
                .collect()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            words(all(|run| run.wall_s)),
            words(all(|run| run.cpu_s)),
            words(all(|run| run.peak_mib)),
            words(ratios(|run| run.wall_s)),
            words(ratios(|run| run.cpu_s)),
        );
    }
    text
}

/// Benches without a harness have no unit tests: this runs each time, before anything is measured.
pub(crate) fn check() {
    assert_eq!(spread(Vec::new()), None);
    assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
    assert_eq!(spread(vec![4.0, 1.0]), Some((1.0, 2.5, 4.0)));
    let run = |wall_s, is_ok| Run {
        wall_s,
        is_ok,
        ..Run::default()
    };
    let runs = [
        vec![run(1.0, true), run(3.0, true), run(9.0, false)],
        vec![run(2.0, true), run(4.0, true), run(1.0, true)],
    ];
    let text = table(&["a", "b"], &runs);
    assert!(text.contains("| b | **2.00** (1.00–4.00)"), "{text}");
    assert!(text.contains("**0.62** (0.50–0.75)"), "{text}");
}
