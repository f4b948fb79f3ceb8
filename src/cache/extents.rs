//! Owns which bytes of a file there are, as ranges that neither touch nor overlap. Pure.

use std::ops::Range;

/// A set of bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(Vec<Range<u64>>);

impl Extents {
    /// Every byte before `end`.
    pub fn up_to(end: u64) -> Self {
        let mut extents = Self::default();
        extents.insert(0..end);
        extents
    }

    /// Adds bytes; those that are there already stay.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // The first range that touches the new one, and the first behind it that does not.
        let first = self.0.partition_point(|known| known.end < range.start);
        let behind = self.0.partition_point(|known| known.start <= range.end);
        let merged = self.0[first..behind].iter().fold(range, |all, known| {
            all.start.min(known.start)..all.end.max(known.end)
        });
        self.0.splice(first..behind, [merged]);
    }

    /// Takes bytes away.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end <= range.start);
        let behind = self.0.partition_point(|known| known.start < range.end);
        let mut left = Vec::with_capacity(2);
        for known in &self.0[first..behind] {
            for piece in [known.start..range.start, range.end..known.end] {
                if piece.start >= known.start && piece.end <= known.end && !piece.is_empty() {
                    left.push(piece);
                }
            }
        }
        self.0.splice(first..behind, left);
    }

    /// Whether every byte of `range` is there.
    pub fn contains(&self, range: &Range<u64>) -> bool {
        let at = self.0.partition_point(|known| known.end < range.end);
        range.is_empty()
            || self
                .0
                .get(at)
                .is_some_and(|known| known.start <= range.start && range.end <= known.end)
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// How many bytes there are from the start of the file without a gap.
    pub fn prefix(&self) -> u64 {
        match self.0.first() {
            Some(range) if range.start == 0 => range.end,
            _ => 0,
        }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// What of `range` is not there, in order.
    pub fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        let first = self.0.partition_point(|known| known.end <= range.start);
        for known in &self.0[first..] {
            if known.start >= range.end {
                break;
            }
            if known.start > at {
                gaps.push(at..known.start);
            }
            at = at.max(known.end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of bytes.
        #[test]
        fn it_is_a_set_of_bytes(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..60, 0_u64..20), 0..60)
        ) {
            let mut extents = Extents::default();
            let mut bytes = std::collections::BTreeSet::new();
            for (is_added, start, length) in steps {
                let range = start..start + length;
                if is_added {
                    extents.insert(range.clone());
                    bytes.extend(range);
                } else {
                    extents.remove(range.clone());
                    bytes.retain(|byte| !range.contains(byte));
                }
                prop_assert_eq!(extents.iter().flatten().collect::<Vec<_>>(),
                    bytes.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(extents.bytes(), bytes.len() as u64);
                let ranges: Vec<_> = extents.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
                let prefix = (0..100).take_while(|byte| bytes.contains(byte)).count() as u64;
                prop_assert_eq!(extents.prefix(), prefix);
                let all = 0..80;
                let missing: Vec<u64> = all.clone().filter(|byte| !bytes.contains(byte)).collect();
                prop_assert_eq!(
                    extents.gaps(&all).into_iter().flatten().collect::<Vec<_>>(), missing);
                let some = 10..25;
                prop_assert_eq!(extents.contains(&some), some.clone().all(|b| bytes.contains(&b)));
            }
        }
    }
}
