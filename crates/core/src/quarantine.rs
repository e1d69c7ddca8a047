//! Calls that end their workers again and again (R37): what is suspected, what is quarantined. Holds fingerprints and names of
//! commands, never arguments; decides nothing but whether a call is taken.

use crate::{CallId, Timestamp, WireId, ids::Fingerprint, settings::PoisonSettings};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// How many fingerprints a pool remembers at most (I6).
pub const QUARANTINE_LIMIT: usize = 256;

/// A call that a process had when it ended, by its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspect {
    /// The attempt.
    pub wire: WireId,
    /// Its command and arguments.
    pub fingerprint: Fingerprint,
    /// Its command, to be shown.
    pub command: Arc<str>,
}

/// A payload that ended workers, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineEntry {
    /// Its command and arguments.
    pub fingerprint: Fingerprint,
    /// Its command.
    pub command: Arc<str>,
    /// How many workers ended with it in a row.
    pub deaths: u32,
    /// Whether its calls are refused.
    pub quarantined: bool,
    /// Milliseconds until it is forgotten.
    pub release_in_ms: u64,
}

/// What a quarantined call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quarantined {
    /// Its command and arguments.
    pub fingerprint: Fingerprint,
    /// How many workers ended with it in a row.
    pub deaths: u32,
    /// When it is let go.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quarantine {
    settings: Option<PoisonSettings>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    fingerprint: Fingerprint,
    command: Arc<str>,
    deaths: u32,
    last: Timestamp,
    quarantined: bool,
}

impl Quarantine {
    pub(crate) fn new(settings: Option<PoisonSettings>) -> Self {
        Self { settings, entries: Vec::new() }
    }

    /// Whether anything is watched: as long as not, no call needs a fingerprint.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it watches at all.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.is_some()
    }

    /// Whether calls of this payload are refused.
    pub(crate) fn check(&mut self, now: Timestamp, fingerprint: Fingerprint) -> Option<Quarantined> {
        let time = self.settings.as_ref()?.quarantine;
        self.forget(now, time);
        let entry = self.entries.iter().find(|entry| entry.fingerprint == fingerprint && entry.quarantined)?;
        Some(Quarantined { fingerprint, deaths: entry.deaths, until: entry.last + time })
    }

    /// A worker ended in the middle of this. An attempt that began before the last such death proves nothing new: several
    /// workers that end together are one event.
    pub(crate) fn death(&mut self, now: Timestamp, suspect: &Suspect, began: Timestamp) {
        let Some(PoisonSettings { max_worker_deaths, quarantine }) = self.settings.clone() else { return };
        self.forget(now, quarantine);
        match self.entries.iter_mut().find(|entry| entry.fingerprint == suspect.fingerprint) {
            Some(entry) if began < entry.last => {}
            Some(entry) => {
                entry.deaths += 1;
                entry.last = now;
                entry.quarantined = entry.deaths >= max_worker_deaths;
            }
            None => self.watch(now, suspect, max_worker_deaths <= 1),
        }
    }

    fn watch(&mut self, now: Timestamp, suspect: &Suspect, quarantined: bool) {
        if self.entries.len() >= QUARANTINE_LIMIT {
            let oldest = (0..self.entries.len()).min_by_key(|&place| {
                let entry = &self.entries[place];
                (entry.quarantined, entry.last)
            });
            oldest.map(|place| self.entries.swap_remove(place));
        }
        let Suspect { fingerprint, ref command, .. } = *suspect;
        self.entries.push(Entry { fingerprint, command: command.clone(), deaths: 1, last: now, quarantined });
    }

    /// Its call came to an end and the worker lives: whatever ended the others was not this.
    pub(crate) fn clear_payload(&mut self, fingerprint: Fingerprint) {
        self.entries.retain(|entry| entry.fingerprint != fingerprint || entry.quarantined);
    }

    /// Lets a payload go, by hand. False if it was not watched.
    pub(crate) fn release(&mut self, fingerprint: Fingerprint) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.fingerprint != fingerprint);
        self.entries.len() < before
    }

    /// What is watched, quarantined ones first, then the most deaths.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<QuarantineEntry> {
        let time = self.settings.as_ref().map_or(Duration::ZERO, |settings| settings.quarantine);
        let mut all: Vec<QuarantineEntry> = self.entries.iter().filter_map(|entry| entry.shown(now, time)).collect();
        all.sort_by_key(|entry| (!entry.quarantined, u32::MAX - entry.deaths, entry.fingerprint));
        all
    }

    fn forget(&mut self, now: Timestamp, time: Duration) {
        self.entries.retain(|entry| now < entry.last + time);
    }
}

impl Entry {
    fn shown(&self, now: Timestamp, time: Duration) -> Option<QuarantineEntry> {
        let left = (self.last + time) - now;
        let Self { fingerprint, ref command, deaths, quarantined, .. } = *self;
        let release_in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let shown = QuarantineEntry { fingerprint, command: command.clone(), deaths, quarantined, release_in_ms };
        (!left.is_zero()).then_some(shown)
    }
}

/// Which of the attempts a process had when it ended are to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathAttribution {
    /// None: somebody ended it for a reason of its own.
    None,
    /// Those that still have their callers, and those that have none.
    AllCalls,
    /// Those whose callers had their answer, and that did not stop.
    AbandonedCalls,
}

impl DeathAttribution {
    pub(crate) fn applies_to(self, call: Option<CallId>) -> bool {
        match self {
            Self::None => false,
            Self::AllCalls => true,
            Self::AbandonedCalls => call.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(n: u64) -> Suspect {
        Suspect { wire: WireId(n), fingerprint: Fingerprint(n), command: "predict".into() }
    }

    fn three_in_ten_minutes() -> Quarantine {
        Quarantine::new(Some(PoisonSettings { max_worker_deaths: 3, quarantine: Duration::from_secs(600) }))
    }

    const SECOND: u64 = 1_000_000_000;

    /// R37
    #[test]
    fn r37_three_deaths_quarantine_a_payload_for_a_time() {
        let mut quarantine = three_in_ten_minutes();
        for n in 1..=3 {
            assert_eq!(quarantine.check(Timestamp(n * SECOND), Fingerprint(7)), None);
            quarantine.death(Timestamp(n * SECOND), &suspect(7), Timestamp(n * SECOND));
        }
        let found = quarantine.check(Timestamp(4 * SECOND), Fingerprint(7)).unwrap();
        assert_eq!((found.deaths, found.until), (3, Timestamp(603 * SECOND)));
        assert_eq!(quarantine.check(Timestamp(4 * SECOND), Fingerprint(8)), None);
        assert_eq!(quarantine.list(Timestamp(3 * SECOND))[0].release_in_ms, 600_000);
        assert_eq!(quarantine.check(Timestamp(603 * SECOND), Fingerprint(7)), None);
        assert!(quarantine.is_empty());
    }

    /// R37: workers that end together are one event, and one that lives is an alibi.
    #[test]
    fn r37_the_innocent_are_not_quarantined() {
        let mut quarantine = three_in_ten_minutes();
        for n in 1..=8 {
            quarantine.death(Timestamp(100 + n), &suspect(7), Timestamp(50)); // a cascade
        }
        assert_eq!(quarantine.list(Timestamp(109))[0].deaths, 1);
        quarantine.death(Timestamp(200), &suspect(7), Timestamp(150));
        quarantine.clear_payload(Fingerprint(7));
        quarantine.death(Timestamp(300), &suspect(7), Timestamp(250));
        assert_eq!(quarantine.check(Timestamp(301), Fingerprint(7)), None);
    }

    #[test]
    fn r37_quarantine_ends_by_release_or_timeout() {
        let mut quarantine =
            Quarantine::new(Some(PoisonSettings { max_worker_deaths: 1, quarantine: Duration::from_secs(1) }));
        quarantine.death(Timestamp(5), &suspect(7), Timestamp(4));
        quarantine.clear_payload(Fingerprint(7)); // a call that was on its way
        assert!(quarantine.check(Timestamp(6), Fingerprint(7)).is_some());
        assert!(quarantine.release(Fingerprint(7)) && !quarantine.release(Fingerprint(7)));
        assert_eq!(quarantine.check(Timestamp(6), Fingerprint(7)), None);
    }

    /// I6: quarantined ones are kept before those that are only watched.
    #[test]
    fn r37_quarantine_size_is_bounded() {
        let mut quarantine = three_in_ten_minutes();
        for n in 1..=3 {
            quarantine.death(Timestamp(n), &suspect(0), Timestamp(n));
        }
        (1..2000).for_each(|n| quarantine.death(Timestamp(10 + n), &suspect(n), Timestamp(10 + n)));
        assert_eq!(quarantine.entries.len(), QUARANTINE_LIMIT);
        assert!(quarantine.check(Timestamp(3000), Fingerprint(0)).is_some());
    }
}
