//! The pages are held to the code: the configuration in the README, the table of errors, the list of requirements, the links.

#[cfg(test)]
mod errors;
#[cfg(test)]
mod links;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod requirements;
