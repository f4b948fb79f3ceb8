//! A repair that dies at any step: nothing good is lost, a reader finds nothing that it did not find
//! before, and the next repair finishes.

use std::collections::BTreeSet;
use std::sync::Mutex;

use larder::serve::Serving;

use crate::damaged::{Sight, errors_left};
use crate::support::program::finish;
use crate::support::seam::{Fault, Seam, Step, tell};
use crate::support::zoo::{Recipe, Ruin};
use crate::trash::python_warnings;
use crate::zoo_healed::{command, larder};

/// So many moments, in caches of these seeds.
const MOMENTS: usize = 60;
const SEEDS: [u64; 6] = [101, 102, 103, 104, 105, 106];
/// Much is wrong in each of them, so that a repair has many kinds of steps.
const DAMAGES: std::ops::RangeInclusive<usize> = 10..=14;
/// Repairs that run at once.
const AT_ONCE: usize = 2;
const FIX: [&str; 4] = ["doctor", "--verify", "--fix", "--yes"];

/// Where a repair dies.
#[derive(Clone, Debug)]
struct Moment {
    recipe: Recipe,
    step: Step,
    fault: Fault,
}

fn seam(ruin: &Ruin) -> Seam {
    Seam::at(ruin.zoo.root(), &ruin.zoo.home().join("seam.log"))
}

/// Every step of a repair that changes something, in order.
fn steps(recipe: &Recipe, hub_of: &dyn Fn(&Ruin) -> Serving) -> Vec<Step> {
    let ruin = recipe.make();
    let hub = hub_of(&ruin);
    ruin.zoo.settle();
    let seam = seam(&ruin);
    let mut command = command(&ruin.zoo, &hub, &FIX);
    seam.before(&mut command);
    finish(&mut command);
    let steps = seam.log().steps();
    steps
        .into_iter()
        .filter(|step| step.call() != "open")
        .collect()
}

/// Moments that are spread over the whole repair: one in each stretch of it, at random.
fn moments(recipe: &Recipe, steps: &[Step], count: usize, dice: &mut fastrand::Rng) -> Vec<Moment> {
    assert!(steps.len() >= count, "{} steps", steps.len());
    (0..count)
        .map(|at| {
            let stretch = at * steps.len() / count..(at + 1) * steps.len() / count;
            let fault = if dice.bool() {
                Fault::KillBefore
            } else {
                Fault::KillAfter
            };
            Moment {
                recipe: recipe.clone(),
                step: steps[dice.usize(stretch)].clone(),
                fault,
            }
        })
        .collect()
}

/// Whether the moment came, and what was wrong then and after the next repair.
fn die(moment: &Moment, hub_of: &dyn Fn(&Ruin) -> Serving) -> (bool, Vec<String>) {
    let ruin = moment.recipe.make();
    let hub = hub_of(&ruin);
    ruin.zoo.settle();
    let before = Sight::of(&ruin);
    let warnings: BTreeSet<String> = python_warnings(ruin.zoo.root()).into_iter().collect();
    let seam = seam(&ruin).with(&moment.step, moment.fault);
    let mut command = command(&ruin.zoo, &hub, &FIX);
    seam.before(&mut command);
    let ran = finish(&mut command);
    let mut wrong = Vec::new();
    let is_reached = seam.log().has_happened();
    if ran.code.is_none() != is_reached || ran.stderr.contains("panicked") {
        wrong.push(format!("{ran:#?}"));
    }
    wrong.extend(Sight::of(&ruin).worse_than(&before));
    let now = python_warnings(ruin.zoo.root()).into_iter();
    wrong.extend(now.filter(|warning| !warnings.contains(warning)));
    // Some things are left alone while they are new: a day passes.
    ruin.zoo.settle();
    let fixed = larder(&ruin.zoo, &hub, &FIX);
    let after = Sight::of(&ruin);
    wrong.extend(after.worse_than(&before));
    wrong.extend(after.not_right(&ruin, &before));
    wrong.extend(errors_left(&ruin, &hub));
    if !wrong.is_empty() {
        wrong.push(format!("{:#} {:#}", fixed["repair"], fixed["failures"]));
    }
    (is_reached, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_seeded_random_moments_nothing_good_is_lost_and_the_next_repair_finishes() {
    let runtime = tokio::runtime::Handle::current();
    let hub_of = |ruin: &Ruin| {
        let hub = Serving::start(ruin.zoo.catalogue.clone(), Vec::new());
        runtime.block_on(hub).unwrap()
    };
    tokio::task::block_in_place(|| {
        let mut dice = fastrand::Rng::with_seed(9);
        let mut all = Vec::new();
        for seed in SEEDS {
            let recipe = Recipe::new(seed, DAMAGES);
            let steps = steps(&recipe, &hub_of);
            tell(&format!("seed {seed}: {} steps", steps.len()));
            let count = MOMENTS / SEEDS.len();
            all.extend(moments(&recipe, &steps, count, &mut dice));
        }
        let next = Mutex::new(all.iter());
        let came = Mutex::new((0, Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    let _guard = runtime.enter();
                    loop {
                        let Some(moment) = next.lock().unwrap().next() else {
                            return;
                        };
                        let (is_reached, wrong) = die(moment, &hub_of);
                        let mut came = came.lock().unwrap();
                        came.0 += usize::from(is_reached);
                        if !wrong.is_empty() {
                            came.1.push(format!("{moment:?}\n{}", wrong.join("\n")));
                        }
                    }
                });
            }
        });
        let (reached, failed) = came.into_inner().unwrap();
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
        tell(&format!("{reached} of {} kills reached", all.len()));
        // Of writes there are now more, now fewer.
        assert!(
            reached * 10 >= all.len() * 9,
            "only {reached} of {}",
            all.len()
        );
    });
}
