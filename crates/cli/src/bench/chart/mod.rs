//! Pictures as SVG: text stays text, light and dark follow the reader's screen, and nothing is told by colour alone. Writes no file.

mod axis;
mod page;
mod speed_up;
mod timeline;
mod tracks;

pub(super) use speed_up::speed_up;
pub(super) use timeline::timeline;
