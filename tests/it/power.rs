//! A power cut at any step of a pull, and right after one that said it was complete: what was not
//! made durable is taken away. A blob under its name is whole all the same, what was promised is
//! there, and what is damaged is found and comes anew.
//!
//! `LARDER_TEST_EVERY_STEP=1` cuts at every step, several times.

use std::sync::Mutex;

use crate::seam::{chosen, is_long, steps_of, try_all};
use crate::support::power;
use crate::support::scene::{Beginning, Kitchen, Table};
use crate::support::seam::{Fault, Log, Step, tell};

/// Cuts in the short run.
const SOME: usize = 50;
/// Cuts at each step in the long run.
const CUTS: u64 = 4;

#[derive(Clone, Debug)]
struct Cut {
    beginning: Beginning,
    /// `None`: after the end.
    step: Option<Step>,
    seed: u64,
}

/// What was lost in all cuts together: a model of loss that loses nothing would prove nothing.
#[derive(Default)]
struct Losses {
    names: usize,
    files: usize,
}

impl Cut {
    /// Pulls, dies, and loses what a power cut takes. Says whether the step was reached.
    fn happen(&self, table: &Table, losses: &Mutex<Losses>) -> bool {
        let kept = table.path().join("kept");
        let mut seam = table.seam(&table.cache()).keeping(&kept);
        if let Some(step) = &self.step {
            seam = seam.with(step, Fault::KillAfter);
        }
        let ran = table.pull_model(Some(&seam));
        let log: Log = seam.log();
        let is_reached = log.has_happened();
        assert_eq!(ran.code.is_none(), is_reached, "{self:?}: {ran:#?}");
        let mut random = fastrand::Rng::with_seed(self.seed);
        let lost = power::cut(&table.cache(), &log, &kept, &mut random);
        let mut losses = losses.lock().unwrap();
        losses.names += lost.names;
        losses.files += lost.files;
        is_reached || self.step.is_none()
    }
}

#[test]
fn after_a_power_cut_at_any_step_nothing_is_shown_that_is_not_proven_and_the_next_run_completes() {
    let mut kitchen = Kitchen::new();
    let mut random = fastrand::Rng::with_seed(7);
    let steps = steps_of(&mut kitchen, |call, outcome| {
        call != "open" && outcome == "ok"
    });
    let mut chosen = chosen(&steps, &mut random);
    let times = if is_long() {
        CUTS
    } else {
        random.shuffle(&mut chosen);
        chosen.truncate(SOME);
        1
    };
    let mut cuts = Vec::new();
    for (beginning, step) in chosen {
        cuts.extend((0..times).map(|_| Cut {
            beginning,
            step: Some(step.clone()),
            seed: random.u64(..),
        }));
    }
    drop(kitchen);
    let losses = Mutex::new(Losses::default());
    try_all(&cuts, |kitchen, cut| {
        let what = format!("{cut:?}");
        let table = kitchen.table(cut.beginning);
        let before = table.look();
        let is_reached = cut.happen(&table, &losses);
        // Also before anything puts it right: other programs read it as it is.
        table.assert_no_worse_than(&before, &what);
        table.pull_model(None).expect_complete();
        table.assert_whole(&what);
        is_reached
    });
    let Losses { names, files } = losses.into_inner().unwrap();
    tell(&format!(
        "{names} steps on names undone, {files} files spoilt"
    ));
    // Which steps are cut is chosen anew with every new step of a pull; of some nothing is spoilt.
    assert!(names > cuts.len() && files > cuts.len() / 10);
}

#[test]
fn what_a_pull_that_ended_well_has_brought_outlives_a_power_cut() {
    let mut random = fastrand::Rng::with_seed(8);
    let times = if is_long() { 60 } else { 5 };
    let cuts: Vec<Cut> = Beginning::ALL
        .iter()
        .flat_map(|&beginning| std::iter::repeat_n(beginning, times))
        .map(|beginning| Cut {
            beginning,
            step: None,
            seed: random.u64(..),
        })
        .collect();
    let losses = Mutex::new(Losses::default());
    try_all(&cuts, |kitchen, cut| {
        let what = format!("{cut:?}");
        let table = kitchen.table(cut.beginning);
        let is_reached = cut.happen(&table, &losses);
        table.assert_shows_all(&what);
        kitchen.sent_bytes();
        table.pull_model(None).expect_complete();
        assert_eq!(kitchen.sent_bytes(), 0, "{what}: fetched again");
        table.assert_whole(&what);
        is_reached
    });
}
