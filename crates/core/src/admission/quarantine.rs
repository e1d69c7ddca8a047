//! The quarantine of calls that end their workers repeatedly (R37). Holds fingerprints and the names of commands, never
//! arguments. Decides only whether a call is accepted.

use crate::{CallId, KillReason, Quarantined, Timestamp, WireId, ids::Fingerprint, settings::PoisonSettings};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// The maximum number of fingerprints that a pool remembers ([I6](crate#invariants)).
pub const QUARANTINE_LIMIT: usize = 256;

/// A call that a process had when the process ended, identified by its command and arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspect {
    /// The attempt.
    pub wire: WireId,
    /// The fingerprint of the command and its arguments.
    pub fingerprint: Fingerprint,
    /// The name of the command, for display.
    pub command: Arc<str>,
}

/// A command with certain arguments that has ended workers, as displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantineEntry {
    /// The fingerprint of the command and its arguments.
    pub fingerprint: Fingerprint,
    /// The name of the command.
    pub command: Arc<str>,
    /// The number of consecutive worker deaths.
    pub deaths: u32,
    /// Whether calls with this fingerprint are refused.
    pub quarantined: bool,
    /// Milliseconds until the entry is removed.
    pub release_in_ms: u64,
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

    /// Returns whether there is no entry. As long as there is none, no call needs a fingerprint.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether the pool has a quarantine.
    pub(crate) fn is_enabled(&self) -> bool {
        self.settings.is_some()
    }

    /// Returns why calls with this fingerprint are refused, or `None` if they are accepted.
    pub(crate) fn check(&mut self, now: Timestamp, fingerprint: Fingerprint) -> Option<Quarantined> {
        let time = self.settings.as_ref()?.quarantine;
        self.remove_expired(now, time);
        let entry = self.entries.iter().find(|entry| entry.fingerprint == fingerprint && entry.quarantined)?;
        Some(Quarantined { fingerprint, deaths: entry.deaths, until: entry.last + time })
    }

    /// Counts the death of a worker while it ran this call, unless the attempt began before the last counted death of
    /// this fingerprint: workers that end together are one event.
    pub(crate) fn record_death(&mut self, now: Timestamp, suspect: &Suspect, began: Timestamp) {
        let Some(PoisonSettings { max_worker_deaths, quarantine }) = self.settings.clone() else { return };
        self.remove_expired(now, quarantine);
        match self.entries.iter_mut().find(|entry| entry.fingerprint == suspect.fingerprint) {
            Some(entry) if began < entry.last => {}
            Some(entry) => {
                entry.deaths += 1;
                entry.last = now;
                entry.quarantined = entry.deaths >= max_worker_deaths;
            }
            None => self.add_entry(now, suspect, max_worker_deaths <= 1),
        }
    }

    fn add_entry(&mut self, now: Timestamp, suspect: &Suspect, quarantined: bool) {
        // If the list is full, an entry that is only watched is evicted before a quarantined one, and an older one
        // before a newer one. Otherwise a flood of single deaths would release a quarantined call.
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

    /// Removes the entry of a call that finished while its worker lived, so that earlier deaths no longer count against
    /// it. A quarantined entry stays.
    pub(crate) fn clear_payload(&mut self, fingerprint: Fingerprint) {
        self.entries.retain(|entry| entry.fingerprint != fingerprint || entry.quarantined);
    }

    /// Removes an entry on request. Returns false if there is none.
    pub(crate) fn release(&mut self, fingerprint: Fingerprint) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.fingerprint != fingerprint);
        self.entries.len() < before
    }

    /// Returns all entries: quarantined ones first, then those with the most deaths.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<QuarantineEntry> {
        let time = self.settings.as_ref().map_or(Duration::ZERO, |settings| settings.quarantine);
        let mut all: Vec<QuarantineEntry> =
            self.entries.iter().filter_map(|entry| entry.displayed(now, time)).collect();
        all.sort_by_key(|entry| (!entry.quarantined, u32::MAX - entry.deaths, entry.fingerprint));
        all
    }

    fn remove_expired(&mut self, now: Timestamp, time: Duration) {
        self.entries.retain(|entry| now < entry.last + time);
    }
}

impl Entry {
    fn displayed(&self, now: Timestamp, time: Duration) -> Option<QuarantineEntry> {
        let left = (self.last + time) - now;
        let Self { fingerprint, ref command, deaths, quarantined, .. } = *self;
        let release_in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let displayed = QuarantineEntry { fingerprint, command: command.clone(), deaths, quarantined, release_in_ms };
        (!left.is_zero()).then_some(displayed)
    }
}

/// The attempts of a process that may have caused its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathAttribution {
    /// None: the process was ended on request.
    None,
    /// All attempts, whether their callers still wait or not.
    AllCalls,
    /// Only attempts whose calls were already settled, and that did not stop when asked.
    AbandonedCalls,
}

impl DeathAttribution {
    /// Returns which attempts may have caused an exit. `kill_reason` is why the pool ended the process, if it did.
    pub(crate) fn of(kill_reason: Option<KillReason>) -> Self {
        match kill_reason {
            None | Some(KillReason::ProtocolViolation | KillReason::Unresponsive) => Self::AllCalls,
            Some(KillReason::CancelTimeout) => Self::AbandonedCalls,
            Some(_) => Self::None,
        }
    }

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
            quarantine.record_death(Timestamp(n * SECOND), &suspect(7), Timestamp(n * SECOND));
        }
        let found = quarantine.check(Timestamp(4 * SECOND), Fingerprint(7)).unwrap();
        assert_eq!((found.deaths, found.until), (3, Timestamp(603 * SECOND)));
        assert_eq!(quarantine.check(Timestamp(4 * SECOND), Fingerprint(8)), None);
        assert_eq!(quarantine.list(Timestamp(3 * SECOND))[0].release_in_ms, 600_000);
        assert_eq!(quarantine.check(Timestamp(603 * SECOND), Fingerprint(7)), None);
        assert!(quarantine.is_empty());
    }

    /// R37: workers that end together are one event, and a finished call clears its fingerprint.
    #[test]
    fn r37_simultaneous_deaths_and_finished_calls_do_not_quarantine() {
        let mut quarantine = three_in_ten_minutes();
        for n in 1..=8 {
            // These deaths belong to one event.
            quarantine.record_death(Timestamp(100 + n), &suspect(7), Timestamp(50));
        }
        assert_eq!(quarantine.list(Timestamp(109))[0].deaths, 1);
        quarantine.record_death(Timestamp(200), &suspect(7), Timestamp(150));
        quarantine.clear_payload(Fingerprint(7));
        quarantine.record_death(Timestamp(300), &suspect(7), Timestamp(250));
        assert_eq!(quarantine.check(Timestamp(301), Fingerprint(7)), None);
    }

    #[test]
    fn r37_quarantine_ends_by_release_or_timeout() {
        let mut quarantine =
            Quarantine::new(Some(PoisonSettings { max_worker_deaths: 1, quarantine: Duration::from_secs(1) }));
        quarantine.record_death(Timestamp(5), &suspect(7), Timestamp(4));
        // A call that was sent before the quarantine began.
        quarantine.clear_payload(Fingerprint(7));
        assert!(quarantine.check(Timestamp(6), Fingerprint(7)).is_some());
        assert!(quarantine.release(Fingerprint(7)) && !quarantine.release(Fingerprint(7)));
        assert_eq!(quarantine.check(Timestamp(6), Fingerprint(7)), None);
    }

    /// I6: entries that are only watched are evicted before quarantined ones.
    #[test]
    fn r37_quarantine_size_is_bounded() {
        let mut quarantine = three_in_ten_minutes();
        for n in 1..=3 {
            quarantine.record_death(Timestamp(n), &suspect(0), Timestamp(n));
        }
        (1..2000).for_each(|n| quarantine.record_death(Timestamp(10 + n), &suspect(n), Timestamp(10 + n)));
        assert_eq!(quarantine.entries.len(), QUARANTINE_LIMIT);
        assert!(quarantine.check(Timestamp(3000), Fingerprint(0)).is_some());
    }
}
