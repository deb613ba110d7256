//! Who received what: finds lost, repeated and reordered messages from the numbers that messages carry.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// What went wrong on the way to the members; all zero in a run that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// Messages that a member never received.
    pub lost: u64,
    /// Messages that a member received again.
    pub repeated: u64,
    /// Messages that a member received after a later one.
    pub reordered: u64,
    /// Answers and closes that the scenario did not expect.
    pub errors: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// The last number each member received, and the numbers it was passed over with.
#[derive(Debug, Default)]
pub struct Tally {
    last: Vec<u32>,
    missing: HashSet<(usize, u32)>,
    faults: Faults,
}

impl Tally {
    /// Notes that `member` received the message with `number`; numbers of a channel start at 1.
    ///
    /// Returns whether this is the first time.
    pub fn received(&mut self, member: usize, number: u32) -> bool {
        if member >= self.last.len() {
            self.last.resize(member + 1, 0);
        }
        let last = &mut self.last[member];
        if number == *last + 1 {
            *last = number;
            return true;
        }
        if number > *last {
            self.missing.extend((*last + 1..number).map(|skipped| (member, skipped)));
            *last = number;
            return true;
        }
        let late = self.missing.remove(&(member, number));
        match late {
            true => self.faults.reordered += 1,
            false => self.faults.repeated += 1,
        }
        late
    }

    /// Counts an answer or a close that the scenario did not expect.
    pub fn error(&mut self) {
        self.faults.errors += 1;
    }

    /// The sum of faults, when `published(member)` messages should have reached each of `members`.
    pub fn faults(&self, members: impl IntoIterator<Item = usize>, published: impl Fn(usize) -> u32) -> Faults {
        let mut faults = self.faults;
        faults.lost += self.missing.len() as u64;
        for member in members {
            let last = self.last.get(member).copied().unwrap_or(0);
            faults.lost += u64::from(published(member).saturating_sub(last));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(received: &[u32], published: u32) -> Faults {
        let mut tally = Tally::default();
        for &number in received {
            tally.received(0, number);
        }
        tally.faults([0], |_| published)
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        assert_eq!(faults_of(&[1, 2, 3], 3), Faults::default());
        assert_eq!(faults_of(&[1, 3], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(faults_of(&[1, 3, 2], 3), Faults { reordered: 1, ..Faults::default() });
        assert_eq!(faults_of(&[1, 2, 2], 2), Faults { repeated: 1, ..Faults::default() });
        assert_eq!(faults_of(&[], 2), Faults { lost: 2, ..Faults::default() });
    }
}
