//! Compares the pages with the code: the README, the public surface, the configuration, the HTTP routes, the tables of errors,
//! answers and flags, the requirements, the glossary, the links, and the files and tests that pages name. The options in
//! `docs/cli.md` are compared in `crates/cli`.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod flags;
#[cfg(test)]
mod glossary;
#[cfg(test)]
mod http;
#[cfg(test)]
mod links;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod migration;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod requirements;
#[cfg(all(test, feature = "mcp"))]
mod roles;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod surface;
#[cfg(test)]
mod surroundings;
