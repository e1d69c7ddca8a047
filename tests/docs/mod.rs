//! The pages are held to the code: the configuration in the README, the tables of errors, answers and flags, the requirements, the links.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod flags;
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
#[cfg(test)]
mod surroundings;
