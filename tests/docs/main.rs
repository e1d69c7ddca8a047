//! The pages are held to the code: the README's configuration, the table of errors, the list of requirements.

#[cfg(test)]
mod errors;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod requirements;
