//! Charts as SVG. Texts are text elements, colors follow the reader's light or dark mode, and no information is
//! conveyed by color alone. Writes no file.

mod axis;
mod page;
mod speed_up;
mod timeline;
mod tracks;

pub(super) use speed_up::speed_up;
pub(super) use timeline::timeline;
