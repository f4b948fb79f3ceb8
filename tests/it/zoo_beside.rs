//! Every state of the places beside the Hub cache: what larder finds there, alone, all together with
//! everything that can be in the cache, and in mixtures; and that looking changes nothing.

use std::collections::BTreeSet;

use crate::support::zoo::{Member, Zoo, beside, get_along, members};
use crate::zoo::{alone, together};

/// Members that are put together at random, how many at a time, and how often.
const AT_RANDOM: (usize, u64) = (7, 6);

macro_rules! animals {
    ($($name:ident),* $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

animals! {
    hub_api,
    hub_api_in_downloads,
    hub_api_file_without_metadata,
    hub_api_without_any_metadata,
    hub_api_torn_metadata,
    hub_api_partial,
    hub_api_link_to_nothing,
    hub_api_lfs_pointer,
    hub_api_error_page,
    hub_api_evicted,
    hub_api_wrong_hash,
    hub_api_in_a_purgeable_folder,
    local_dir,
    local_dir_of_another_revision,
    local_dir_modified,
    local_dir_missing_file,
    local_dir_truncated,
    local_dir_wrong_size,
    local_dir_partial,
    local_dir_wrong_hash,
    container_hub,
    container_hub_dangling_pointer,
    container_hub_api_without_metadata,
    lm_studio,
    lm_studio_truncated,
    mlx_cache,
    swama,
    swama_without_tokenizer,
    named_folder,
    named_folder_empty_file,
    named_folder_on_an_absent_volume,
    duplicate_across_stores,
}

fn check(name: &str) {
    let found = beside().into_iter().find(|member| member.name == name);
    let member = found.unwrap_or_else(|| panic!("no member {name}"));
    let mut zoo = Zoo::of_a_user();
    zoo.add(&member);
    alone(&zoo, member);
}

#[test]
fn every_member_has_a_test() {
    let names: BTreeSet<&str> = beside().iter().map(|member| member.name).collect();
    assert_eq!(names.len(), beside().len(), "two have one name");
    assert_eq!(names, TESTED.iter().copied().collect());
    let others = members();
    assert!(others.iter().all(|other| !names.contains(other.name)));
}

/// Everybody who gets along with a whole zoo: what excludes others lives alone, and what hashing turns
/// into a warning is judged alone, too.
fn sociable() -> Vec<Member> {
    let all = members().into_iter().chain(beside());
    all.filter(|member| member.house.is_none() && member.name != "would_not_load")
        .collect()
}

#[test]
fn all_of_them_together_with_all_in_the_cache() {
    let mut zoo = Zoo::of_a_user();
    let all = sociable();
    for member in &all {
        zoo.add(member);
    }
    together(&zoo, &all, "all");
}

#[test]
fn some_of_them_together() {
    let (count, seeds) = AT_RANDOM;
    for seed in 0..seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut chosen: Vec<Member> = Vec::new();
        let (all, apart) = (sociable(), beside());
        while chosen.len() < count {
            // Most of them are of the places that this is about.
            let from = if chosen.len() < 4 { &apart } else { &all };
            let one = from[dice.usize(..from.len())];
            if chosen.iter().all(|other| get_along(&one, other)) {
                chosen.push(one);
            }
        }
        let mut zoo = Zoo::of_a_user();
        for member in &chosen {
            zoo.add(member);
        }
        let names: Vec<_> = chosen.iter().map(|member| member.name).collect();
        together(&zoo, &chosen, &format!("seed {seed}: {names:?}"));
    }
}
