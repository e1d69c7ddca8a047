//! The flake rate: the whole suite again and again, in random order, some of it under load. Holds the runs of this program; older ones are
//! in the ledgers. Never retries: a test that failed has failed.

mod events;
mod execute;
mod interrupt;
mod ledger;
mod load;
mod plan;
mod progress;
mod python;
mod report;
mod suite;
mod tally;

use crate::{args::Flake, error::Error, workspace::Workspace};
use interrupt::Interrupt;
use ledger::Run;
use load::Load;
use plan::Planned;
use python::Pytest;
use report::Report;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};
use suite::Part;

/// Does what the arguments say; whether nothing failed.
pub(crate) fn run(options: &Flake) -> Result<bool, Error> {
    let workspace = Workspace::here()?;
    let folder = workspace.target.join("flake");
    let ledgers = if options.report {
        ledger::read(&folder, &options.revision)?
    } else {
        let measure = Measure::prepare(&workspace, folder, options)?;
        let runs = measure.runs()?;
        BTreeMap::from([(measure.revision, runs)])
    };
    let report = Report::on(&ledgers);
    println!("\n{report}");
    Ok(report.clean())
}

/// A suite that is built, and how it is to be run.
struct Measure<'a> {
    options: &'a Flake,
    /// Where ledgers, logs and what the parts need are kept.
    folder: PathBuf,
    revision: String,
    parts: Vec<Part>,
    interrupt: Interrupt,
}

impl<'a> Measure<'a> {
    fn prepare(workspace: &Workspace, folder: PathBuf, options: &'a Flake) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let pytest = match options.without_pytest {
            true => None,
            false => Pytest::of(workspace, &folder, options.python.as_deref())?,
        };
        let parts = suite::parts(workspace, &folder, pytest)?;
        let interrupt = Interrupt::caught().map_err(Error::program("signals"))?;
        Ok(Self { options, folder, revision: workspace.revision()?, parts, interrupt })
    }

    fn runs(&self) -> Result<Vec<Run>, Error> {
        let planned = self.planned();
        let mut runs = Vec::new();
        for (at, planned) in planned.iter().enumerate() {
            let run = self.one(planned)?;
            if self.counts() {
                ledger::append(&ledger::file(&self.folder, &self.revision), &run)?;
            }
            progress::over(at + 1, self.total(), &run);
            let stop = self.options.fail_fast && run.failures() > 0;
            runs.push(run);
            if stop {
                break;
            }
        }
        Ok(runs)
    }

    fn planned(&self) -> Vec<Planned> {
        if let Some(seed) = self.options.replay {
            return vec![Planned { seed, loaded: self.options.loaded > 0, deterministic: true }];
        }
        let seed = self.options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        println!("revision {}, seed {seed}", self.revision);
        plan::runs(seed, self.options.runs.get(), self.options.loaded, self.options.deterministic_every)
    }

    /// Whether these runs are a sample of what happens: one that is repeated because it failed is not, nor is a part of one.
    fn counts(&self) -> bool {
        self.options.replay.is_none() && self.options.only.is_empty()
    }

    fn total(&self) -> u32 {
        if self.options.replay.is_some() { 1 } else { self.options.runs.get() }
    }

    fn one(&self, planned: &Planned) -> Result<Run, Error> {
        let (begun, before, _load) = (Instant::now(), load::average(), planned.loaded.then(Load::begin));
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut parts = BTreeMap::new();
        for part in planned.order(&self.parts, &self.options.only) {
            progress::now(&part.name);
            let outcome =
                execute::execute(part.command(planned.seed), &self.folder, self.options.guard, &self.interrupt)?;
            progress::part(&part.name, &outcome);
            parts.insert(part.name.clone(), outcome);
        }
        Ok(Run {
            seed: planned.seed,
            loaded: planned.loaded,
            begun: since_1970.as_secs(),
            seconds: begun.elapsed().as_secs_f64(),
            load_average: [before, load::average()],
            parts,
        })
    }
}
