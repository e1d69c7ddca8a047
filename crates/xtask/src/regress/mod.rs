//! Two revisions compared: the layers' benchmark of both, in pairs, and the core's instructions if they can be counted. Holds the figures of
//! this program's runs. Changes nothing in the tree it is started in: both revisions are checked out below the target folder.

mod bootstrap;
mod compare;
mod figures;
mod instructions;
mod order;
mod report;
mod revision;

use crate::{args::Regress, error::Error, workspace::Workspace};
use compare::{Comparison, Verdict};
use figures::Figures;
use order::Side;
use revision::Revision;
use std::{fs, path::Path};

/// Does what the arguments say; whether nothing is slower by more than the threshold.
pub(crate) fn run(options: &Regress) -> Result<bool, Error> {
    let workspace = Workspace::here()?;
    let folder = workspace.target.join("regress");
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let head = Revision::check_out(&workspace, &folder.join("head"), &options.head, None)?;
    let base = Revision::check_out(&workspace, &folder.join("base"), &options.base, Some(&head))?;
    println!("base {base}\nhead {head}");
    let comparisons = compare(options, &workspace.target.join("ci/bin"), &base, &head)?;
    print!("{}", report::table(&comparisons));
    let slower: Vec<_> = comparisons.iter().filter(|one| one.verdict() == Verdict::Slower).collect();
    let failed = slower.iter().filter(|one| one.surely_beyond(options.threshold.0)).count();
    println!("{}", report::summary(comparisons.len(), slower.len(), failed, options.threshold.0));
    Ok(failed == 0)
}

fn compare(options: &Regress, tools: &Path, base: &Revision, head: &Revision) -> Result<Vec<Comparison>, Error> {
    let programs = (base.build_layers()?, head.build_layers()?);
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed {seed}");
    let mut pairs = Vec::new();
    for (at, order) in order::pairs(seed, options.pairs.get()).into_iter().enumerate() {
        let mut pair = (Figures::new(), Figures::new());
        for side in order {
            match side {
                Side::Base => pair.0 = figures::measure(&programs.0, base.folder(), &options.layer)?,
                Side::Head => pair.1 = figures::measure(&programs.1, head.folder(), &options.layer)?,
            }
        }
        println!("pair {} of {}", at + 1, options.pairs);
        pairs.push(pair);
    }
    let mut comparisons = compare::all(seed, &pairs);
    if !options.without_instructions {
        comparisons.extend(instructions::compare(tools, base, head)?);
    }
    Ok(comparisons)
}
