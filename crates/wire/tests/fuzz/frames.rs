//! Fuzz target: any bytes, split into pieces, through the decoder. The frames must be those of the unsplit stream, and the
//! decoder must never ask for more than one frame may need. The first byte is the length of the pieces. Run by libFuzzer and by
//! `tests/fuzz.rs`.

use super::messages;
use bytes::BytesMut;
use herder_wire::{Decoder, Frame, FrameError, MAX_HELLO};

const MAX: u32 = 1 << 12;

/// R41
pub(crate) fn check_input(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(cut).max(1)), whole, "in pieces of {cut}");
    for frame in whole.0 {
        messages::parse(frame);
    }
}

/// Returns all frames up to the end of the stream, or up to the error that ends it.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut decoder, mut buffer, mut frames) = (Decoder::new(MAX), BytesMut::new(), Vec::new());
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let held = buffer.capacity();
            let next = decoder.next(&mut buffer);
            assert!(buffer.capacity() <= held, "the decoder allocates");
            match next {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        let missing = decoder.missing(&buffer);
        assert!((1..=MAX_HELLO.max(MAX) as usize).contains(&missing), "asks for {missing}");
    }
    let end = decoder.finish(&buffer);
    (frames, end)
}
